#!/bin/sh
# Installs the programs that test/real meshes, from Debian, and starts none of
# them as a service. Needs root.
set -eu
packages=""
need() { # PACKAGE FILE...
  package=$1
  shift
  for file; do
    # shellcheck disable=SC2086 # a pattern
    if ! ls $file >/dev/null 2>&1; then
      packages="$packages $package"
      return
    fi
  done
}
need iproute2 /sbin/ip
need util-linux /usr/bin/nsenter
need curl /usr/bin/curl
need tcpdump /usr/bin/tcpdump
need nginx /usr/sbin/nginx
need postgresql '/usr/lib/postgresql/*/bin/postgres' '/usr/lib/postgresql/*/bin/pgbench'
need postgresql-client /usr/bin/psql
need redis-server /usr/bin/redis-server
need redis-tools /usr/bin/redis-benchmark
need mariadb-server /usr/sbin/mariadbd
need mariadb-client /usr/bin/mariadb-slap
[ -z "$packages" ] && exit 0

policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends $packages

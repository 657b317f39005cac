#!/usr/bin/env bash
# Regenerates every generated Go file from its source. Needs protoc (Debian: protobuf-compiler).
set -euo pipefail
cd "$(dirname "$0")/.."
for plugin in protoc-gen-go protoc-gen-go-grpc protoc-gen-connect-go; do
  args+=("--plugin=$plugin=$(go tool -n $plugin)")
done
module=github.com/leno-mesh/leno
protoc "${args[@]}" --go_out=. --go_opt=module=$module --go-grpc_out=. --go-grpc_opt=module=$module api/agent/v1/agent.proto
protoc "${args[@]}" --go_out=. --go_opt=module=$module --go-grpc_out=. --go-grpc_opt=module=$module demo/shop/v1/shop.proto
if [ -f api/admin/v1/admin.proto ]; then
  protoc "${args[@]}" --go_out=. --go_opt=module=$module --connect-go_out=. --connect-go_opt=module=$module,simple api/admin/v1/admin.proto
fi
go run ./tools/wiregen

//go:build real

package real

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// postgres finds a program of PostgreSQL, whichever version Debian has.
func (w *world) postgres(name string) string {
	w.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) == 0 {
		w.Fatalf("%s is not installed; see install.sh", name)
	}
	return found[len(found)-1]
}

func TestPostgresHoldsItsDataThroughTheMesh(t *testing.T) {
	row := table.add(t, "PostgreSQL, pgbench")
	w := newWorld(t)
	w.service("postgres", "5432/tcp")
	data := w.dir + "/postgres"
	w.one.output(w.postgres("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync")
	w.must("sh", "-c", "echo host all all 10.203.0.0/24 trust >> "+data+"/pg_hba.conf && cp -a "+data+" "+data+"-one && cp -a "+data+" "+data+"-two")
	serve := func(p *place) *program {
		name := p.workload("postgres")
		return p.serve("postgres", "5432", w.postgres("postgres"), "-D", w.dir+"/"+name, "-p", "5432", "-c", "listen_addresses=0.0.0.0",
			"-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "cluster_name="+name)
	}
	one := serve(w.one)
	w.client.caller("postgres:5432=15432")
	w.healthy("postgres", w.one)

	direct := []string{"PGHOST=" + addressOne, "PGPORT=5432", "PGUSER=postgres", "PGDATABASE=postgres", "PGCONNECT_TIMEOUT=10"}
	meshed := []string{"PGHOST=127.0.0.1", "PGPORT=15432", "PGUSER=postgres", "PGDATABASE=postgres", "PGCONNECT_TIMEOUT=10"}
	var dumped string
	row.without, dumped = w.pgbench(row, direct, "direct")
	with, dumpedToo := w.pgbench(row, meshed, "meshed")
	row.with = with
	if dumped != dumpedToo {
		row.errors++
		t.Errorf("pg_dump of one table gave %s, and through the mesh %s", dumped, dumpedToo)
	}

	w.psql(meshed, "create table marked (text text)")
	w.marked(row, "postgres", func(marker string) {
		w.psql(meshed, "insert into marked values ('"+marker+"')")
		if got := w.psql(meshed, "select text from marked where text = '"+marker+"'"); got != marker {
			t.Errorf("the marked row is %q", got)
		}
	})
	w.jobs(meshed)

	who := "select 'on ' || current_setting('cluster_name')"
	open := func() (session, error) {
		return w.client.open(meshed, "psql", "-AtX", "-c", who, "-c", "select pg_sleep(5)")
	}
	ask := func() (string, error) { return w.client.ask(meshed, "psql", "-AtX", "-c", who) }
	two := serve(w.two)
	w.healthy("postgres", w.one, w.two)
	failed, asked := w.lose(one.killCommand, "postgres-one", open, ask)
	w.healthy("postgres", w.two)
	w.must("sh", "-c", "rm -rf "+data+"-one && cp -a "+data+" "+data+"-one")
	serve(w.one)
	w.healthy("postgres", w.one, w.two)
	failedToo, askedToo := w.lose(two.killAll, "postgres-two", open, ask)
	row.lost = fmt.Sprintf("%d of %d new connections", failed+failedToo, asked+askedToo)
	row.errors += failed + failedToo
	if failed+failedToo > 0 {
		t.Errorf("%s failed", row.lost)
	}
}

func (w *world) psql(environ []string, sql string) string {
	w.Helper()
	return strings.TrimSpace(w.client.outputOf(environ, "", "psql", "-AtX", "-v", "ON_ERROR_STOP=1", "-c", sql))
}

var (
	processed = regexp.MustCompile(`number of transactions actually processed: (\d+)`)
	failures  = regexp.MustCompile(`number of failed transactions: (\d+)`)
	rate      = regexp.MustCompile(`tps = (\d+)`)
)

// pgbench fills a schema, works on it and compares what is there with what
// pgbench says. It returns the rates and a digest of what does not change.
func (w *world) pgbench(row *row, environ []string, schema string) (rates, digest string) {
	w.Helper()
	w.psql(environ, "create schema "+schema)
	environ = append(environ, "PGOPTIONS=-c search_path="+schema)
	w.client.outputOf(environ, "", "pgbench", "-i", "-q", "-s", "2")
	digest = fmt.Sprintf("%x", sha256.Sum256([]byte(w.client.outputOf(environ, "", "psql", "-AtX", "-c", "copy (select * from pgbench_accounts order by aid) to stdout"))))[:16]
	run := func(args ...string) (n, tps string) {
		out := w.client.outputOf(environ, "", append([]string{"pgbench", "-n", "-c", "8", "-T", "5"}, args...)...)
		if m := failures.FindStringSubmatch(out); m == nil || m[1] != "0" {
			row.errors++
			w.Errorf("pgbench: %s", out)
		}
		m, r := processed.FindStringSubmatch(out), rate.FindStringSubmatch(out)
		if m == nil || r == nil {
			w.Fatalf("pgbench said: %s", out)
		}
		return m[1], r[1]
	}
	n, tpcb := run()
	_, selects := run("-S")
	_, connects := run("-S", "-C") // a connection for each transaction
	sums := w.psql(environ, `select (select count(*) from pgbench_history), (select count(*) from pgbench_accounts),
		(select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history),
		(select sum(tbalance) from pgbench_tellers) = (select sum(delta) from pgbench_history),
		(select sum(bbalance) from pgbench_branches) = (select sum(delta) from pgbench_history)`)
	if want := n + "|200000|t|t|t"; sums != want {
		row.errors++
		w.Errorf("%s holds %s and should hold %s", schema, sums, want)
	}
	return fmt.Sprintf("tps: TPC-B %s, select %s, connect %s", tpcb, selects, connects), digest
}

// jobs runs programs that end, and looks whether anything is left of them.
func (w *world) jobs(meshed []string) {
	w.Helper()
	before := w.must("ip", "netns", "pids", w.client.name)
	for _, job := range []struct {
		command []string
		code    int
		out     string
	}{
		{[]string{"psql", "-AtX", "-p", "25432", "-c", "select 6*7"}, 0, "42\n"},
		{[]string{"psql", "-AtX", "-p", "25432", "-c", "select no_such_column"}, 1, ""},
		{[]string{"sh", "-c", "exit 7"}, 7, ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 137, ""},
	} {
		args := w.client.runArguments("job", "--upstream", "postgres:5432=25432", "--")
		r := w.client.try(time.Minute, meshed, "", append(args, job.command...)...)
		if r.code != job.code || r.out != job.out {
			w.Errorf("the job %q ended with %d and %q, want %d and %q; %s", job.command, r.code, r.out, job.code, job.out, r.err)
		}
		if after := w.must("ip", "netns", "pids", w.client.name); after != before {
			w.Errorf("the job %q has left a process: before\n%safter\n%s", job.command, before, after)
		}
		if left := w.must(w.leno(), "--server", w.socket(), "get", "workloads", "-o", "name"); strings.Contains(left, "/job-") {
			w.Errorf("the job %q is still a workload: %s", job.command, left)
		}
	}
}

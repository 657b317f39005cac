//go:build real

package real

import (
	"crypto/sha256"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// mariadbSQL fills the database that it is given, in many ways.
const mariadbSQL = `
create table numbers (n int primary key, square bigint, text varchar(100)) engine=innodb;
insert into numbers select seq, seq*seq, sha1(seq) from seq_1_to_20000;
start transaction; delete from numbers where n % 7 = 0; commit;
start transaction; delete from numbers; rollback;
update numbers set text = concat('Ünïcode ', text) where n % 11 = 0;
create table blobs (n int primary key, content longblob);
insert into blobs values (1, repeat('0123456789abcdef', 500000));
prepare p from 'insert into blobs values (?, repeat(?, 1000))';
set @n = 2, @text = 'prepared'; execute p using @n, @text;
create procedure fill(k int) begin declare i int default 0; while i < k do insert into blobs values (100 + i, md5(i)); set i = i + 1; end while; end;
`

func TestMariaDBGreetsAndHoldsItsDataThroughTheMesh(t *testing.T) {
	row := table.add(t, "MariaDB")
	w := newWorld(t)
	w.service("mariadb", "3306") // the protocol is found out: the server speaks first
	data := w.dir + "/mariadb"
	w.one.output("mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve")
	w.must("sh", "-c", "cp -a "+data+" "+data+"-one && cp -a "+data+" "+data+"-two")
	w.write(w.dir+"/users.sql", "create user if not exists leno@'%' identified by 'secret';\ngrant all on *.* to leno@'%';\n")
	serve := func(p *place) *program {
		name := p.workload("mariadb")
		return p.serve("mariadb", "3306", "mariadbd", "--no-defaults", "--datadir="+w.dir+"/"+name, "--socket="+w.dir+"/"+name+".sock",
			"--pid-file="+w.dir+"/"+name+".pid", "--port=3306", "--bind-address=0.0.0.0", "--skip-name-resolve", "--init-file="+w.dir+"/users.sql",
			"--report-host="+name, "--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0", "--max-allowed-packet=64M")
	}
	one := serve(w.one)
	w.client.caller("mariadb:3306=13306")
	w.healthy("mariadb", w.one)

	direct := []string{"--no-defaults", "-h", addressOne, "-P", "3306", "-u", "leno", "-psecret"}
	meshed := []string{"--no-defaults", "-h", "127.0.0.1", "-P", "13306", "-u", "leno", "-psecret"}
	var want, got string
	row.without, want = w.mariadb(row, direct, "direct", addressOne+":3306")
	row.with, got = w.mariadb(row, meshed, "meshed", "127.0.0.1:13306")
	if got != want {
		row.errors++
		t.Errorf("through the mesh MariaDB gave\n%s\nand without\n%s", got, want)
	}

	w.sql(meshed, "create table meshed.marked (text text)")
	w.marked(row, "mariadb", func(marker string) {
		w.sql(meshed, "insert into meshed.marked values ('"+marker+"')")
		if got := w.sql(meshed, "select text from meshed.marked where text = '"+marker+"'"); got != marker {
			t.Errorf("the marked row is %q", got)
		}
	})

	two := serve(w.two)
	w.healthy("mariadb", w.one, w.two)
	who := "select concat('on ', @@report_host);"
	client := append(append([]string{"mariadb"}, meshed...), "-BNn", "--connect-timeout=5", "-e")
	open := func() (session, error) { return w.client.open(nil, append(client, who+"select sleep(5)")...) }
	ask := func() (string, error) { return w.client.ask(nil, append(client, who)...) }
	failed, asked := w.lose(one.killCommand, "mariadb-one", open, ask)
	w.healthy("mariadb", w.two)
	serve(w.one)
	w.healthy("mariadb", w.one, w.two)
	failedToo, askedToo := w.lose(two.killAll, "mariadb-two", open, ask)
	row.lost = fmt.Sprintf("%d of %d new connections", failed+failedToo, asked+askedToo)
	row.errors += failed + failedToo
	if failed+failedToo > 0 {
		t.Errorf("%s failed", row.lost)
	}
}

func (w *world) sql(server []string, sql string) string {
	w.Helper()
	args := append(append([]string{"mariadb"}, server...), "-BN", "--max-allowed-packet=64M")
	return strings.TrimSpace(w.client.outputOf(nil, sql, args...))
}

var slapSeconds = regexp.MustCompile(`Average number of seconds to run all queries: ([0-9.]+)`)

// mariadb waits for a greeting, runs the script and a load, and returns what is
// in the database then.
func (w *world) mariadb(row *row, server []string, database, address string) (rates, content string) {
	w.Helper()
	greeting := w.greeting(address)
	w.sql(server, "create database "+database)
	in := append(append([]string{}, server...), "-D", database)
	w.sql(in, strings.Replace(mariadbSQL, "create procedure", "delimiter $$\ncreate procedure", 1)+"$$\ndelimiter ;\ncall fill(500);\n")
	content = w.sql(in, "select count(*), sum(n), sum(square) from numbers; select count(*), sum(length(content)) from blobs; checksum table numbers, blobs extended;")
	content = strings.ReplaceAll(content, database+".", "")
	dump := w.client.output(append(append([]string{"mariadb-dump"}, server...), "--skip-comments", "--skip-extended-insert", "--max-allowed-packet=64M", database)...)
	content += fmt.Sprintf("\ndump %d %x", len(dump), sha256.Sum256([]byte(dump)))

	args := append(append([]string{"mariadb-slap"}, server...), "--concurrency=8", "--auto-generate-sql", "--auto-generate-sql-load-type=mixed", "--number-of-queries=8000")
	r := w.client.try(2*time.Minute, nil, "", args...)
	m := slapSeconds.FindStringSubmatch(r.out)
	if r.code != 0 || m == nil {
		row.errors++
		w.Fatalf("mariadb-slap: exit %d\n%s%s", r.code, r.out, r.err)
	}
	return fmt.Sprintf("greeting after %.1f ms, 8000 queries in %s s", float64(greeting.Microseconds())/1000, m[1]), content
}

// greeting is the median time from a connection to the first byte of the server,
// to which the client has said nothing.
func (w *world) greeting(address string) time.Duration {
	w.Helper()
	var times []time.Duration
	for range 9 {
		conn, err := w.client.dial("tcp", address)
		if err != nil {
			w.Fatal(err)
		}
		begun := time.Now()
		_ = conn.SetDeadline(begun.Add(5 * time.Second))
		var first [5]byte
		_, err = conn.Read(first[:])
		conn.Close()
		if err != nil || first[4] != 10 { // of the handshake, version 10
			w.Fatalf("%s greets with %x: %v", address, first, err)
		}
		times = append(times, time.Since(begun))
	}
	median := slices.Sorted(slices.Values(times))[len(times)/2]
	if median > 100*time.Millisecond {
		w.Errorf("%s greets after %s", address, median)
	}
	return median
}

//go:build real

package real

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestRedisHoldsItsDataThroughTheMesh(t *testing.T) {
	row := table.add(t, "Redis, redis-benchmark")
	w := newWorld(t)
	w.service("redis", "6379") // the protocol is found out
	serve := func(p *place) *program {
		name := p.workload("redis")
		started := p.serve("redis", "6379", "redis-server", "--port", "6379", "--bind", "0.0.0.0", "--protected-mode", "no",
			"--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--daemonize", "no")
		w.until(name+" answers", 10*time.Second, func() bool {
			return p.try(time.Second, nil, "", "redis-cli", "set", "replica", "on "+name).out == "OK\n"
		})
		return started
	}
	one := serve(w.one)
	w.client.caller("redis:6379=16379")
	w.healthy("redis", w.one)

	direct, meshed := []string{"-h", addressOne, "-p", "6379"}, []string{"-h", "127.0.0.1", "-p", "16379"}
	var want, got string
	row.without, want = w.redis(row, direct)
	row.with, got = w.redis(row, meshed)
	if got != want {
		row.errors++
		t.Errorf("through the mesh Redis gave\n%s\nand without\n%s", got, want)
	}

	w.marked(row, "redis", func(marker string) {
		w.cli(meshed, "set", "key-"+marker, "value-"+marker)
		if got := w.cli(meshed, "get", "key-"+marker); got != "value-"+marker {
			t.Errorf("the marked key holds %q", got)
		}
	})

	w.cli([]string{"-h", addressOne}, "set", "replica", "on redis-one")
	two := serve(w.two)
	w.healthy("redis", w.one, w.two)
	ask := func() (string, error) {
		return w.client.ask(nil, append(append([]string{"redis-cli"}, meshed...), "get", "replica")...)
	}
	failed, asked := w.lose(one.killCommand, "redis-one", w.blocked, ask)
	w.healthy("redis", w.two)
	serve(w.one)
	w.healthy("redis", w.one, w.two)
	failedToo, askedToo := w.lose(two.killAll, "redis-two", w.blocked, ask)
	row.lost = fmt.Sprintf("%d of %d new connections", failed+failedToo, asked+askedToo)
	row.errors += failed + failedToo
	if failed+failedToo > 0 {
		t.Errorf("%s failed", row.lost)
	}
}

// blocked opens a connection on which BLPOP waits. redis-cli would hide a loss:
// it connects again by itself.
func (w *world) blocked() (session, error) {
	conn, err := w.client.dial("tcp", "127.0.0.1:16379")
	if err != nil {
		return session{}, err
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	lines := bufio.NewReader(conn)
	if _, err := conn.Write([]byte("*2\r\n$3\r\nGET\r\n$7\r\nreplica\r\n")); err != nil {
		return session{}, err
	}
	if _, err := lines.ReadString('\n'); err != nil {
		return session{}, err
	}
	line, err := lines.ReadString('\n')
	if err != nil {
		return session{}, err
	}
	s := session{server: strings.TrimPrefix(strings.TrimSpace(line), "on "), done: make(chan error, 1)}
	if _, err := conn.Write([]byte("*3\r\n$5\r\nBLPOP\r\n$7\r\nnothing\r\n$1\r\n5\r\n")); err != nil {
		return session{}, err
	}
	go func() {
		defer conn.Close()
		line, err := lines.ReadString('\n')
		if err == nil && line != "*-1\r\n" {
			err = fmt.Errorf("BLPOP gave %q", line)
		}
		s.done <- err
	}()
	return s, nil
}

func (w *world) cli(server []string, command ...string) string {
	w.Helper()
	return strings.TrimSuffix(w.client.output(append(append([]string{"redis-cli"}, server...), command...)...), "\n")
}

// redis runs the benchmark, then writes data and returns what Redis says of it.
func (w *world) redis(row *row, server []string) (rates, data string) {
	w.Helper()
	for _, more := range [][]string{{"-t", "set,get,lrange_100"}, {"-t", "set,get", "-P", "16"}} {
		args := append(append([]string{"redis-benchmark"}, server...), "-n", "20000", "-c", "16", "-r", "1000", "--csv")
		r := w.client.try(2*time.Minute, nil, "", append(args, more...)...)
		if r.code != 0 || strings.Contains(r.out+r.err, "rror") {
			row.errors++
			w.Errorf("redis-benchmark: exit %d\n%s%s", r.code, r.out, r.err)
		}
		for line := range strings.Lines(r.out) {
			fields := strings.Split(line, ",")
			if test := strings.Trim(fields[0], `"`); len(fields) > 1 && (test == "SET" || test == "GET") {
				whole, _, _ := strings.Cut(strings.Trim(fields[1], `"`), ".")
				rates += ", " + test + strings.Join(more[2:], "") + " " + whole
			}
		}
	}
	w.cli(server, "flushall")
	var mass bytes.Buffer // the protocol itself, for --pipe
	for i := range 20000 {
		fmt.Fprintf(&mass, "*3\r\n$3\r\nSET\r\n$9\r\nkey-%05d\r\n$100\r\n%0100d\r\n", i, i*i)
	}
	data = w.client.outputOf(nil, mass.String(), append(append([]string{"redis-cli"}, server...), "--pipe")...)
	data += w.client.outputOf(nil, strings.Repeat("0123456789abcdef", 1<<20), append(append([]string{"redis-cli"}, server...), "-x", "set", "large")...)
	data += w.client.outputOf(nil, "multi\nincr n\nincr n\nexec\neval \"return redis.call('get', KEYS[1])\" 1 n\nsetrange large 1000 xyz\nno-such-command\ndbsize\ndebug digest\n",
		append([]string{"redis-cli"}, server...)...)
	if large := w.cli(server, "get", "large"); len(large) != 16<<20 {
		row.errors++
		w.Errorf("a value of 16 MiB came back with %d bytes", len(large))
	}
	return "rps: " + rates[2:], data
}

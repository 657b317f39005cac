//go:build real

package real

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestFortioLosesNoCallInTheMesh(t *testing.T) {
	row := table.add(t, "fortio, HTTP and gRPC")
	w := newWorld(t)
	w.service("fortio", "8080/http", "8079/grpc")
	serve := func(p *place) *program {
		return p.serve("fortio", "8080,8079", binary("fortio"), "server", "-quiet", "-http-port", "8080", "-grpc-port", "8079",
			"-tcp-port", "disabled", "-udp-port", "disabled", "-redirect-port", "disabled", "-data-dir", p.world.folder("fortio"))
	}
	one, two := serve(w.one), serve(w.two)
	proxy := w.client.caller("fortio:8080=18080", "fortio:8079=18079")
	w.healthy("fortio", w.one, w.two)

	// What each kind of load gives: requests a second and failures.
	load := func(args ...string) (text string) {
		for _, kind := range [][]string{args[:1], {"-grpc", args[1]}, {"-grpc", "-ping", "-payload-size", "1000", args[1]}} {
			requests, failed := w.fortioLoad(nil, append([]string{"-c", "8", "-qps", "0"}, kind...)...)
			row.errors += failed
			if failed > 0 {
				t.Errorf("fortio %s: %d of %d calls failed", strings.Join(kind, " "), failed, requests)
			}
			text += fmt.Sprintf(", %d", requests/3)
		}
		return "rps of HTTP, gRPC, ping: " + text[2:]
	}
	row.without = load("http://"+addressOne+":8080/echo?size=1000", addressOne+":8079")
	row.with = load("http://127.0.0.1:18080/echo?size=1000", "127.0.0.1:18079")

	w.uploads(row, proxy)

	w.marked(row, "fortio", func(marker string) {
		for _, base := range []string{"http://fortio:8080", "http://127.0.0.1:18080"} {
			if got := w.client.outputOf([]string{"http_proxy=" + proxy}, "", "curl", "-sS", "-f", "-d", marker, base+"/echo"); got != marker {
				t.Errorf("%s echoed %q", base, got)
			}
		}
		w.client.output(binary("fortio"), "grpcping", "-n", "5", "-payload", marker, "127.0.0.1:18079")
	})

	// Each answer takes a while, so that calls are under way when something
	// happens to them.
	failed, requests := 0, 0
	disturb := func(what string, happen func()) {
		n, lost := w.fortioLoad(happen, "-c", "32", "-qps", "0", "http://127.0.0.1:18080/echo?size=1000&delay=50ms")
		if requests, failed = requests+n, failed+lost; lost > 0 {
			t.Errorf("%d of %d GETs failed when %s", lost, n, what)
		}
	}
	disturb("the server program was killed", one.killCommand)
	w.healthy("fortio", w.two)
	one = serve(w.one)
	w.healthy("fortio", w.one, w.two)
	disturb("all of a workload was killed", two.killAll)
	serve(w.two)
	w.healthy("fortio", w.one, w.two)
	disturb("a sidecar was killed", one.killSidecar)
	w.healthy("fortio", w.one, w.two)
	disturb("mTLS was switched off and on, PERMISSIVE in between", func() {
		for _, mode := range []string{"PERMISSIVE", "DISABLE", "PERMISSIVE", "STRICT"} {
			w.mode("fortio", mode)
		}
	})
	row.lost = fmt.Sprintf("%d of %d GETs", failed, requests)
	row.errors += failed
}

// uploads sends bodies with a length, in chunks and only when asked to, and
// compares what comes back.
func (w *world) uploads(row *row, proxy string) {
	w.Helper()
	file := filepath.Join(w.dir, "body")
	w.write(file, strings.Repeat("0123456789abcdef", 12<<10))
	for _, how := range [][]string{{}, {"-H", "Transfer-Encoding: chunked"}, {"-H", "Expect: 100-continue"}} {
		send := func(base string, environ ...string) string {
			args := append([]string{"curl", "-sS", "-w", "%{http_code}", "--data-binary", "@" + file}, how...)
			return w.client.outputOf(environ, "", append(args, base+"/echo")...)
		}
		want := send("http://" + addressOne + ":8080")
		for _, got := range []string{send("http://127.0.0.1:18080"), send("http://fortio:8080", "http_proxy="+proxy)} {
			if got != want {
				row.errors++
				w.Errorf("an upload %q came back with %d bytes, ending in %q, and without the mesh %d, %q", how, len(got), tail(got, 20), len(want), tail(want, 20))
			}
		}
	}
}

// fortioLoad lets fortio call for three seconds, or for six of which something
// happens after two. What is not answered well counts as failed.
func (w *world) fortioLoad(happen func(), args ...string) (requests, failed int) {
	w.Helper()
	report := filepath.Join(w.dir, "fortio-"+strconv.FormatInt(time.Now().UnixNano(), 36)+".json")
	seconds := "3s"
	if happen != nil {
		seconds = "6s"
	}
	done := make(chan result, 1)
	go func() {
		done <- w.client.try(time.Minute, nil, "", append([]string{binary("fortio"), "load", "-loglevel", "warning", "-t", seconds, "-json", report}, args...)...)
	}()
	if happen != nil {
		<-time.After(2 * time.Second)
		happen()
	}
	told := <-done
	if told.code != 0 {
		w.Errorf("fortio: exit %d", told.code)
	}
	var said struct {
		RetCodes map[string]int
	}
	content, err := os.ReadFile(report)
	if err != nil {
		w.Fatal(err)
	}
	if err := json.Unmarshal(content, &said); err != nil {
		w.Fatalf("read fortio's report: %v", err)
	}
	for code, n := range said.RetCodes {
		requests += n
		if code != "200" && code != "SERVING" {
			failed += n
			w.Logf("fortio: %d answers %s", n, code)
		}
	}
	if failed > 0 {
		w.Logf("fortio said: %s", told.err[:min(len(told.err), 3000)])
	}
	if requests == 0 {
		w.Errorf("fortio reports no request: %s", content)
	}
	return requests, failed
}

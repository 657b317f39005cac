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

	w.marked(row, "fortio", func(marker string) {
		for _, base := range []string{"http://fortio:8080", "http://127.0.0.1:18080"} {
			if got := w.client.outputOf([]string{"http_proxy=" + proxy}, "", "curl", "-sS", "-f", "-d", marker, base+"/echo"); got != marker {
				t.Errorf("%s echoed %q", base, got)
			}
		}
		w.client.output(binary("fortio"), "grpcping", "-n", "5", "-payload", marker, "127.0.0.1:18079")
	})

	get := []string{"-c", "8", "-qps", "1000", "http://127.0.0.1:18080/echo?size=1000"}
	requests, failed := w.fortioLoad(one.killCommand, get...)
	w.healthy("fortio", w.two)
	serve(w.one)
	w.healthy("fortio", w.one, w.two)
	more, failedToo := w.fortioLoad(two.killAll, get...)
	row.lost = fmt.Sprintf("%d of %d GETs", failed+failedToo, requests+more)
	row.errors += failed + failedToo
	if failed+failedToo > 0 {
		t.Errorf("%d of %d GETs failed when fortio was killed, %d of %d when all of a workload was", failed, requests, failedToo, more)
	}
}

// fortioLoad lets fortio call for six seconds and kill end something after two.
// What is not answered well counts as failed.
func (w *world) fortioLoad(kill func(), args ...string) (requests, failed int) {
	w.Helper()
	report := filepath.Join(w.dir, "fortio-"+strconv.FormatInt(time.Now().UnixNano(), 36)+".json")
	seconds := "3s"
	if kill != nil {
		seconds = "6s"
		timer := time.AfterFunc(2*time.Second, kill)
		defer timer.Stop()
	}
	told := w.client.try(time.Minute, nil, "", append([]string{binary("fortio"), "load", "-loglevel", "warning", "-t", seconds, "-json", report}, args...)...)
	if told.code != 0 {
		w.Errorf("fortio: exit %d", told.code)
	}
	var result struct {
		RetCodes map[string]int
	}
	content, err := os.ReadFile(report)
	if err != nil {
		w.Fatal(err)
	}
	if err := json.Unmarshal(content, &result); err != nil {
		w.Fatalf("read fortio's report: %v", err)
	}
	for code, n := range result.RetCodes {
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

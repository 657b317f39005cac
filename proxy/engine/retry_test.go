package engine

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// cutter reads a request's head, counts it, and ends the connection.
func cutter(t testing.TB, seen *atomic.Int64) string {
	return tcpBackend(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		if req.URL.Path == "/warm" {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
			_, _ = http.ReadRequest(bufio.NewReader(c))
		}
		seen.Add(1)
	})
}

func TestRequestsAreRepeatedExactlyWhereThatIsSafe(t *testing.T) {
	const reset = "retry_policy: {retry_on: reset, num_retries: 3}"
	for _, test := range []struct {
		name, method, body, policy string
		seen                       int64
	}{
		{"GET without a policy", "GET", "", "", 1},
		{"GET with reset", "GET", "", reset, 4},
		{"HEAD with reset", "HEAD", "", reset, 4},
		{"PUT without a body", "PUT", "", reset, 4},
		{"POST with reset", "POST", "", reset, 1},
		{"POST with a body", "POST", "body", reset, 1},
		{"PUT with a body", "PUT", "body", reset, 1},
		{"PATCH with reset", "PATCH", "", reset, 1},
		{"GET with connect-failure", "GET", "", "retry_policy: {retry_on: connect-failure, num_retries: 3}", 1},
		{"GET with no retries", "GET", "", "retry_policy: {retry_on: reset, num_retries: 0}", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var seen atomic.Int64
			routes := "- match: {prefix: /}\n  route:\n    cluster: app\n" + indent(4, test.policy)
			r := newRig(t, web(routes)+clusters(cluster("app", "", cutter(t, &seen))))
			var body io.Reader
			if test.body != "" {
				body = strings.NewReader(test.body)
			}
			a := do(t, client(t, 1), test.method, "http://"+r.serve("web")+"/", body)
			if a.StatusCode != 503 || seen.Load() != test.seen {
				t.Errorf("%s after %d tries, want %d", a.Status, seen.Load(), test.seen)
			}
		})
	}
}

func TestAnyRequestIsRepeatedElsewhereIfNothingWasSent(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprintf("h%d to h%d", v.down, v.up), func(t *testing.T) {
			fields := "lb_policy: ROUND_ROBIN\n"
			if v.up == 2 {
				fields += speaksH2
			}
			dead := listen(t)
			dead.Close()
			r := newRig(t, web(to("app"))+clusters(cluster("app", fields, dead.Addr().String(), backend(t, mirror))))
			base, c := "http://"+r.serve("web"), client(t, v.down)
			for range 20 {
				if a := do(t, c, "POST", base+"/", strings.NewReader("body")); a.StatusCode != 200 || a.body != "body" {
					t.Fatalf("%s %q", a.Status, a.body)
				}
			}
		})
	}
}

func TestAKeptConnectionThatTheEndpointEndedCostsNoIdempotentRequest(t *testing.T) {
	// It ends each connection after one answer, without saying so.
	address := tcpBackend(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
		}
	})
	r := newRig(t, web(to("app"))+clusters(cluster("app", "", address)))
	base, c := "http://"+r.serve("web"), client(t, 1)
	for i := range 200 {
		if a := do(t, c, "GET", base+"/", nil); a.StatusCode != 200 || a.body != "ok" {
			t.Fatalf("request %d: %s %q", i, a.Status, a.body)
		}
	}
}

func TestAnswersAreRepeatedByTheirStatus(t *testing.T) {
	const policy = "\n    retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [503], num_retries: 2}\n"
	for _, v := range versions {
		t.Run(fmt.Sprintf("h%d to h%d", v.down, v.up), func(t *testing.T) {
			var seen atomic.Int64
			h := func(w http.ResponseWriter, r *http.Request) {
				n := seen.Add(1)
				if status := r.URL.Query().Get("status"); n < 3 && status != "" {
					w.WriteHeader(503)
					_, _ = io.WriteString(w, strings.Repeat("not yet ", 1000))
					return
				}
				_, _ = io.WriteString(w, "now")
			}
			fields := ""
			if v.up == 2 {
				fields = speaksH2
			}
			r := newRig(t, web("- match: {prefix: /}\n  route:\n    cluster: app"+policy)+clusters(cluster("app", fields, backend(t, h))))
			base, c := "http://"+r.serve("web"), client(t, v.down)
			if a := do(t, c, "GET", base+"/?status=503", nil); a.StatusCode != 200 || a.body != "now" || seen.Load() != 3 {
				t.Errorf("GET: %s %.20q after %d", a.Status, a.body, seen.Load())
			}
			seen.Store(0)
			if a := do(t, c, "POST", base+"/?status=503", nil); a.StatusCode != 503 || len(a.body) != 8000 || seen.Load() != 1 {
				t.Errorf("POST: %s %.20q after %d", a.Status, a.body, seen.Load())
			}
		})
	}
}

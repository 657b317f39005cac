package engine

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestTheProxyAnswersByItselfInPlainWords(t *testing.T) {
	routes := `- match: {path: /direct}
  direct_response: {status: 418, body: {inline_string: short and stout}}
  response_headers_to_add: [{header: {key: x-kind, value: pot}}]
- match: {path: /empty}
  direct_response: {status: 204}
- match: {path: /nowhere}
  route: {cluster: empty}
- match: {path: /missing}
  route: {cluster: missing}
- match: {path: /missing404}
  route: {cluster: missing, cluster_not_found_response_code: NOT_FOUND}
- match: {path: /missing500}
  route: {cluster: missing, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}
- match: {path: /dead}
  route: {cluster: dead}
`
	dead := listen(t)
	dead.Close()
	r := newRig(t, web(routes)+clusters(cluster("empty", ""), cluster("dead", "", dead.Addr().String())))
	base := "http://" + r.serve("web")
	for _, version := range []int{1, 2} {
		c := client(t, version)
		for _, test := range []struct {
			path, fault, body string
			status            int
		}{
			{"/direct", "", "short and stout", 418},
			{"/empty", "", "", 204},
			{"/none", "no_route", "no route of routes matches this request\n", 404},
			{"/nowhere", "no_endpoint", "empty has no endpoints\n", 503},
			{"/missing", "configuration", "there is no cluster missing\n", 503},
			{"/missing404", "configuration", "there is no cluster missing\n", 404},
			{"/missing500", "configuration", "there is no cluster missing\n", 500},
			{"/dead", "connect_failed", "connect to " + dead.Addr().String() + " failed\n", 503},
		} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				var body io.Reader
				if method == "POST" {
					body = strings.NewReader("some body")
				}
				want := test.body
				if method == "HEAD" {
					want = ""
				}
				a := do(t, c, method, base+test.path, body)
				if a.StatusCode != test.status || a.body != want || a.Header.Get("x-leno-fault") != test.fault {
					t.Errorf("h%d %s %s: %d %q %v", version, method, test.path, a.StatusCode, a.body, a.Header)
				}
			}
		}
	}
}

func TestGRPCCallersGetAStatus(t *testing.T) {
	r := newRig(t, web(to("missing")))
	a := do(t, client(t, 2), "POST", "http://"+r.serve("web")+"/a.B/C", strings.NewReader("x"), header("content-type", "application/grpc"))
	if a.StatusCode != 200 || a.Header.Get("grpc-status") != "14" || a.Header.Get("grpc-message") != "there is no cluster missing" {
		t.Errorf("%s %v", a.Status, a.Header)
	}
}

func TestRedirectsAndRewrites(t *testing.T) {
	routes := `- match: {path: /https}
  redirect: {https_redirect: true}
- match: {path: /host}
  redirect: {host_redirect: other.example, port_redirect: 8443, scheme_redirect: https, response_code: PERMANENT_REDIRECT}
- match: {prefix: /old/}
  redirect: {prefix_rewrite: /new/, response_code: FOUND}
- match: {path: /plain}
  redirect: {path_redirect: /there, strip_query: true, response_code: SEE_OTHER}
- match: {path_separated_prefix: /root}
  redirect: {regex_rewrite: {pattern: {regex: "^/root(?:/|$)"}, substitution: /}, response_code: TEMPORARY_REDIRECT}
- match: {prefix: /api/}
  route: {cluster: app, prefix_rewrite: /v1/, host_rewrite_literal: inner.example}
- match: {path_separated_prefix: /strip}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "^/strip(?:/|$)"}, substitution: /}}
- match: {prefix: /swap/}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "^/swap/([^/]+)/([^/]+)$"}, substitution: '/\2/$\1'}}
- match: {prefix: /bad/}
  route: {cluster: app, regex_rewrite: {pattern: {regex: "^/"}, substitution: ''}}
`
	r := newRig(t, web(routes)+clusters(cluster("app", "", backend(t, mirror))))
	address := r.serve("web")
	c := client(t, 1)
	for path, want := range map[string]struct {
		status   int
		location string
	}{
		"/https":        {301, "https://127.0.0.1/https"},
		"/host?q=1":     {308, "https://other.example:8443/host?q=1"},
		"/old/a/b?c":    {302, "http://" + address + "/new/a/b?c"},
		"/plain?drop=1": {303, "http://" + address + "/there"},
		"/root/a?q":     {307, "http://" + address + "/a?q"},
		"/root":         {307, "http://" + address + "/"},
	} {
		if a := do(t, c, "GET", "http://"+address+path, nil); a.StatusCode != want.status || a.Header.Get("location") != want.location {
			t.Errorf("%s: %d %q, want %d %q", path, a.StatusCode, a.Header.Get("location"), want.status, want.location)
		}
	}
	for path, want := range map[string]string{
		"/api/x?y":         "/v1/x?y inner.example",
		"/strip/x/y?z":     "/x/y?z " + address,
		"/strip":           "/ " + address,
		"/swap/one/two?q":  "/two/$one?q " + address,
		"/swap/unmatched/": "/swap/unmatched/ " + address,
	} {
		a := do(t, c, "GET", "http://"+address+path, nil)
		if have := a.Header.Get("x-path") + " " + a.Header.Get("x-host"); have != want {
			t.Errorf("%s: %s %q, want %q", path, a.Status, have, want)
		}
	}
	if a := do(t, c, "GET", "http://"+address+"/bad/x", nil); a.StatusCode != 500 {
		t.Errorf("a path that is none: %s", a.Status)
	}
}

func TestHeadersAreEditedInnermostFirst(t *testing.T) {
	routes := `- match: {prefix: /}
  route:
    weighted_clusters:
      clusters:
      - name: app
        weight: 1
        request_headers_to_add: [{header: {key: x-order, value: cluster}}]
        response_headers_to_add: [{header: {key: x-back, value: cluster}}]
  request_headers_to_add:
  - {header: {key: x-order, value: route}}
  - {header: {key: x-set, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
  - {header: {key: x-absent, value: mine}, append_action: ADD_IF_ABSENT}
  - {header: {key: x-present, value: mine}, append_action: OVERWRITE_IF_EXISTS}
  request_headers_to_remove: [x-secret]
  response_headers_to_add: [{header: {key: x-back, value: route}}]
  response_headers_to_remove: [x-path]
`
	each(t, mirror, routes, func(t *testing.T, c *http.Client, base string) {
		a := do(t, c, "GET", base+"/", nil, header("x-secret", "s"), header("x-set", "old"), header("x-absent", "theirs"))
		for name, want := range map[string]string{
			"X-Had-X-Order": "cluster,route", "X-Had-X-Set": "new", "X-Had-X-Absent": "theirs", "X-Had-X-Present": "", "X-Had-X-Secret": "",
			"X-Back": "cluster,route", "X-Path": "",
		} {
			if have := strings.Join(a.Header[http.CanonicalHeaderKey(name)], ","); have != want && strings.Join(a.Header[name], ",") != want {
				t.Errorf("%s is %q, want %q", name, have, want)
			}
		}
	})
}

func TestWeightsDivideRequests(t *testing.T) {
	var a, b atomic.Int64
	count := func(n *atomic.Int64) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) { n.Add(1) }
	}
	routes := `- match: {prefix: /}
  route: {weighted_clusters: {clusters: [{name: a, weight: 3}, {name: b, weight: 1}, {name: never, weight: 0}]}}
`
	r := newRig(t, web(routes)+clusters(cluster("a", "", backend(t, count(&a))), cluster("b", "", backend(t, count(&b)))))
	base, c := "http://"+r.serve("web"), client(t, 1)
	for range 800 {
		if x := do(t, c, "GET", base+"/", nil); x.StatusCode != 200 {
			t.Fatal(x.Status)
		}
	}
	if n := a.Load(); n < 500 || n > 700 || a.Load()+b.Load() != 800 {
		t.Errorf("%d and %d of 800 at 3 to 1", a.Load(), b.Load())
	}
}

// silent accepts and never answers.
func silent(t testing.TB) string {
	return tcpBackend(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
}

func TestTimeoutsAreAnsweredAndLateByLittle(t *testing.T) {
	routes := `- match: {prefix: /}
  route: {cluster: app, timeout: 0.3s}
`
	for _, version := range []int{1, 2} {
		for _, withBody := range []bool{false, true} {
			t.Run(fmt.Sprintf("h%d body %t", version, withBody), func(t *testing.T) {
				r := newRig(t, web(routes)+clusters(cluster("app", "", silent(t))))
				base := "http://" + r.serve("web")
				var body io.Reader
				least := 300 * time.Millisecond
				if withBody { // the time runs from the end of the request, as Envoy's does
					pr, pw := io.Pipe()
					time.AfterFunc(least, func() { pw.Close() })
					body, least = pr, 2*least
				}
				begun := time.Now()
				a, err := try(client(t, version), "POST", base+"/", body)
				took := time.Since(begun)
				if err != nil || a.StatusCode != 504 || a.Header.Get("x-leno-fault") != "timeout" {
					t.Fatalf("%v %v", a.Response, err)
				}
				if took < least || took > least+400*time.Millisecond {
					t.Errorf("answered after %s, the timeout ends at %s", took, least)
				}
			})
		}
	}
}

func TestATimeoutInTheAnswerCutsIt(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "part")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	routes := `- match: {prefix: /}
  route: {cluster: app, timeout: 0.2s}
`
	each(t, h, routes, func(t *testing.T, c *http.Client, base string) {
		a, err := try(c, "GET", base+"/", nil)
		if err == nil {
			t.Errorf("a cut answer looks whole: %q", a.body)
		}
	})
}

func TestAnEndpointThatDiesIsToldApart(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		status int // 0: the answer is cut
	}{
		"before the head": {"", 503},
		"in the head":     {"HTTP/1.1 200 OK\r\ncontent-le", 503},
		"after the head":  {"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", 0},
		"in the body":     {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n", 0},
		"nonsense":        {"SSH-2.0-OpenSSH_9.9\r\n\r\n", 502},
	} {
		t.Run(name, func(t *testing.T) {
			address := tcpBackend(t, func(c net.Conn) {
				buf := make([]byte, 4096)
				if _, err := c.Read(buf); err == nil {
					_, _ = io.WriteString(c, test.answer)
				}
			})
			r := newRig(t, web(to("app"))+clusters(cluster("app", "", address)))
			base := "http://" + r.serve("web")
			for _, version := range []int{1, 2} {
				a, err := try(client(t, version), "GET", base+"/", nil)
				switch {
				case test.status == 0 && err == nil:
					t.Errorf("h%d: a cut answer looks whole: %s %q", version, a.Status, a.body)
				case test.status != 0 && (err != nil || a.StatusCode != test.status):
					t.Errorf("h%d: %v %v, want %d", version, a.Response, err, test.status)
				}
			}
		})
	}
}

func TestAnUnfinishedRequestIsAnsweredWhenItsEndpointDies(t *testing.T) {
	address := tcpBackend(t, func(c net.Conn) {
		buf := make([]byte, 4096)
		_, _ = c.Read(buf)
	})
	r := newRig(t, web(to("app"))+clusters(cluster("app", "", address)))
	base := "http://" + r.serve("web")
	for _, version := range []int{1, 2} {
		pr, pw := io.Pipe()
		a, err := try(client(t, version), "POST", base+"/", pr)
		pw.Close()
		if err != nil || a.StatusCode != 503 {
			t.Errorf("h%d: %v %v", version, a.Response, err)
		}
	}
}

func TestCircuitBreakersRefuseWhatIsTooMuch(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 10)
	h := func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release }
	r := newRig(t, web(to("app"))+clusters(cluster("app", "circuit_breakers: {thresholds: [{max_requests: 2}]}", backend(t, h))))
	base, c := "http://"+r.serve("web"), client(t, 1)
	done := make(chan int, 2)
	for range 2 {
		go func() {
			a, err := try(c, "GET", base+"/", nil)
			if err != nil {
				done <- 0
				return
			}
			done <- a.StatusCode
		}()
		<-arrived
	}
	if a := do(t, c, "GET", base+"/", nil); a.StatusCode != 503 || a.Header.Get("x-leno-fault") != "overflow" {
		t.Errorf("the third request: %s %v", a.Status, a.Header)
	}
	close(release)
	if x, y := <-done, <-done; x != 200 || y != 200 {
		t.Errorf("the first two: %d, %d", x, y)
	}
	if a := do(t, c, "GET", base+"/", nil); a.StatusCode != 200 {
		t.Errorf("afterwards: %s", a.Status)
	}
}

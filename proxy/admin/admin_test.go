package admin

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, pages map[string]Page) (base string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- New(pages).Serve(ln) }()
	t.Cleanup(func() {
		ln.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return "http://" + ln.Addr().String()
}

func TestPagesAnswerTheirMethodsOnly(t *testing.T) {
	var changed atomic.Int64
	base := start(t, map[string]Page{
		"/read": {About: "reads", Serve: func(q url.Values, accept string) Answer { return Text(200, "read "+q.Get("a")+" "+accept) }},
		"/change": {Change: true, About: "changes", Serve: func(url.Values, string) Answer {
			changed.Add(1)
			return JSON([]byte("{}"))
		}},
		"/defect": {Serve: func(url.Values, string) Answer { panic("a defect") }},
	})
	for _, test := range []struct {
		method, path, origin, body string
		status                     int
	}{
		{"GET", "/read?a=b", "", "read b text/plain", 200},
		{"HEAD", "/read", "", "", 200},
		{"POST", "/read", "", "/read only reads: use GET\n", 405},
		{"DELETE", "/read", "", "/read only reads: use GET\n", 405},
		{"GET", "/change", "", "/change changes the proxy: use POST\n", 405},
		{"POST", "/change", "https://evil.example", "a page of a browser must not change the proxy\n", 403},
		{"POST", "/change", "", "{}", 200},
		{"GET", "/none", "", "there is no page /none; / lists those there are\n", 404},
		{"GET", "/read?a=%zz", "", "the query cannot be read: invalid URL escape \"%zz\"\n", 400},
		{"GET", "/defect", "", "this page has a defect\n", 500},
		{"GET", "/", "", "POST /change\tchanges\nGET  /defect\t\nGET  /read\treads\n", 200},
	} {
		req, err := http.NewRequest(test.method, base+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("accept", "text/plain")
		if test.origin != "" {
			req.Header.Set("origin", test.origin)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != test.status || string(b) != test.body || res.Header.Get("x-content-type-options") != "nosniff" {
			t.Errorf("%s %s: %d %q %v", test.method, test.path, res.StatusCode, b, res.Header)
		}
	}
	if n := changed.Load(); n != 1 {
		t.Errorf("changed %d times", n)
	}
}

func TestStalledClientsDoNotShutOthersOut(t *testing.T) {
	base := start(t, map[string]Page{"/read": {Serve: func(url.Values, string) Answer { return Text(200, "ok") }}})
	var stalled []net.Conn
	for range maxConnections {
		c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = fmt.Fprint(c, "GET /read HTTP/1.1\r\n")
		stalled = append(stalled, c)
	}
	for _, c := range stalled {
		_, _ = io.ReadAll(c) // ends when the sweeper loses patience
	}
	var err error
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 100 { // the places are given back a moment later
		<-tick.C
		var res *http.Response
		if res, err = http.Get(base + "/read"); err == nil {
			res.Body.Close()
			return
		}
	}
	t.Error(err)
}

package engine

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"
)

// stub is an application over HTTP/1.1 that allocates nothing for a request.
func stub(t testing.TB) string {
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
	return tcpBackend(t, func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			if n < 4 || string(b[n-4:n]) != "\r\n\r\n" {
				t.Errorf("the application got %q", b[:n])
				return
			}
			if _, err := c.Write(answer); err != nil {
				return
			}
		}
	})
}

// mallocs returns the allocations of the whole process for each run of f.
func mallocs(f func()) float64 {
	const runs = 3000
	for range 200 {
		f()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / runs
}

func TestForwardDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	manager := "normalize_path: true\nuse_remote_address: true\n"
	r := newRig(t, webWith(manager, to("app"))+clusters(cluster("app", "", stub(t))))
	c := dial(t, r.serve("web"))
	_ = c.SetDeadline(time.Time{})
	request := []byte("GET /a/path?q=1 HTTP/1.1\r\nhost: app.example\r\nuser-agent: test\r\naccept: */*\r\nx-own: value\r\n\r\n")
	b := make([]byte, 4096)
	got := mallocs(func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(b); err != nil || string(b[:12]) != "HTTP/1.1 200" {
			t.Fatalf("%q %v", b[:n], err)
		}
	})
	// The sweeper's tick and the runtime's own work are shared by all requests.
	if got > 0.1 {
		t.Errorf("%.2f allocations a request", got)
	}
}

func TestForwardOverHTTP2AllocatesLittle(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	// The client and the application of the standard library allocate much, so
	// what is measured is the difference that a proxy between them makes.
	h := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "ok") }
	app := backend(t, h)
	r := newRig(t, web(to("app"))+clusters(cluster("app", speaksH2, app)))
	measure := func(base string) float64 {
		c := client(t, 2)
		req, err := http.NewRequest("GET", base, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		return mallocs(func() {
			res, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			for err == nil {
				_, err = res.Body.Read(b)
			}
			res.Body.Close()
		})
	}
	direct := measure("http://" + app + "/")
	proxied := measure("http://" + r.serve("web") + "/")
	// The proxy adds three headers, which the application's library allocates.
	if added := proxied - direct; added > 12 {
		t.Errorf("%.1f allocations more than without a proxy (%.1f, %.1f)", added, direct, proxied)
	}
}

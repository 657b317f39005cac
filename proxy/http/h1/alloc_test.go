package h1

import (
	"io"
	"testing"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// exchange sends one request over the pool and reads its answer.
func exchange(t testing.TB, p *Pool, request, response *http.Head, body []byte) {
	s, err := p.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.WriteHead(request, len(body) == 0); err != nil {
		t.Fatal(err)
	}
	if len(body) > 0 {
		if err := s.WriteData(body, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.ReadHead(response); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := s.ReadData(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
}

// answering returns a handler that answers every request with body and reuses its
// memory.
func answering(body []byte, length int64) func(http.Stream) {
	var h http.Head
	return func(s http.Stream) {
		defer s.Close()
		if s.ReadHead(&h) != nil {
			return
		}
		for {
			if _, err := s.ReadData(); err != nil {
				break
			}
		}
		h.Reset()
		h.Status, h.Length = 200, length
		h.AddString("content-type", "text/plain")
		h.AddString("x-custom", "value")
		if s.WriteHead(&h, false) == nil {
			_ = s.WriteData(body, true)
		}
	}
}

func TestExchangeDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets on purpose under the race detector")
	}
	body := make([]byte, 1000)
	for name, length := range map[string]int64{"length": 1000, "chunked": -1} {
		t.Run(name, func(t *testing.T) {
			p := poolTo(t, PoolOptions{}, answering(body, length))
			request, response := newRequest("POST", "/", length), &http.Head{}
			addFields(request)
			for range 10 {
				exchange(t, p, request, response, body)
			}
			if n := testing.AllocsPerRun(200, func() { exchange(t, p, request, response, body) }); n != 0 {
				t.Errorf("%v allocations an exchange on both sides", n)
			}
			if got := p.Stats().Open; got != 1 {
				t.Errorf("%d connections", got)
			}
		})
	}
}

func addFields(h *http.Head) {
	for _, f := range [][2]string{
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"},
		{"accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		{"accept-language", "en-US,en;q=0.5"}, {"accept-encoding", "gzip, deflate, br, zstd"},
		{"cookie", "session=0123456789abcdef0123456789abcdef"}, {"referer", "https://example.com/some/page"},
		{"x-request-id", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"}, {"cache-control", "no-cache"},
		{"x-custom-header", "some value"},
	} {
		h.AddString(f[0], f[1])
	}
}

func requestBytes(t testing.TB) []byte {
	h := newRequest("GET", "/api/v1/things?limit=10&offset=20", 0)
	addFields(h)
	b, bad := appendRequest(nil, h, false)
	if bad != nil {
		t.Fatal(bad.reason)
	}
	return b
}

func BenchmarkParseRequest(b *testing.B) {
	raw := requestBytes(b)
	o := ServerOptions{Scheme: "http", Limits: http.Limits{}.WithDefaults()}
	var h http.Head
	var f framing
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		var s scanner
		n := s.end(raw)
		if bad := parseRequest(raw[:n], &h, &f, &o); bad != nil {
			b.Fatal(bad.reason)
		}
	}
}

func BenchmarkSerialiseRequest(b *testing.B) {
	h := newRequest("GET", "/api/v1/things?limit=10&offset=20", 0)
	addFields(h)
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, bad := appendRequest(out, h, false); bad != nil {
			b.Fatal(bad.reason)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	raw := []byte("HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 09:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 100\r\nServer: x\r\nETag: \"abc\"\r\n\r\n")
	var h http.Head
	var f framing
	b.ReportAllocs()
	for b.Loop() {
		if bad := parseResponse(raw, &h, &f, &request{}, 100); bad != nil {
			b.Fatal(bad.reason)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	p := poolTo(b, PoolOptions{}, answering(make([]byte, 100), 100))
	request, response := newRequest("GET", "/", 0), &http.Head{}
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, p, request, response, nil)
	}
}

func BenchmarkQuiet(b *testing.B) {
	client, _ := pair(b)
	c := conn.New(client, &buf.Pool{})
	b.ReportAllocs()
	for b.Loop() {
		if !c.Quiet() {
			b.Fatal("not quiet")
		}
	}
}

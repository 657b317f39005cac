package h2

import (
	"testing"

	"github.com/leno-mesh/leno/proxy/http"
)

func TestExchangeAllocatesNothing(t *testing.T) {
	if racing {
		t.Skip("the race detector makes sync.Pool forget")
	}
	payload := make([]byte, 100)
	pool := make(chan *[2]http.Head, 64)
	heads := func() *[2]http.Head {
		select {
		case h := <-pool:
			return h
		default:
			return new([2]http.Head)
		}
	}
	addr := serve(t, ServerOptions{Memory: new(Memory)}, func(st http.Stream) {
		defer st.Close()
		h := heads()
		if st.ReadHead(&h[0]) != nil {
			return
		}
		r := &h[1]
		r.Reset()
		r.Status, r.Length = 200, 100
		r.AddString("content-type", "text/plain")
		_ = st.WriteHead(r, false)
		_ = st.WriteData(payload, true)
		pool <- h
	})
	tr := transport(t, addr, TransportOptions{})
	q := request("GET", "/path", "user-agent", "test", "accept", "*/*", "x-request-id", "0123456789")
	var r http.Head
	exchange := func() {
		st, err := tr.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.WriteHead(q, true); err != nil {
			t.Fatal(err)
		}
		if err := st.ReadHead(&r); err != nil || r.Status != 200 || r.Length != 100 {
			t.Fatal(err)
		}
		if p, err := st.ReadData(); err != nil || len(p) != 100 {
			t.Fatal(err)
		}
		if _, err := st.ReadData(); err == nil {
			t.Fatal("no end")
		}
		st.Close()
	}
	for range 100 {
		exchange()
	}
	if n := testing.AllocsPerRun(2000, exchange); n > 0 {
		t.Errorf("%v allocations an exchange, both sides", n)
	}
}

// BenchmarkExchange is one small exchange, both sides, 64 at a time.
func BenchmarkExchange(b *testing.B) {
	payload := make([]byte, 100)
	addr := serve(b, ServerOptions{Memory: new(Memory)}, func(st http.Stream) {
		defer st.Close()
		var h http.Head
		if st.ReadHead(&h) != nil {
			return
		}
		h.Reset()
		h.Status, h.Length = 200, 100
		_ = st.WriteHead(&h, false)
		_ = st.WriteData(payload, true)
	})
	tr := transport(b, addr, TransportOptions{Connections: 1})
	q := request("GET", "/path", "user-agent", "test", "accept", "*/*")
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		var r http.Head
		for pb.Next() {
			st := open(b, tr)
			_ = st.WriteHead(q, true)
			if st.ReadHead(&r) != nil {
				b.Error("no answer")
			}
			_, _ = body(st)
			st.Close()
		}
	})
}

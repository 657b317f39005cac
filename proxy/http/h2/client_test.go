package h2

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// endpoint lets serve speak raw frames to a Transport, a connection at a time.
func endpoint(t *testing.T, o TransportOptions, serve func(p *peer)) *Transport {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer nc.Close()
				p := newPeer(t, nc)
				if _, err := io.ReadFull(nc, make([]byte, len(preface))); err != nil {
					return
				}
				serve(p)
				p.until(func(http2.Frame) bool { return false })
			})
		}
	})
	tr := transport(t, l.Addr().String(), o)
	t.Cleanup(func() { _ = l.Close(); tr.Drain(); all.Wait() })
	return tr
}

func isHeaders(f http2.Frame) bool { _, ok := f.(*http2.HeadersFrame); return ok }

func ask(t *testing.T, tr *Transport) (*stream, *http.Head, error) {
	t.Helper()
	st := open(t, tr)
	if err := st.WriteHead(request("GET", "/"), true); err != nil {
		return st, nil, err
	}
	h := new(http.Head)
	err := st.ReadHead(h)
	return st, h, err
}

func TestClientTellsWhatWasNotProcessed(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(p *peer, id uint32)
		unsent bool
		kind   http.Kind
	}{
		"refused":         {func(p *peer, id uint32) { _ = p.f.WriteRSTStream(id, http2.ErrCodeRefusedStream) }, true, http.KindRefused},
		"canceled":        {func(p *peer, id uint32) { _ = p.f.WriteRSTStream(id, http2.ErrCodeCancel) }, false, http.KindReset},
		"above GOAWAY":    {func(p *peer, id uint32) { _ = p.f.WriteGoAway(0, http2.ErrCodeNo, nil) }, true, http.KindRefused},
		"connection lost": {func(p *peer, id uint32) { _ = p.nc.(*net.TCPConn).CloseWrite() }, false, http.KindClosed},
		"malformed":       {func(p *peer, id uint32) { p.headers(id, true, ":status", "2xx") }, false, http.KindProtocol},
		"data first":      {func(p *peer, id uint32) { _ = p.f.WriteData(id, true, []byte("x")) }, false, http.KindProtocol},
		"status 101":      {func(p *peer, id uint32) { p.headers(id, false, ":status", "101") }, false, http.KindProtocol},
		"push enabled": {func(p *peer, id uint32) {
			_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 1})
		}, false, http.KindProtocol},
		"large head": {func(p *peer, id uint32) {
			f := []string{":status", "200"}
			for range 200 {
				f = append(f, "x", "y")
			}
			p.headers(id, false, f...)
		}, false, http.KindTooLarge},
		"short body": {func(p *peer, id uint32) {
			p.headers(id, true, ":status", "200", "content-length", "5")
		}, false, http.KindProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			tr := endpoint(t, TransportOptions{}, func(p *peer) {
				_ = p.f.WriteSettings()
				if f := p.until(isHeaders); f != nil {
					c.do(p, f.Header().StreamID)
				}
			})
			st, _, err := ask(t, tr)
			defer func() { st.Close() }()
			var e *http.Error
			if !errors.As(err, &e) || e.Unsent != c.unsent || e.Kind != c.kind || e.Side != http.Upstream {
				t.Errorf("got %+v", err)
			}
		})
	}
}

func TestClientMovesToAnotherConnectionAfterGoAway(t *testing.T) {
	tr := endpoint(t, TransportOptions{}, func(p *peer) {
		_ = p.f.WriteSettings()
		f := p.until(isHeaders)
		if f == nil {
			return
		}
		_ = p.f.WriteGoAway(f.Header().StreamID, http2.ErrCodeNo, nil)
		p.headers(f.Header().StreamID, true, ":status", "204")
	})
	for range 5 {
		st, h, err := ask(t, tr)
		if err != nil || h.Status != 204 {
			t.Fatalf("%d %v", h.Status, err)
		}
		st.Close()
	}
}

func TestOpenWaitsForAStream(t *testing.T) {
	release := make(chan struct{})
	tr := endpoint(t, TransportOptions{Connections: 2, Waiters: 1}, func(p *peer) {
		_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1})
		f := p.until(isHeaders)
		if f == nil {
			return
		}
		<-release
		p.headers(f.Header().StreamID, true, ":status", "200")
	})
	a, b := open(t, tr), open(t, tr)
	if a.s == b.s {
		t.Fatal("two streams on a connection for one")
	}
	_, err := tr.Open(clock.Now() + int64(20*time.Millisecond))
	var e *http.Error
	if !errors.As(err, &e) || e.Kind != http.KindTimeout || !e.Unsent {
		t.Fatalf("got %v", err)
	}
	got := make(chan http.Stream)
	go func() {
		st, err := tr.Open(0)
		if err != nil {
			t.Error(err)
		}
		got <- st
	}()
	if err := a.WriteHead(request("GET", "/"), true); err != nil {
		t.Fatal(err)
	}
	close(release)
	var h http.Head
	if err := a.ReadHead(&h); err != nil {
		t.Fatal(err)
	}
	c := <-got
	if c.(*stream).s != a.s {
		t.Error("the waiter got another connection")
	}
	a.Close()
	b.Close()
	c.Close()
}

func TestDialErrorReachesAllWhoWait(t *testing.T) {
	refused := errors.New("refused")
	begun, fail := make(chan struct{}), make(chan struct{})
	tr := NewTransport(TransportOptions{Dial: func(int64) (*conn.Conn, error) {
		close(begun)
		<-fail
		return nil, refused
	}})
	errs := make(chan error)
	openOne := func() {
		_, err := tr.Open(0)
		errs <- err
	}
	go openOne()
	<-begun
	for range 3 {
		go openOne()
	}
	for {
		tr.queue.Lock()
		n := len(tr.waiters)
		tr.queue.Unlock()
		if n == 3 {
			break
		}
	}
	close(fail)
	for range 4 {
		if err := <-errs; err != refused {
			t.Error(err)
		}
	}
}

func TestTunnelsPassBothEnds(t *testing.T) {
	// An endpoint that takes CONNECT and upgrades, and echoes.
	back := serve(t, ServerOptions{}, func(st http.Stream) {
		defer st.Close()
		var h http.Head
		if st.ReadHead(&h) != nil {
			return
		}
		r := response(200)
		if h.Protocol != "" {
			r.Status, r.Protocol = 101, h.Protocol
		}
		r.Length = -1
		_ = st.WriteHead(r, false)
		for {
			p, err := st.ReadData()
			if err == io.EOF {
				_ = st.WriteData([]byte("bye"), true)
				return
			}
			if err != nil {
				return
			}
			_ = st.WriteData(p, false)
			_ = st.Flush()
		}
	})
	front := serve(t, ServerOptions{}, relay(transport(t, back, TransportOptions{})))
	tr := transport(t, front, TransportOptions{})
	for _, protocol := range []string{"", "websocket"} {
		q := request("GET", "/chat")
		q.Protocol = protocol
		want := 101
		if protocol == "" {
			q = new(http.Head)
			q.SetMethodString("CONNECT")
			q.SetAuthorityString("a.test:80")
			want = 200
		}
		st := open(t, tr)
		if err := st.WriteHead(q, true); err != nil {
			t.Fatal(err)
		}
		var h http.Head
		if err := st.ReadHead(&h); err != nil || h.Status != want || h.Protocol != protocol {
			t.Fatalf("%q: %d %v", protocol, h.Status, err)
		}
		for range 3 {
			if err := st.WriteData([]byte("hello"), false); err != nil {
				t.Fatal(err)
			}
			if p, err := st.ReadData(); err != nil || string(p) != "hello" {
				t.Fatalf("%q %v", p, err)
			}
		}
		if err := st.WriteData(nil, true); err != nil {
			t.Fatal(err)
		}
		if b, err := body(st); err != nil || string(b) != "bye" {
			t.Fatalf("%q %v", b, err)
		}
		st.Close()
	}
}

func TestCloseBeforeTheEndResets(t *testing.T) {
	codes := make(chan http2.ErrCode)
	tr := endpoint(t, TransportOptions{}, func(p *peer) {
		_ = p.f.WriteSettings()
		p.until(func(f http2.Frame) bool {
			if h, ok := f.(*http2.HeadersFrame); ok {
				p.headers(h.StreamID, false, ":status", "200")
			}
			if r, ok := f.(*http2.RSTStreamFrame); ok {
				codes <- r.ErrCode
			}
			return false
		})
	})
	st, _, err := ask(t, tr)
	if err != nil {
		t.Fatal(err)
	}
	st.Close()
	if c := <-codes; c != http2.ErrCodeCancel {
		t.Errorf("client: %v", c)
	}

	addr := serve(t, ServerOptions{}, func(st http.Stream) {
		_ = st.WriteHead(response(200), true)
		st.Close()
	})
	p := client(t, addr)
	p.headers(1, false, get...)
	if id, c := p.reset(); id != 1 || c != http2.ErrCodeNo {
		t.Errorf("server: %v", c)
	}
}

// FuzzSession feeds bytes to both sides; whatever they are, the session ends and
// leaves no stream.
func FuzzSession(f *testing.F) {
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	f.Add([]byte(settings + "\x00\x00\x05\x01\x05\x00\x00\x00\x01\x82\x86\x84\x41\x00"))
	f.Add([]byte(settings + "\x00\x00\x04\x01\x04\x00\x00\x00\x01\x82\x86\x84\x10\x00\x00\x02\x00\x09\x00\x00\x00\x01\x01\x00"))
	f.Add([]byte(settings + "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x03\x00\x01\x00\x00\x00\x01abc"))
	f.Add([]byte(settings + "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		v := NewServer(conn.New(ours, new(buf.Pool)), ServerOptions{})
		done := make(chan struct{})
		go func() {
			_ = v.Serve(echo)
			close(done)
		}()
		_, _ = theirs.Write(append([]byte(preface), in...))
		_ = theirs.Close()
		<-done
		if v.s.open != 0 || len(v.s.streams) != 0 || v.s.counted != 0 {
			t.Fatalf("%d streams are left, %d count", v.s.open, v.s.counted)
		}

		ours, client := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		tr := NewTransport(TransportOptions{Dial: func(int64) (*conn.Conn, error) { return conn.New(ours, new(buf.Pool)), nil }})
		st, err := tr.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		s := st.(*stream).s
		_ = st.WriteHead(request("POST", "/"), false)
		go func() {
			_, _ = client.Write(in)
			_ = client.Close()
		}()
		var h http.Head
		if st.ReadHead(&h) == nil {
			_, _ = body(st)
		}
		st.Close()
		s.w.mu.Lock()
		defer s.w.mu.Unlock()
		if s.open != 0 || s.counted != 0 {
			t.Fatalf("%d streams are left, %d count", s.open, s.counted)
		}
	})
}

package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// peer speaks raw frames.
type peer struct {
	t     *testing.T
	nc    net.Conn
	f     *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
}

func newPeer(t *testing.T, nc net.Conn) *peer {
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	p := &peer{t: t, nc: nc, f: http2.NewFramer(nc, nc)}
	p.f.AllowIllegalWrites, p.f.AllowIllegalReads = true, true
	p.enc = hpack.NewEncoder(&p.block)
	return p
}

// client dials addr and exchanges the prefaces.
func client(t *testing.T, addr string, settings ...http2.Setting) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	p := newPeer(t, nc)
	_, _ = io.WriteString(nc, preface)
	_ = p.f.WriteSettings(settings...)
	return p
}

func (p *peer) encode(fields ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(fields); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(p.block.Bytes())
}

var get = []string{":method", "GET", ":scheme", "http", ":path", "/", ":authority", "a.test"}

func (p *peer) headers(id uint32, end bool, fields ...string) {
	_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.encode(fields...), EndStream: end, EndHeaders: true})
}

// until reads frames until one that want takes; nil at the end of the connection.
func (p *peer) until(want func(http2.Frame) bool) http2.Frame {
	for {
		f, err := p.f.ReadFrame()
		if err != nil {
			return nil
		}
		if want(f) {
			return f
		}
	}
}

func (p *peer) reset() (uint32, http2.ErrCode) {
	p.t.Helper()
	f := p.until(func(f http2.Frame) bool {
		_, rst := f.(*http2.RSTStreamFrame)
		_, away := f.(*http2.GoAwayFrame)
		return rst || away
	})
	switch f := f.(type) {
	case *http2.RSTStreamFrame:
		return f.StreamID, f.ErrCode
	case *http2.GoAwayFrame:
		return 0, f.ErrCode
	}
	p.t.Fatal("the connection ended without a word")
	return 0, 0
}

// gRPC's libraries measure the round trip with a PING for each DATA frame.
func TestPingsBesideDataAreNoFlood(t *testing.T) {
	post := append([]string{}, get...)
	post[1] = "POST"
	p := client(t, serve(t, ServerOptions{}, echo))
	p.headers(1, false, post...)
	for round := range 30 {
		const pings = 100
		for range pings {
			_ = p.f.WriteData(1, false, []byte("x"))
			_ = p.f.WritePing(false, [8]byte{})
		}
		acks := 0
		end := p.until(func(f http2.Frame) bool {
			if ping, ok := f.(*http2.PingFrame); ok && ping.IsAck() {
				acks++
			}
			_, away := f.(*http2.GoAwayFrame)
			return away || acks == pings
		})
		if away, ok := end.(*http2.GoAwayFrame); ok || end == nil {
			t.Fatalf("after %d acknowledgements the connection ended: %v", round*pings+acks, away)
		}
	}
}

func TestServerAnswersViolations(t *testing.T) {
	post := append([]string{}, get...)
	post[1] = "POST"
	with := func(fields ...string) []string { return append(append([]string{}, get...), fields...) }
	for name, c := range map[string]struct {
		do     func(p *peer)
		stream uint32
		code   http2.ErrCode
	}{
		"body longer than its length": {func(p *peer) {
			p.headers(1, false, append(post, "content-length", "3")...)
			_ = p.f.WriteData(1, false, []byte("four"))
		}, 1, http2.ErrCodeProtocol},
		"no authority":         {func(p *peer) { p.headers(1, true, ":method", "GET", ":scheme", "http", ":path", "/") }, 1, http2.ErrCodeProtocol},
		"two lengths":          {func(p *peer) { p.headers(1, false, with("content-length", "3", "content-length", "4")...) }, 1, http2.ErrCodeProtocol},
		"length without body":  {func(p *peer) { p.headers(1, true, with("content-length", "3")...) }, 1, http2.ErrCodeProtocol},
		"transfer-encoding":    {func(p *peer) { p.headers(1, true, with("transfer-encoding", "chunked")...) }, 1, http2.ErrCodeProtocol},
		"line feed in a value": {func(p *peer) { p.headers(1, true, with("x", "a\nb: c")...) }, 1, http2.ErrCodeProtocol},
		"colon in a name":      {func(p *peer) { p.headers(1, true, with("x:y", "a")...) }, 1, http2.ErrCodeProtocol},
		"other host":           {func(p *peer) { p.headers(1, true, with("host", "b.test")...) }, 1, http2.ErrCodeProtocol},
		"path without slash": {func(p *peer) {
			p.headers(1, true, ":method", "GET", ":scheme", "http", ":authority", "a", ":path", "x")
		}, 1, http2.ErrCodeProtocol},
		"user information": {func(p *peer) {
			p.headers(1, true, ":method", "GET", ":scheme", "http", ":authority", "u@a", ":path", "/")
		}, 1, http2.ErrCodeProtocol},
		"protocol without CONNECT": {func(p *peer) { p.headers(1, true, append([]string{":protocol", "websocket"}, get...)...) }, 1, http2.ErrCodeProtocol},
		"CONNECT with a path":      {func(p *peer) { p.headers(1, true, ":method", "CONNECT", ":authority", "a:1", ":path", "/") }, 1, http2.ErrCodeProtocol},
		"window overflow": {func(p *peer) {
			p.headers(1, false, post...)
			_ = p.f.WriteWindowUpdate(1, 1<<31-1)
		}, 1, http2.ErrCodeFlowControl},
		"table update in the middle": {func(p *peer) {
			_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82, 0x20}, EndStream: true, EndHeaders: true})
		}, 0, http2.ErrCodeCompression},
		"frame too large": {func(p *peer) { _ = p.f.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, frameSize+1)) }, 0, http2.ErrCodeFrameSize},
		"push":            {func(p *peer) { _ = p.f.WriteRawFrame(http2.FramePushPromise, 4, 1, make([]byte, 4)) }, 0, http2.ErrCodeProtocol},
		"continuation flood": {func(p *peer) {
			_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: p.encode(get...)})
			for range 40 {
				_ = p.f.WriteContinuation(1, false, nil)
			}
		}, 0, http2.ErrCodeEnhanceYourCalm},
		"empty data flood": {func(p *peer) {
			p.headers(1, false, post...)
			for range 200 {
				_ = p.f.WriteData(1, false, nil)
			}
		}, 0, http2.ErrCodeEnhanceYourCalm},
		"settings flood": {func(p *peer) {
			for range 2000 {
				_ = p.f.WriteSettings()
			}
		}, 0, http2.ErrCodeEnhanceYourCalm},
		"ping flood": {func(p *peer) {
			for range 2000 {
				_ = p.f.WritePing(false, [8]byte{})
			}
		}, 0, http2.ErrCodeEnhanceYourCalm},
	} {
		t.Run(name, func(t *testing.T) {
			p := client(t, serve(t, ServerOptions{}, echo))
			c.do(p)
			if id, code := p.reset(); id != c.stream || code != c.code {
				t.Errorf("stream %d %v, want %d %v", id, code, c.stream, c.code)
			}
		})
	}
}

func TestResetFloodsEndTheConnection(t *testing.T) {
	for name, flood := range map[string]func(p *peer, id uint32){
		"by the client": func(p *peer, id uint32) {
			p.headers(id, true, get...)
			_ = p.f.WriteRSTStream(id, http2.ErrCodeCancel)
		},
		"by the server": func(p *peer, id uint32) {
			p.headers(id, false, get...)
			_ = p.f.WriteWindowUpdate(id, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			hold := make(chan struct{})
			var peak, now int
			var mu sync.Mutex
			addr := serve(t, ServerOptions{Limits: http.Limits{Streams: 20, Resets: 100}}, func(st http.Stream) {
				mu.Lock()
				now++
				peak = max(peak, now)
				mu.Unlock()
				<-hold
				mu.Lock()
				now--
				mu.Unlock()
				st.Close()
			})
			p := client(t, addr)
			go func() {
				for id := uint32(1); id < 2000; id += 2 {
					flood(p, id)
				}
			}()
			f := p.until(func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
			if f == nil || f.(*http2.GoAwayFrame).ErrCode != http2.ErrCodeEnhanceYourCalm {
				t.Errorf("got %v", f)
			}
			close(hold)
			mu.Lock()
			defer mu.Unlock()
			if peak > 20 {
				t.Errorf("%d goroutines worked for reset streams", peak)
			}
		})
	}
}

func TestLargeHeadIs431(t *testing.T) {
	got := make(chan error, 1)
	addr := serve(t, ServerOptions{}, func(st http.Stream) {
		defer st.Close()
		var h http.Head
		got <- st.ReadHead(&h)
		_ = st.WriteHead(response(431), true)
	})
	for name, fields := range map[string][]string{
		"bytes":  {"x", strings.Repeat("v", 13000), "x", strings.Repeat("v", 13000), "y", strings.Repeat("v", 60000)},
		"fields": strings.Split(strings.Repeat("cookie,c,", 100)+"x,y", ","),
	} {
		p := client(t, addr)
		b := p.encode(append(append([]string{}, get...), fields...)...)
		first := min(len(b), frameSize)
		_ = p.f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: b[:first], EndStream: true, EndHeaders: first == len(b)})
		for b = b[first:]; len(b) > 0; {
			n := min(len(b), frameSize)
			_ = p.f.WriteContinuation(1, n == len(b), b[:n])
			b = b[n:]
		}
		var e *http.Error
		if err := <-got; !errors.As(err, &e) || e.Status != 431 {
			t.Errorf("%s: %v", name, err)
		}
		if p.until(func(f http2.Frame) bool { h, ok := f.(*http2.HeadersFrame); return ok && h.StreamEnded() }) == nil {
			t.Errorf("%s: no answer", name)
		}
	}
}

func TestUpgradeIsNotRefusedWithSuccess(t *testing.T) {
	addr := serve(t, ServerOptions{}, func(st http.Stream) {
		defer st.Close()
		var h http.Head
		_ = st.ReadHead(&h)
		var e *http.Error
		if err := st.WriteHead(response(200), false); !errors.As(err, &e) || e.Status != 502 {
			t.Errorf("got %v", err)
		}
		_ = st.WriteHead(response(502, "x-method", string(h.Method()), "x-protocol", h.Protocol), true)
	})
	p := client(t, addr)
	p.f.AllowIllegalReads, p.f.ReadMetaHeaders = false, hpack.NewDecoder(4096, nil)
	p.headers(1, false, ":method", "CONNECT", ":protocol", "WebSocket", ":scheme", "http", ":path", "/", ":authority", "a.test")
	f, _ := p.until(func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok }).(*http2.MetaHeadersFrame)
	if f == nil || f.PseudoValue("status") != "502" || f.RegularFields()[0].Value != "GET" || f.RegularFields()[1].Value != "websocket" {
		t.Errorf("got %v", f)
	}
}

func TestPaddingIsGivenBack(t *testing.T) {
	p := client(t, serve(t, ServerOptions{}, echo))
	p.headers(1, false, get...)
	go func() {
		for range 3 << 20 / 256 { // three windows of the connection
			_ = p.f.WriteDataPadded(1, false, []byte("x"), make([]byte, 254))
		}
		_ = p.f.WriteData(1, true, nil)
	}()
	n := 0
	ended := p.until(func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok {
			n += len(d.Data())
		}
		return ok && d.StreamEnded()
	})
	if ended == nil || n != 3<<20/256 {
		t.Errorf("%d bytes came back", n)
	}
}

func TestReceiveWindowBoundsWhatIsHeld(t *testing.T) {
	addr := serve(t, ServerOptions{}, func(st http.Stream) {
		defer st.Close()
		<-failed(st) // without reading
	})
	p := client(t, addr)
	p.headers(1, false, get...)
	go func() {
		for range 17 {
			_ = p.f.WriteData(1, false, make([]byte, frameSize))
		}
	}()
	if id, code := p.reset(); id != 1 || code != http2.ErrCodeFlowControl {
		t.Errorf("stream %d %v", id, code)
	}
}

// failed returns what is closed when the stream fails.
func failed(st http.Stream) chan struct{} {
	c := make(chan struct{})
	st.(Linker).Link(aborter{c: c})
	return c
}

type aborter struct {
	http.Stream
	c chan struct{}
}

func (a aborter) Abort(error) { close(a.c) }

func TestWindowsMayBecomeNegative(t *testing.T) {
	addr := serve(t, ServerOptions{}, func(st http.Stream) {
		defer st.Close()
		_ = st.WriteHead(response(200), false)
		_ = st.WriteData(make([]byte, 100), true)
	})
	p := client(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 30})
	p.headers(1, true, get...)
	total := 0
	data := func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		if ok {
			total += len(d.Data())
		}
		return ok
	}
	p.until(data)
	if total != 30 {
		t.Fatalf("%d bytes in a window of 30", total)
	}
	_ = p.f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10}) // now -20
	_ = p.f.WriteWindowUpdate(1, 20)                                                  // now 0
	_ = p.f.WritePing(false, [8]byte{1})
	p.until(func(f http2.Frame) bool {
		g, ok := f.(*http2.PingFrame)
		return data(f) || ok && g.IsAck()
	})
	if total != 30 {
		t.Fatalf("%d bytes after the window shrank", total)
	}
	_ = p.f.WriteWindowUpdate(1, 70)
	p.until(func(f http2.Frame) bool { return data(f) && total == 100 })
	if total != 100 {
		t.Fatalf("%d bytes", total)
	}
}

func TestAbortFreesAWriterOfAPeerThatDoesNotRead(t *testing.T) {
	cause := errors.New("enough")
	streams, done := make(chan *stream, 1), make(chan error, 1)
	addr := serve(t, ServerOptions{}, func(st http.Stream) {
		defer st.Close()
		streams <- st.(*stream)
		_ = st.WriteHead(response(200), false)
		for {
			if err := st.WriteData(make([]byte, 1<<20), false); err != nil {
				done <- err
				return
			}
		}
	})
	p := client(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = p.f.WriteWindowUpdate(0, 1<<30)
	p.headers(1, true, get...)
	st := <-streams
	for blocked := false; !blocked; runtime.Gosched() {
		st.s.w.mu.Lock()
		blocked = st.queued && st.s.w.slow != nil
		st.s.w.mu.Unlock()
	}
	st.Abort(cause)
	if err := <-done; err != cause {
		t.Errorf("got %v", err)
	}
}

func TestServerDrainsInTwoSteps(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	made, served, finish := make(chan *Server), make(chan error), make(chan struct{})
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		v := NewServer(conn.New(nc, new(buf.Pool)), ServerOptions{})
		made <- v
		served <- v.Serve(func(st http.Stream) {
			defer st.Close()
			<-finish
			_ = st.WriteHead(response(200), true)
		})
	}()
	p := client(t, l.Addr().String())
	v := <-made
	p.headers(1, true, get...)
	_ = p.f.WritePing(false, [8]byte{7})
	p.until(func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	v.Drain()
	away := func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }
	if g, _ := p.until(away).(*http2.GoAwayFrame); g == nil || g.LastStreamID != 1<<31-1 {
		t.Fatalf("first step: %v", g)
	}
	ping, _ := p.until(func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok }).(*http2.PingFrame)
	p.headers(3, true, get...) // on its way before we read the GOAWAY
	_ = p.f.WritePing(true, ping.Data)
	if g, _ := p.until(away).(*http2.GoAwayFrame); g == nil || g.LastStreamID != 3 || g.ErrCode != 0 {
		t.Fatalf("second step: %v", g)
	}
	p.headers(5, true, get...) // too late: ignored
	close(finish)
	answered := 0
	p.until(func(f http2.Frame) bool {
		if h, ok := f.(*http2.HeadersFrame); ok && h.StreamEnded() {
			answered++
		}
		return false
	})
	if answered != 2 {
		t.Errorf("%d answers, want 2", answered)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestSweepEndsWhatIsOverdue(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	made, served, read := make(chan *Server), make(chan error), make(chan error, 1)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			v := NewServer(conn.New(nc, new(buf.Pool)), ServerOptions{})
			made <- v
			go func() {
				served <- v.Serve(func(st http.Stream) {
					defer st.Close()
					var h http.Head
					_ = st.ReadHead(&h)
					_, err := st.ReadData()
					read <- err
				})
			}()
		}
	}()
	late := func(d time.Duration) int64 { return clock.Now() + int64(d) }
	ping := func(p *peer) {
		_ = p.f.WritePing(false, [8]byte{7})
		p.until(func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok })
	}

	p := client(t, l.Addr().String())
	v := <-made
	p.headers(1, false, get...)
	ping(p)
	for still := false; !still; runtime.Gosched() {
		// The stream waits, and nothing is being written: in the time that
		// passes now such a write would look like a peer that does not read.
		v.s.w.mu.Lock()
		waits := 0
		for _, st := range v.s.streams {
			waits += st.waiting
		}
		still = waits > 0 && v.s.w.empty()
		v.s.w.mu.Unlock()
	}
	v.Sweep(late(4 * time.Minute))
	select {
	case err := <-read:
		t.Fatalf("too early: %v", err)
	default:
	}
	v.Sweep(late(6 * time.Minute))
	var e *http.Error
	if err := <-read; !errors.As(err, &e) || e.Kind != http.KindTimeout {
		t.Errorf("stream: %v", err)
	}
	if id, _ := p.reset(); id != 1 {
		t.Errorf("stream %d was reset", id)
	}
	ping(p)
	for quiet := false; !quiet; runtime.Gosched() {
		v.s.w.mu.Lock()
		quiet = v.s.open == 0 && v.s.w.empty()
		v.s.w.mu.Unlock()
	}
	v.Sweep(late(2 * time.Hour))
	if err := <-served; err != nil {
		t.Errorf("idle: %v", err)
	}

	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	v = <-made
	for ended := false; !ended; runtime.Gosched() {
		v.Sweep(late(11 * time.Second)) // Serve may not have begun at the first
		select {
		case err := <-served:
			if ended = true; err == nil {
				t.Error("a connection without preface ended in good order")
			}
		default:
		}
	}
}

package h1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// byHand returns a pool whose connections are answered by the test.
func byHand(t *testing.T, o PoolOptions) (p *Pool, accepted chan net.Conn) {
	accepted = make(chan net.Conn, 10)
	bufs := &buf.Pool{}
	o.Dial = func(int64) (*conn.Conn, error) {
		c, s := pair(t)
		accepted <- s
		return conn.New(c, bufs), nil
	}
	return NewPool(o), accepted
}

func open(t *testing.T, p *Pool) http.Stream {
	t.Helper()
	s, err := p.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// complete runs an exchange on s with an endpoint that is a plain connection.
func complete(t *testing.T, s http.Stream, endpoint net.Conn) {
	t.Helper()
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	expect(t, endpoint, "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
	fmt.Fprint(endpoint, ok+"Content-Length: 0\r\n\r\n")
	var h http.Head
	if err := s.ReadHead(&h); err != nil {
		t.Fatal(err)
	}
}

func TestPoolTakesTheConnectionUsedLast(t *testing.T) {
	p, accepted := byHand(t, PoolOptions{})
	a, b := open(t, p), open(t, p)
	complete(t, a, <-accepted)
	complete(t, b, <-accepted)
	a.Close()
	b.Close()
	if s := open(t, p); s != b {
		t.Error("not the connection that was closed last")
	}
	if s := open(t, p); s != a {
		t.Error("not the other one")
	}
}

func TestPoolDropsConnectionsThatTheEndpointClosed(t *testing.T) {
	for name, spoil := range map[string]func(net.Conn){
		"closed": func(c net.Conn) { c.Close() },
		"reset":  func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); c.Close() },
		"talked": func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			p, accepted := byHand(t, PoolOptions{})
			s := open(t, p)
			endpoint := <-accepted
			complete(t, s, endpoint)
			s.Close()
			spoil(endpoint)
			s.(*clientStream).idleSince -= int64(time.Second)
			again := open(t, p)
			if again == s {
				t.Fatal("the connection was reused")
			}
			complete(t, again, <-accepted)
			again.Close()
			if got := p.Stats(); got.Open != 1 || got.Idle != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// spoilt returns a reused stream, on which what spoil does has arrived.
func spoilt(t *testing.T, spoil func(endpoint net.Conn)) (http.Stream, *Pool) {
	p, accepted := byHand(t, PoolOptions{})
	s := open(t, p)
	endpoint := <-accepted
	complete(t, s, endpoint)
	s.Close()
	s = open(t, p)
	spoil(endpoint)
	for s.(*clientStream).c.Quiet() {
		runtime.Gosched() // it is on its way
	}
	return s, p
}

func TestRequestIsNotSentToAnEndpointThatHasEndedTheConnection(t *testing.T) {
	for name, spoil := range map[string]func(net.Conn){
		"closed":      func(c net.Conn) { c.Close() },
		"half closed": func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
		"talked":      func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			s, p := spoilt(t, spoil)
			if err := s.WriteHead(newRequest("POST", "/", 0), true); err != nil {
				t.Fatal(err)
			}
			var h http.Head
			err := s.ReadHead(&h)
			if e := http.AsError(err, 0); err == nil || !e.Unsent || !e.Reused || e.Side != http.Upstream || e.Kind != http.KindClosed {
				t.Errorf("error is %+v", e)
			}
			s.Close()
			if got := p.Stats(); got != (Stats{}) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestConnectionClosedUnderARequestIsReported(t *testing.T) {
	s, _ := spoilt(t, func(c net.Conn) { c.Close() })
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	_ = s.Flush()
	var h http.Head
	err := s.ReadHead(&h)
	if e := http.AsError(err, 0); err == nil || !e.Reused || e.Unsent || e.Kind != http.KindClosed && e.Kind != http.KindReset {
		t.Errorf("error is %+v", e)
	}
	s.Close()
	p, accepted := byHand(t, PoolOptions{})

	// On a new connection it is the endpoint's failure.
	s = open(t, p)
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	endpoint := <-accepted
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = endpoint.Read(make([]byte, 100))
		endpoint.Close()
	}()
	if e := http.AsError(s.ReadHead(&h), 0); e.Reused || e.Unsent || e.Kind != http.KindClosed {
		t.Errorf("error is %+v", e)
	}
	<-done
	s.Close()
	if got := p.Stats(); got.Open != 0 {
		t.Errorf("%+v", got)
	}
}

func TestRequestOnADeadConnectionIsKnownToBeUnsent(t *testing.T) {
	p, accepted := byHand(t, PoolOptions{})
	s := open(t, p)
	(<-accepted).Close()
	s.Abort(io.ErrClosedPipe)
	if err := s.WriteHead(newRequest("GET", "/", 0), true); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error is %v", err)
	}
	var h http.Head
	if err := s.ReadHead(&h); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error is %v", err)
	}
	s.Close()

	s = open(t, p)
	_ = s.(*clientStream).c.Close()
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	if e := http.AsError(s.ReadHead(&h), 0); !e.Unsent {
		t.Errorf("error is %+v", e)
	}
	s.Close()
}

func TestFailedDialIsUnsent(t *testing.T) {
	p := NewPool(PoolOptions{Dial: func(int64) (*conn.Conn, error) { return nil, io.ErrUnexpectedEOF }})
	_, err := p.Open(0)
	if e := http.AsError(err, 0); e.Kind != http.KindConnect || !e.Unsent || e.Side != http.Upstream {
		t.Errorf("error is %+v", e)
	}
	if got := p.Stats(); got != (Stats{}) {
		t.Errorf("%+v", got)
	}
}

// pipes returns a pool over in-memory connections, for tests in a bubble.
func pipes(o PoolOptions) (p *Pool, dials *atomic.Int32) {
	dials = new(atomic.Int32)
	o.Dial = func(int64) (*conn.Conn, error) {
		dials.Add(1)
		sc := &script{}
		sc.pieces = pieces(strings.Repeat(ok+"Content-Length: 0\r\n\r\n", 1))
		return conn.New(sc, &buf.Pool{}), nil
	}
	return NewPool(o), dials
}

func finish(t *testing.T, s http.Stream) {
	t.Helper()
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Error(err)
	}
	var h http.Head
	if err := s.ReadHead(&h); err != nil {
		t.Error(err)
	}
	s.Close()
}

func TestWaitersGetConnectionsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, dials := pipes(PoolOptions{MaxConnections: 1, MaxPending: 2})
		s := open(t, p)
		order := make(chan int, 2)
		for i := range 2 {
			go func() {
				w, err := p.Open(0)
				if err != nil {
					t.Error(err)
					return
				}
				order <- i
				w.Abort(io.EOF)
				w.Close()
			}()
			synctest.Wait()
		}
		if _, err := p.Open(0); http.AsError(err, 0).Kind != http.KindOverflow {
			t.Errorf("the third waiter: %v", err)
		}
		if got := p.Stats(); got.Pending != 2 || got.Open != 1 {
			t.Errorf("%+v", got)
		}
		finish(t, s)
		if a, b := <-order, <-order; a != 0 || b != 1 {
			t.Errorf("served in the order %d, %d", a, b)
		}
		synctest.Wait()
		if got := p.Stats(); got.Pending != 0 || got.Open != 0 {
			t.Errorf("%+v", got)
		}
		if n := dials.Load(); n != 2 {
			t.Errorf("%d dials: one connection is handed on, its end allows another", n)
		}
	})
}

func TestWaitingEndsAtTheDeadline(t *testing.T) {
	p, _ := pipes(PoolOptions{MaxConnections: 1})
	s := open(t, p)
	_, err := p.Open(clock.Now() + int64(time.Millisecond))
	if e := http.AsError(err, 0); e.Kind != http.KindTimeout || !e.Unsent {
		t.Errorf("error is %+v", e)
	}
	finish(t, s)
	if got := p.Stats(); got.Pending != 0 || got.Idle != 1 {
		t.Errorf("%+v", got)
	}
}

func TestDrainClosesWhatIsIdleAndRefusesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := pipes(PoolOptions{MaxConnections: 2})
		idle, busy := open(t, p), open(t, p)
		finish(t, idle)
		busy2 := open(t, p)
		waiting := make(chan error, 1)
		go func() {
			_, err := p.Open(0)
			waiting <- err
		}()
		synctest.Wait()
		p.Drain()
		if err := <-waiting; http.AsError(err, 0).Kind != http.KindDraining {
			t.Errorf("the waiter: %v", err)
		}
		if _, err := p.Open(0); http.AsError(err, 0).Kind != http.KindDraining {
			t.Errorf("after: %v", err)
		}
		finish(t, busy)
		busy2.Close()
		if got := p.Stats(); got != (Stats{}) {
			t.Errorf("%+v", got)
		}
	})
}

func TestSweepClosesConnectionsIdleForLong(t *testing.T) {
	p, accepted := byHand(t, PoolOptions{MaxIdle: 1})
	a, b := open(t, p), open(t, p)
	complete(t, a, <-accepted)
	complete(t, b, <-accepted)
	a.Close()
	b.Close()
	if got := p.Stats(); got.Idle != 1 || got.Open != 1 {
		t.Errorf("MaxIdle: %+v", got)
	}
	now := clock.Now()
	p.Sweep(now)
	p.Sweep(now + int64(59*time.Second))
	if got := p.Stats(); got.Idle != 1 {
		t.Errorf("too early: %+v", got)
	}
	p.Sweep(now + int64(60*time.Second))
	if got := p.Stats(); got != (Stats{}) {
		t.Errorf("%+v", got)
	}
}

func TestSweepEndsAnExchangeWithASilentEndpoint(t *testing.T) {
	p, _ := byHand(t, PoolOptions{})
	s := open(t, p)
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() {
		var h http.Head
		got <- s.ReadHead(&h)
	}()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for now := clock.Now(); ; now += int64(time.Minute) {
		select {
		case <-tick.C:
			p.Sweep(now)
			continue
		case err := <-got:
			if e := http.AsError(err, 0); e.Kind != http.KindTimeout || e.Side != http.Upstream || e.Unsent {
				t.Errorf("error is %+v", e)
			}
		}
		break
	}
	s.Close()
	if got := p.Stats(); got != (Stats{}) {
		t.Errorf("%+v", got)
	}
}

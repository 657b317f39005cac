package h1

import (
	"fmt"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/http"
)

// busy returns a stream on a connection that has served an answer with a body
// before, and its pool and endpoint.
func busy(t *testing.T) (*clientStream, *Pool, net.Conn) {
	t.Helper()
	p, accepted := byHand(t, PoolOptions{})
	s := open(t, p)
	endpoint := <-accepted
	answerWithBody(t, s, endpoint)
	s.Close()
	return open(t, p).(*clientStream), p, endpoint
}

func answerWithBody(t *testing.T, s http.Stream, endpoint net.Conn) {
	t.Helper()
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	var h http.Head
	go func() {
		err := s.ReadHead(&h)
		if err == nil {
			_, err = readBody(s)
		}
		answered <- err
	}()
	expect(t, endpoint, "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
	fmt.Fprint(endpoint, ok+"Content-Length: 4\r\n\r\nbody")
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

func arrived(s *clientStream) {
	for s.c.Quiet() {
		runtime.Gosched() // it is on its way
	}
}

func TestABusyConnectionIsAskedBlindly(t *testing.T) {
	s, _, endpoint := busy(t)
	answerWithBody(t, s, endpoint)
	if !s.blind.Load() {
		t.Error("there was a look before the request")
	}
	s.Close()
}

// An end that came before the request was sent has no edge of its own in the wait
// for the answer. If the endpoint then takes the request and says nothing, only
// the sweeper can tell.
func TestAnEndThatABlindRequestMissedIsFoundBySweeping(t *testing.T) {
	s, p, endpoint := busy(t)
	if err := endpoint.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	arrived(s)
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	go func() {
		var h http.Head
		failed <- s.ReadHead(&h)
	}()
	expect(t, endpoint, "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n")
	now := clock.Now()
	p.Sweep(now)
	for late := time.After(10 * time.Second); ; runtime.Gosched() {
		p.Sweep(now + int64(50*time.Millisecond))
		select {
		case err := <-failed:
			if e := http.AsError(err, 0); err == nil || !e.Reused || e.Unsent || e.Kind != http.KindClosed || e.Side != http.Upstream {
				t.Errorf("error is %+v", e)
			}
			s.Close()
			return
		case <-late:
			t.Fatal("the request hangs")
		default:
		}
	}
}

func TestABlindRequestToAClosedEndpointFailsAsReused(t *testing.T) {
	s, _, endpoint := busy(t)
	endpoint.Close()
	arrived(s)
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	var h http.Head
	err := s.ReadHead(&h)
	if e := http.AsError(err, 0); err == nil || !e.Reused || e.Kind != http.KindClosed && e.Kind != http.KindReset {
		t.Errorf("error is %+v", e)
	}
	s.Close()
}

func TestWhatMustNotBeRepeatedIsNeverSentBlindly(t *testing.T) {
	s, _, endpoint := busy(t)
	if err := endpoint.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	arrived(s)
	if err := s.WriteHead(newRequest("POST", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	var h http.Head
	if e := http.AsError(s.ReadHead(&h), 0); !e.Unsent || !e.Reused || e.Kind != http.KindClosed {
		t.Errorf("error is %+v", e)
	}
	s.Close()
}

func TestABusyConnectionIsLookedAtAfterAnAnswerWithoutABody(t *testing.T) {
	p, accepted := byHand(t, PoolOptions{})
	s := open(t, p)
	endpoint := <-accepted
	complete(t, s, endpoint)
	s.Close()
	again := open(t, p).(*clientStream)
	again.looked = false // however slow this machine is
	complete(t, again, endpoint)
	if again.blind.Load() || again.trusted {
		t.Error("the request was sent without a look")
	}
	again.Close()
}

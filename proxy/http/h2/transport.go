package h2

import (
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// TransportOptions is what a Transport needs.
type TransportOptions struct {
	Limits http.Limits
	// Memory is shared by all sessions of the process; nil makes one.
	Memory *Memory
	// Dial connects to the endpoint, by deadline (clock.Now, 0 for none). Its
	// errors are returned by Open as they are.
	Dial func(deadline int64) (*conn.Conn, error)
	// Connections bounds the connections; another is made when the streams of
	// those there are used up. 0 means 4.
	Connections int
	// Waiters bounds the calls of Open that wait. 0 means 1024.
	Waiters int
}

// Transport opens streams to one endpoint over one or more connections. It
// implements http.Transport.
type Transport struct {
	o TransportOptions

	mu       sync.Mutex // taken before a session's, never after
	sessions []*session
	dialing  bool
	drained  bool

	// queue guards waiters; it is the innermost lock.
	queue   sync.Mutex
	waiters []*waiter
}

// waiter is a call of Open that waits; woken gets nil to try again or an error.
type waiter struct{ woken chan error }

// NewTransport makes a Transport; it dials when it is first needed.
func NewTransport(o TransportOptions) *Transport {
	if o.Connections == 0 {
		o.Connections = 4
	}
	if o.Waiters == 0 {
		o.Waiters = 1024
	}
	if o.Memory == nil {
		o.Memory = new(Memory)
	}
	return &Transport{o: o}
}

// Open implements http.Transport.
func (t *Transport) Open(deadline int64) (http.Stream, error) {
	st, dial, err := t.try()
	switch {
	case err != nil:
		return nil, err
	case st != nil:
		return st, nil
	case dial:
		return t.dial(deadline)
	}
	return t.wait(deadline)
}

// try takes a stream of a session that has one, or says that the caller is to
// dial; neither means to wait.
func (t *Transport) try() (st *stream, dial bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.drained {
		return nil, false, unsent(http.KindDraining, "the transport is closing")
	}
	young := false
	for _, s := range t.sessions {
		st, settled := s.take()
		if st != nil {
			return st, false, nil
		}
		young = young || !settled
	}
	if young || t.dialing || len(t.sessions) >= t.o.Connections {
		return nil, false, nil
	}
	t.dialing = true
	return nil, true, nil
}

// take opens a stream if the peer allows one more. settled is false while it is
// not known how many it allows.
func (s *session) take() (st *stream, settled bool) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if s.gone || s.err != nil {
		return nil, true
	}
	if uint32(s.counted) >= s.peerStreams {
		return nil, s.settled
	}
	st = s.memory.takeStream(s)
	st.counted = true
	s.counted++
	return st, s.settled
}

func unsent(kind http.Kind, reason string) error {
	return &http.Error{Side: http.Local, Kind: kind, Unsent: true, Reason: reason}
}

// dial makes a session and takes its first stream.
func (t *Transport) dial(deadline int64) (http.Stream, error) {
	c, err := t.o.Dial(deadline)
	t.mu.Lock()
	t.dialing = false
	if err == nil && t.drained {
		_ = c.Close()
		err = unsent(http.KindDraining, "the transport is closing")
	}
	if err != nil {
		t.mu.Unlock()
		if deadline != 0 && clock.Now() >= deadline {
			t.wakeAll(nil) // it was our deadline and perhaps not the endpoint's fault
		} else {
			t.wakeAll(err)
		}
		return nil, err
	}
	s := newSession(c, t.o.Memory, t.o.Limits, http.Upstream)
	s.pool = t
	s.greet()
	st, _ := s.take()
	t.sessions = append(t.sessions, s)
	t.mu.Unlock()
	go func() { _ = s.run() }()
	t.wakeAll(nil)
	return st, nil
}

// wait waits until a stream is free.
func (t *Transport) wait(deadline int64) (http.Stream, error) {
	w := &waiter{make(chan error, 1)}
	var late <-chan time.Time
	if deadline != 0 {
		timer := time.NewTimer(time.Duration(deadline - clock.Now()))
		defer timer.Stop()
		late = timer.C
	}
	for {
		if !t.enqueue(w) {
			return nil, unsent(http.KindOverflow, "too many requests wait for a connection")
		}
		st, dial, err := t.try() // again, for a stream may have ended before we queued
		if err != nil || st != nil || dial {
			t.dequeue(w)
			switch {
			case dial:
				return t.dial(deadline)
			case err != nil:
				return nil, err
			}
			return st, nil
		}
		select {
		case err := <-w.woken:
			if err != nil {
				return nil, err
			}
		case <-late:
			t.dequeue(w)
			return nil, unsent(http.KindTimeout, "no stream was free in time")
		}
	}
}

func (t *Transport) enqueue(w *waiter) bool {
	t.queue.Lock()
	defer t.queue.Unlock()
	if len(t.waiters) >= t.o.Waiters {
		return false
	}
	t.waiters = append(t.waiters, w)
	return true
}

// dequeue removes w; a wake-up that it has no use for goes to the next.
func (t *Transport) dequeue(w *waiter) {
	t.queue.Lock()
	defer t.queue.Unlock()
	for i, o := range t.waiters {
		if o == w {
			t.waiters = append(t.waiters[:i], t.waiters[i+1:]...)
			return
		}
	}
	select {
	case <-w.woken:
	default:
	}
	t.wakeOne()
}

// wakeOne is called with queue held.
func (t *Transport) wakeOne() {
	if len(t.waiters) > 0 {
		w := t.waiters[0]
		t.waiters = append(t.waiters[:0], t.waiters[1:]...)
		w.woken <- nil
	}
}

func (t *Transport) wakeAll(err error) {
	t.queue.Lock()
	defer t.queue.Unlock()
	for _, w := range t.waiters {
		w.woken <- err
	}
	t.waiters = nil
}

// freed says that a stream of a client's session may be free. It is called with
// the session's mutex held.
func (s *session) freed() {
	if s.pool != nil {
		s.pool.queue.Lock()
		s.pool.wakeOne()
		s.pool.queue.Unlock()
	}
}

// moreStreams says that several may be free.
func (s *session) moreStreams() {
	if s.pool != nil {
		s.pool.wakeAll(nil)
	}
}

// remove forgets a session that has ended.
func (t *Transport) remove(s *session) {
	t.mu.Lock()
	for i, o := range t.sessions {
		if o == s {
			t.sessions = append(t.sessions[:i], t.sessions[i+1:]...)
			break
		}
	}
	t.mu.Unlock()
	t.wakeAll(nil)
}

// Drain implements http.Transport.
func (t *Transport) Drain() {
	t.mu.Lock()
	t.drained = true
	for _, s := range t.sessions {
		s.w.mu.Lock()
		s.drain()
		s.w.mu.Unlock()
	}
	t.mu.Unlock()
	t.wakeAll(unsent(http.KindDraining, "the transport is closing"))
}

// Sweep ends what is overdue at now (clock.Now), as Server.Sweep does.
func (t *Transport) Sweep(now int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.sessions {
		s.sweep(now)
	}
}

// Connections returns how many connections there are.
func (t *Transport) Connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.sessions)
}

// Streams returns how many streams are open on all connections.
func (t *Transport) Streams() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for _, s := range t.sessions {
		s.w.mu.Lock()
		n += s.open
		s.w.mu.Unlock()
	}
	return n
}

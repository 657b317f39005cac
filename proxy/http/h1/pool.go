package h1

import (
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// PoolOptions is the configuration of a Pool.
type PoolOptions struct {
	Limits http.Limits // zero values mean the defaults, 60 s for IdleTimeout
	// Dial makes a connection, TLS handshake and all, before deadline
	// (monotonic nanoseconds, 0 for none).
	Dial func(deadline int64) (*conn.Conn, error)
	// MaxConnections bounds open connections, MaxIdle those without an
	// exchange, MaxPending the exchanges that wait for one. 0 is no bound
	// for the first, 1024 for the others; below 0 none is kept, or none may
	// wait.
	MaxConnections, MaxIdle, MaxPending int
}

// Pool keeps the HTTP/1 connections to one endpoint. It implements
// http.Transport.
type Pool struct {
	options  PoolOptions
	patience patience

	mu       sync.Mutex // guards all below
	idle     []*clientStream
	all      []*clientStream
	open     int // connections, and dials under way
	waiters  []*waiter
	draining bool
}

// waiter is an exchange that waits for a connection. It is given an idle one, or
// nil for the right to dial.
type waiter struct{ ready chan *clientStream }

// fresh is how long a connection may be idle without being looked at before it is
// used again.
const fresh = int64(time.Millisecond)

// NewPool makes an empty pool.
func NewPool(o PoolOptions) *Pool {
	if o.Limits.IdleTimeout == 0 {
		o.Limits.IdleTimeout = time.Minute
	}
	o.Limits = o.Limits.WithDefaults()
	if o.MaxIdle == 0 {
		o.MaxIdle = 1024
	}
	if o.MaxPending == 0 {
		o.MaxPending = 1024
	}
	return &Pool{options: o, patience: patience{idle: ns(o.Limits.IdleTimeout), exchange: ns(o.Limits.StreamIdleTimeout)}}
}

// Open implements http.Transport. It takes the connection that was used last.
func (p *Pool) Open(deadline int64) (http.Stream, error) {
	for {
		p.mu.Lock()
		if p.draining {
			p.mu.Unlock()
			return nil, unopened(http.KindDraining, "the connection pool is closing", nil)
		}
		s := p.pop()
		if s == nil {
			return p.dialOrWait(deadline)
		}
		p.mu.Unlock()
		if p.usable(s) {
			return s, nil
		}
	}
}

// usable makes an idle connection ready for an exchange, or closes it if the
// endpoint did or the sweeper is about to.
func (p *Pool) usable(s *clientStream) bool {
	s.looked = clock.Now()-s.idleSince >= fresh
	if s.pulse.enter(phaseExchange) && (!s.looked || s.c.Quiet()) {
		s.begin(true)
		return true
	}
	_ = s.c.Close()
	p.gone(s)
	return false
}

func (p *Pool) pop() *clientStream {
	n := len(p.idle) - 1
	if n < 0 {
		return nil
	}
	s := p.idle[n]
	p.idle[n] = nil
	p.idle = p.idle[:n]
	return s
}

// dialOrWait is called with the lock held, which it gives up.
func (p *Pool) dialOrWait(deadline int64) (http.Stream, error) {
	if p.options.MaxConnections <= 0 || p.open < p.options.MaxConnections {
		p.open++
		p.mu.Unlock()
		return p.dial(deadline)
	}
	if len(p.waiters) >= p.options.MaxPending {
		p.mu.Unlock()
		return nil, unopened(http.KindOverflow, "too many requests wait for a connection", nil)
	}
	w := &waiter{ready: make(chan *clientStream, 1)}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	s, err := p.wait(w, deadline)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return p.dial(deadline)
	case p.usable(s):
		return s, nil
	}
	return p.Open(deadline)
}

func (p *Pool) wait(w *waiter, deadline int64) (*clientStream, error) {
	var expired <-chan time.Time
	if deadline > 0 {
		t := time.NewTimer(time.Duration(deadline - clock.Now()))
		defer t.Stop()
		expired = t.C
	}
	select {
	case s, ok := <-w.ready:
		if !ok {
			return nil, unopened(http.KindDraining, "the connection pool is closing", nil)
		}
		return s, nil
	case <-expired:
	}
	p.mu.Lock()
	for i, other := range p.waiters {
		if other == w {
			p.waiters = append(p.waiters[:i], p.waiters[i+1:]...)
			p.mu.Unlock()
			return nil, unopened(http.KindTimeout, "no connection became free in time", nil)
		}
	}
	p.mu.Unlock()
	// It was given something at the same moment.
	s, ok := <-w.ready
	if !ok {
		return nil, unopened(http.KindDraining, "the connection pool is closing", nil)
	}
	return s, nil
}

// dial makes a connection for which open was counted.
func (p *Pool) dial(deadline int64) (http.Stream, error) {
	c, err := p.options.Dial(deadline)
	if err != nil {
		p.mu.Lock()
		p.freed()
		p.mu.Unlock()
		if e, ok := err.(*http.Error); ok {
			return nil, e
		}
		return nil, unopened(http.KindConnect, "the endpoint could not be reached", err)
	}
	s := &clientStream{pool: p}
	s.link = link{c: c, side: http.Upstream, limits: &p.options.Limits}
	s.pulse.enter(phaseExchange)
	s.begin(false)
	p.mu.Lock()
	s.index = len(p.all)
	p.all = append(p.all, s)
	p.mu.Unlock()
	return s, nil
}

// put takes a connection back after an exchange.
func (p *Pool) put(s *clientStream) {
	s.idleSince = clock.Now()
	p.mu.Lock()
	if len(p.waiters) > 0 && !p.draining {
		if s.pulse.enter(phaseIdle) {
			p.next().ready <- s
			p.mu.Unlock()
			return
		}
	} else if !p.draining && len(p.idle) < p.options.MaxIdle && s.pulse.enter(phaseIdle) {
		p.idle = append(p.idle, s)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	_ = s.c.Close()
	p.gone(s)
}

// next takes the longest waiter off the queue.
func (p *Pool) next() *waiter {
	w := p.waiters[0]
	p.waiters[0] = nil
	p.waiters = p.waiters[1:]
	return w
}

// gone forgets a connection that was closed.
func (p *Pool) gone(s *clientStream) {
	p.mu.Lock()
	p.forget(s)
	p.mu.Unlock()
}

func (p *Pool) forget(s *clientStream) {
	last := len(p.all) - 1
	p.all[s.index] = p.all[last]
	p.all[s.index].index = s.index
	p.all[last] = nil
	p.all = p.all[:last]
	p.freed()
}

// freed passes the place of a connection on to who waits for one.
func (p *Pool) freed() {
	if len(p.waiters) > 0 {
		p.next().ready <- nil
		return
	}
	p.open--
}

// Sweep closes idle connections that the pool has kept long enough, and ends
// those on which an exchange has waited too long for its endpoint. One sweeper
// calls it every now and then with the same clock.
func (p *Pool) Sweep(now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.all {
		switch {
		case s.pulse.overdue(now, &p.patience):
			s.c.Expire()
		case s.blind.Load() && s.pulse.stalled(now):
			s.c.Nudge()
		}
	}
	kept := p.idle[:0]
	for _, s := range p.idle {
		if s.pulse.expired() {
			_ = s.c.Close()
			p.forget(s)
		} else {
			kept = append(kept, s)
		}
	}
	clear(p.idle[len(kept):])
	p.idle = kept
}

// Drain implements http.Transport.
func (p *Pool) Drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draining = true
	for _, w := range p.waiters {
		close(w.ready)
	}
	p.waiters = nil
	for _, s := range p.idle {
		_ = s.c.Close()
		p.forget(s)
	}
	p.idle = nil
}

// Stats is the state of a Pool at one moment.
type Stats struct {
	Open, Idle, Pending int
}

// Stats returns how many connections are open, dials included, how many of them
// are idle, and how many exchanges wait for one.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Open: p.open, Idle: len(p.idle), Pending: len(p.waiters)}
}

// unopened makes the error of an exchange that never had a connection.
func unopened(kind http.Kind, reason string, err error) error {
	side := http.Upstream
	if kind != http.KindConnect {
		side = http.Local
	}
	return &http.Error{Side: side, Kind: kind, Unsent: true, Reason: reason, Err: err}
}

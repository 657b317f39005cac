package h1

import (
	"sync"
	"sync/atomic"

	"github.com/leno-mesh/leno/proxy/http"
)

// A decision is what CONNECT and upgrade requests wait for: until the final
// response head it is open whether the connection becomes a tunnel, and bytes
// meant for one are neither read nor sent.
type decision struct {
	made atomic.Bool
	cond sync.Cond // of link.mu
}

// tunnels reports that the exchange asks for a tunnel.
func (l *link) tunnels() bool { return l.asked.connect || l.asked.protocol != "" }

// awaitDecision blocks until the final head was written, on the server side, or
// read, on the client side. It takes the lock only while nothing is decided, for
// a tunnel's writer may hold it for long.
func (l *link) awaitDecision() error {
	if l.decision.made.Load() {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.decision.made.Load() {
		if c := l.cause.Load(); c != nil {
			return c.err
		}
		l.decision.cond.Wait()
	}
	return nil
}

// decide wakes who waits; the caller holds the lock.
func (l *link) decide() {
	l.decision.made.Store(true)
	l.decision.cond.Broadcast()
}

// Abort implements http.Stream. A client whose response is complete still gets
// it: only reading ends then.
func (l *link) Abort(err error) {
	if !l.cause.CompareAndSwap(nil, &cause{err}) {
		return
	}
	if l.side == http.Downstream && l.whole.Load() {
		l.c.Expire()
	} else {
		_ = l.c.Reset()
	}
	l.mu.Lock() // a writer who had it was woken
	l.decision.cond.Broadcast()
	l.mu.Unlock()
}

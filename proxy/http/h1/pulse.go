package h1

import (
	"sync/atomic"
	"time"
)

// A pulse says what a connection is doing and whether anything moves on it, so
// that one coarse sweeper bounds every wait without a timer or a clock reading
// on the hot path. The connection's goroutines beat; the sweeper alone keeps
// time: it notes when it first saw the current beat.
type pulse struct {
	// beats is a counter above phaseBits bits of phase. phaseExpired is
	// sticky: the connection that finds it is dead.
	beats   atomic.Uint64
	waiting atomic.Int32 // goroutines blocked in a read or write of an exchange

	// Of the sweeper.
	seen  uint64
	since int64
}

const (
	phaseHead     = iota // a request head is awaited since accept or its first byte
	phaseIdle            // no exchange
	phaseExchange        // an exchange runs
	phaseTunnel          // CONNECT was granted: the bytes of a connection, silent for as long as it likes
	phaseExpired

	phaseBits = 3
	phaseMask = 1<<phaseBits - 1
)

// enter changes the phase; false means that the sweeper was first.
func (p *pulse) enter(phase uint64) bool {
	for {
		b := p.beats.Load()
		if b&phaseMask == phaseExpired {
			return false
		}
		if p.beats.CompareAndSwap(b, b&^phaseMask+1<<phaseBits|phase) {
			return true
		}
	}
}

// beat says that bytes moved.
func (p *pulse) beat() { p.beats.Add(1 << phaseBits) }

func (p *pulse) expired() bool { return p.beats.Load()&phaseMask == phaseExpired }

// patience is the longest times without a beat in nanoseconds, 0 for none.
type patience struct{ head, idle, exchange int64 }

func ns(d time.Duration) int64 { return int64(d) }

// overdue notes the time of a new beat, and marks the connection expired when
// the current one is older than its phase allows. Only the sweeper calls it.
func (p *pulse) overdue(now int64, limit *patience) bool {
	b := p.beats.Load()
	if b != p.seen || p.since == 0 {
		p.seen, p.since = b, now
		return false
	}
	var bound int64
	switch b & phaseMask {
	case phaseHead:
		bound = limit.head
	case phaseIdle:
		bound = limit.idle
	case phaseExchange:
		if p.waiting.Load() == 0 {
			p.since = now // our own work, or the other side's: not this peer's silence
			return false
		}
		bound = limit.exchange
	}
	if bound == 0 || now-p.since < bound {
		return false
	}
	return p.beats.CompareAndSwap(b, b&^phaseMask|phaseExpired)
}

// stalled reports that nothing has moved since an earlier sweep of the last
// second, while somebody waits. Only the sweeper calls it, after overdue.
func (p *pulse) stalled(now int64) bool {
	return p.since < now && now-p.since < int64(time.Second) && p.waiting.Load() > 0
}

// retire marks a connection that is idle as expired.
func (p *pulse) retire() bool {
	b := p.beats.Load()
	return b&phaseMask == phaseIdle && p.beats.CompareAndSwap(b, b&^phaseMask|phaseExpired)
}

package balance

import (
	"sync/atomic"
	"time"
)

// An endpoint that could not be reached is left alone for ejectFirst, after
// each further failure twice as long up to ejectMost. Then it gets one exchange
// at a time until one reaches it, and after that its share grows over ramp.
const (
	ejectFirst = time.Second
	ejectMost  = 30 * time.Second
	ramp       = 10 * time.Second
	rampFloor  = 10 // per cent at the beginning of the ramp
)

// breaker ejects an endpoint that cannot be reached.
type breaker struct {
	// until is the end of the ejection, or if there are no failures the
	// beginning of the ramp; 0 if nothing is wrong.
	until    atomic.Int64
	failures atomic.Int32 // consecutive, each after the end of an ejection
}

func (b *breaker) open(now int64) bool {
	return b.failures.Load() > 0 && now < b.until.Load()
}

// unreachable counts failures that come together, of exchanges that were in
// flight when the first failed, as one.
func (b *breaker) unreachable(now int64) {
	old, n := b.until.Load(), b.failures.Load()
	if n > 0 && now < old {
		return
	}
	length := ejectFirst << min(n, 5)
	if b.until.CompareAndSwap(old, now+int64(min(length, ejectMost))) {
		b.failures.Add(1)
	}
}

func (b *breaker) reached(now int64) {
	if b.failures.Load() == 0 {
		return
	}
	b.until.Store(now)
	b.failures.Store(0)
}

func (b *breaker) admits(now int64, random uint64, inFlight *atomic.Int64) bool {
	until := b.until.Load()
	if until == 0 {
		return true
	}
	if b.failures.Load() > 0 {
		return now >= until && inFlight.Load() == 0
	}
	since := now - until
	if since >= int64(ramp) {
		b.until.CompareAndSwap(until, 0)
		return true
	}
	share := rampFloor + (100-rampFloor)*since/int64(ramp)
	return int64(random>>32%100) < share
}

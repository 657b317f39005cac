package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// average is a peak-sensitive moving average of latency: it takes a higher
// sample at once and forgets by time, so that a slow endpoint is left quickly
// and tried again later (Finagle's peak EWMA). The zero value has no samples.
// The two words are not updated together; a race costs one sample.
type average struct {
	nanos atomic.Uint64 // float64 bits
	at    atomic.Int64  // when it was updated
}

// decay is the time in which an average falls to 1/e of its distance.
const decay = float64(10 * time.Second)

// keep returns the part of the average that is left after some time: e^-x by
// its series, within 2 % of it up to x = 1, and without a call.
func keep(elapsed int64) float64 {
	if elapsed <= 0 {
		return 1
	}
	x := float64(elapsed) / decay
	return 1 / (1 + x*(1+x*(0.5+x/6)))
}

// value returns the average as it has decayed by now.
func (a *average) value(now int64) float64 {
	v := math.Float64frombits(a.nanos.Load())
	if v == 0 {
		return 0
	}
	return v * keep(now-a.at.Load())
}

func (a *average) observe(now, sample int64) {
	s := float64(max(sample, 1))
	old := a.nanos.Load()
	v := math.Float64frombits(old)
	if s < v {
		k := keep(now - a.at.Load())
		s = max(v*k+s*(1-k), 1)
	}
	if a.nanos.CompareAndSwap(old, math.Float64bits(s)) {
		a.at.Store(now)
	}
}

// atLeast takes a lower bound of a sample.
func (a *average) atLeast(now, sample int64) {
	if float64(sample) > a.value(now) {
		a.observe(now, sample)
	}
}

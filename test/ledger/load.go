package ledger

import (
	"slices"
	"sync"
	"time"
)

// Latencies are the times from when a request was due to when it ended, by
// protocol and sorted: a client that falls behind is slow too.
type Latencies [protocols][]time.Duration

// Quantile returns the time that a share q of the requests ended within.
func (l *Latencies) Quantile(p Protocol, q float64) time.Duration {
	all := l[p]
	if len(all) == 0 {
		return 0
	}
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

// Load sends requests at a fixed rate a second, whatever becomes of those before
// (an open loop), and returns when all have ended.
func (c *Client) Load(requests []Request, rate int) *Latencies {
	var l Latencies
	var mu sync.Mutex
	pace(len(requests), rate, func(i int, due time.Time) {
		r := &requests[i]
		c.Do(r)
		took := time.Since(due)
		mu.Lock()
		defer mu.Unlock()
		l[r.Protocol] = append(l[r.Protocol], took)
	})
	for p := range l {
		slices.Sort(l[p])
	}
	return &l
}

// pace calls do n times at a fixed rate a second, each on a goroutine of its
// own, and returns when all have returned.
func pace(n, rate int, do func(i int, due time.Time)) {
	var all sync.WaitGroup
	begun := time.Now()
	for i := range n {
		due := begun.Add(time.Duration(i) * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 {
			timer := time.NewTimer(wait)
			<-timer.C
		}
		all.Go(func() { do(i, due) })
	}
	all.Wait()
}

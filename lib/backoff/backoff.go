// Package backoff says how long to wait before trying again.
package backoff

import "time"

// Policy doubles the longest wait from Base up to Max. The zero Policy waits
// between nothing and 1 s at first and up to 30 s later.
type Policy struct {
	Base, Max time.Duration
}

// Next returns the wait before the given attempt, counted from 0: a random
// part, random of [0, 1), of the longest wait. Waits that are random from zero
// on ("full jitter") spread the clients of a server that comes back.
func (p Policy) Next(attempt int, random float64) time.Duration {
	limit, most := p.Base, p.Max
	if limit <= 0 {
		limit = time.Second
	}
	if most <= 0 {
		most = 30 * time.Second
	}
	for ; attempt > 0 && limit < most; attempt-- {
		if limit > most/2 {
			limit = most
			break
		}
		limit *= 2
	}
	limit = min(limit, most)
	random = min(max(random, 0), 1)
	return min(time.Duration(random*float64(limit)), limit) // float64 may round up
}

package balance

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// event is the end of an exchange.
type event struct {
	at, began int64
	e         *Endpoint
}

type events []event

func (q events) Len() int           { return len(q) }
func (q events) Less(i, j int) bool { return q[i].at < q[j].at }
func (q events) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *events) Push(x any)        { *q = append(*q, x.(event)) }
func (q *events) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// simulate sends 1,000 requests a second for a minute to ten endpoints, of
// which the slow one takes 20 times as long, and returns the 99th percentile of
// the latency after the first second and the slow one's share of requests.
func simulate(t *testing.T, policy Policy, slow bool) (p99 time.Duration, share float64) {
	s := NewSet(nil, specs(10))
	p, r := pickerOf(t, policy, s), rand.New(rand.NewPCG(5, 6))
	var q events
	var latencies []time.Duration
	toSlow := 0
	const n = 60000
	now := int64(1)
	for range n {
		now += int64(r.ExpFloat64() * float64(time.Millisecond))
		for len(q) > 0 && q[0].at <= now {
			x := heap.Pop(&q).(event)
			x.e.End(x.at, Outcome{Latency: time.Duration(x.at - x.began)})
		}
		e := p.Pick(ask(r, now))
		e.Begin(now)
		took := float64(5*time.Millisecond) * (0.8 + 0.4*r.Float64())
		if slow && e == s.Endpoints()[3] {
			toSlow++
			took *= 20
		}
		heap.Push(&q, event{now + int64(took), now, e})
		if now > int64(time.Second) {
			latencies = append(latencies, time.Duration(took))
		}
	}
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100], float64(toSlow) / n
}

func TestOneSlowEndpointOfTenDoesNotMoveTheTail(t *testing.T) {
	for name, policy := range policies {
		base, _ := simulate(t, policy, false)
		p99, share := simulate(t, policy, true)
		t.Logf("%-14s p99 %v, with a slow endpoint %v; %.2f %% of the requests went there", name, base, p99, 100*share)
		switch {
		case policy == PeakEWMA && float64(p99) > 1.05*float64(base):
			t.Errorf("peak EWMA: p99 grew from %v to %v", base, p99)
		case policy == RoundRobin && p99 < 10*base:
			t.Errorf("round robin: p99 is %v, the simulation shows nothing", p99)
		}
	}
}

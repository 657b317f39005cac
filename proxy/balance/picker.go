package balance

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Policy is a way to choose.
type Policy uint8

// PeakEWMA, the default, takes the cheaper of two by latency and load,
// LeastRequest the less loaded of two. RingHash and Maglev keep a hash on one
// endpoint as long as they can.
const (
	PeakEWMA Policy = iota
	LeastRequest
	RoundRobin
	Random
	RingHash
	Maglev
)

// Ask is what a choice depends on.
type Ask struct {
	Now    int64  // clock.Now
	Random uint64 // fresh for each choice
	// Hash is that of the request, for policies that keep affinity.
	Hash    uint64
	HasHash bool
	// Tried are endpoints to avoid, because this request failed there.
	Tried [3]*Endpoint
}

// Picker chooses an endpoint, nil if none is usable. It neither blocks nor
// allocates and is safe for concurrent use.
type Picker interface {
	Pick(Ask) *Endpoint
}

// NewPicker returns a picker over a set. It holds for that set alone; seed
// makes different proxies start at different endpoints.
func NewPicker(policy Policy, s *Set, seed uint64) (Picker, error) {
	return newPicker(policy, s, seed, Hashing{})
}

// NewHashPicker is NewPicker for RingHash and Maglev with other sizes.
func NewHashPicker(policy Policy, s *Set, c Hashing) (Picker, error) {
	return newPicker(policy, s, 0, c)
}

func newPicker(policy Policy, s *Set, seed uint64, c Hashing) (Picker, error) {
	p := &picker{levels: s.levels()}
	for _, l := range p.levels {
		var err error
		switch policy {
		case PeakEWMA:
			l.choose = &twoChoices{sampler: newSampler(l.weights), cost: (*Endpoint).peakCost}
		case LeastRequest:
			l.choose = &twoChoices{sampler: newSampler(l.weights), cost: (*Endpoint).loadCost}
		case Random:
			l.choose = &random{newSampler(l.weights)}
		case RoundRobin:
			l.choose = newRotor(l.weights, seed)
		case RingHash:
			l.choose, err = newRing(l, c)
		case Maglev:
			l.choose, err = newMaglev(l, c)
		default:
			err = fmt.Errorf("build picker: the balancing policy %d is unknown", policy)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// picker walks the levels.
type picker struct{ levels []*level }

// level is the endpoints of one priority and health.
type level struct {
	endpoints []*Endpoint
	weights   []uint32
	keys      []string // to hash instead of the address, if not empty
	choose    chooser

	// counted is when share was, per cent of endpoints not ejected.
	counted atomic.Int64
	share   atomic.Int32
}

// chooser is a policy over the endpoints of one level. It proposes places; the
// level refuses those that are not usable and asks again.
type chooser interface {
	// choose returns the place of an endpoint that admits accepts, or -1 if it
	// met none.
	choose(l *level, a Ask, f filter) int
}

// filter says which endpoints a chooser may take.
type filter struct{ ejected, tried bool }

func (f filter) admits(e *Endpoint, a *Ask) bool {
	if !f.tried && (e == a.Tried[0] || e == a.Tried[1] || e == a.Tried[2]) {
		return false
	}
	return f.ejected || e.usable(a.Now, a.Random)
}

// Where less than panicShare per cent of a level can be reached, and of all
// others too, ejections are ignored: the few that are left must not get all
// the load, and the cause may as well be on our side.
const (
	panicShare = 50
	countEvery = int64(10 * time.Millisecond)
)

// Pick takes the first level of which enough is left. Without one it takes the
// first level and ignores ejections. An endpoint that was tried comes last.
func (p *picker) Pick(a Ask) *Endpoint {
	for _, l := range p.levels {
		if l.left(a.Now) >= panicShare {
			if e := l.pick(a, filter{}); e != nil {
				return e
			}
		}
	}
	for _, f := range [...]filter{{ejected: true}, {tried: true}, {ejected: true, tried: true}} {
		for _, l := range p.levels {
			if e := l.pick(a, f); e != nil {
				return e
			}
		}
	}
	return nil
}

// pick asks the policy and, where it met nothing usable, looks at all.
func (l *level) pick(a Ask, f filter) *Endpoint {
	if i := l.choose.choose(l, a, f); i >= 0 {
		return l.endpoints[i]
	}
	n := len(l.endpoints)
	start := int(a.Random % uint64(n))
	for i := range n {
		e := l.endpoints[(start+i)%n]
		if f.admits(e, &a) {
			return e
		}
	}
	return nil
}

// left returns the part of the level that is not ejected, counted anew after
// some time by whoever comes first.
func (l *level) left(now int64) int32 {
	at := l.counted.Load()
	if at != 0 && now-at < countEvery {
		return l.share.Load()
	}
	if !l.counted.CompareAndSwap(at, max(now, 1)) {
		return l.share.Load()
	}
	open := 0
	for _, e := range l.endpoints {
		if e.breaker.open(now) {
			open++
		}
	}
	n := len(l.endpoints)
	share := int32(100 * (n - open) / n)
	l.share.Store(share)
	return share
}

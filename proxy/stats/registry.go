package stats

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Registry holds the series and gauges of a proxy.
type Registry struct {
	limit int
	idle  time.Duration

	mu      sync.RWMutex
	series  map[Key]*Series
	others  map[Key]*Series // by direction
	metrics []metric
	refused uint64 // keys that went to other
}

// Other is the destination of the series that counts what is beyond the limit.
const Other = "other"

const (
	defaultLimit = 300
	defaultIdle  = 15 * time.Minute
)

// NewRegistry returns a registry of at most limit series (0: 300), which
// forgets a series after idle time without traffic (0: 15 minutes).
func NewRegistry(limit int, idle time.Duration) *Registry {
	return &Registry{
		limit: cmp.Or(limit, defaultLimit), idle: cmp.Or(idle, defaultIdle),
		series: map[Key]*Series{}, others: map[Key]*Series{},
	}
}

// Series returns the series of a key, making it if it is new. Beyond the limit
// it is the direction's "other". It allocates nothing for a known key. The
// series may be kept as long as the caller likes.
func (r *Registry) Series(k Key) *Series {
	r.mu.RLock()
	s := r.series[k]
	r.mu.RUnlock()
	if s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.series[k]; s != nil {
		return s
	}
	if len(r.series) >= r.limit {
		r.refused++
		return r.other(k)
	}
	s = &Series{key: k, registry: r}
	r.series[k] = s
	return s
}

// other returns the series for what is beyond the limit. The lock is held.
func (r *Registry) other(k Key) *Series {
	k = Key{Inbound: k.Inbound, Source: Other, Destination: Other}
	s := r.others[k]
	if s == nil {
		s = &Series{key: k, registry: r}
		r.others[k] = s
	}
	return s
}

// revive puts a series back that was dropped, or returns the one that counts
// in its place, for which it takes the lock only once.
func (r *Registry) revive(s *Series) *Series {
	if i := s.instead.Load(); i != nil && !i.retired.Load() {
		return i
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch now := r.series[s.key]; {
	case now != nil:
		s.instead.Store(now)
		return now
	case len(r.series) >= r.limit:
		r.refused++
		other := r.other(s.key)
		s.instead.Store(other)
		return other
	}
	s.seenAt = time.Time{}
	s.instead.Store(nil)
	r.series[s.key] = s
	s.retired.Store(false)
	return s
}

// Sweep forgets the series on which nothing happened for the idle time. The
// owner calls it from time to time, Deltas more often.
func (r *Registry) Sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, s := range r.series {
		at := s.activity()
		switch {
		case at != s.seen || s.seenAt.IsZero() || s.active.Load() != 0:
			s.seen, s.seenAt = at, now
		case now.Sub(s.seenAt) >= r.idle:
			s.retired.Store(true)
			delete(r.series, k)
		}
	}
}

// all returns every series in the order of their keys. The lock is held.
func (r *Registry) all() []*Series {
	list := make([]*Series, 0, len(r.series)+len(r.others))
	for _, s := range r.series {
		list = append(list, s)
	}
	for _, s := range r.others {
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *Series) int { return a.key.compare(&b.key) })
	return list
}

func (k *Key) compare(o *Key) int {
	number := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(number(k.Inbound), number(o.Inbound)), cmp.Compare(k.Source, o.Source),
		cmp.Compare(k.Destination, o.Destination), cmp.Compare(k.Route, o.Route),
		cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(number(k.MTLS), number(o.MTLS)),
	)
}

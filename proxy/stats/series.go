// Package stats counts the traffic of a proxy: requests, failures, durations,
// bytes and connections by who talks to whom. A series is looked up when a plan
// is built or two workloads first meet; a request then adds to atomics. The
// number of series is bounded, what comes after goes into one called "other".
package stats

import (
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/proxy/http"
)

// Key names a series.
type Key struct {
	Inbound     bool   // seen by the destination's proxy
	Source      string // NAMESPACE/ACCOUNT, empty where the peer proved none
	Destination string // name of the cluster
	Route       string
	Protocol    string // http/1.1, h2, grpc, tcp
	MTLS        bool
}

// Request is what is counted of one exchange.
type Request struct {
	// Status is that of the response, 0 if there was none.
	Status int
	// GRPC is the gRPC status plus one, 0 where there was none.
	GRPC     int
	Duration time.Duration
	Sent     uint64 // body bytes towards the destination
	Received uint64 // body bytes from it
	// Side and Fault say what failed; Side is 0 if nothing did.
	Side  http.Side
	Fault http.Kind
}

// Series holds the counters of one Key. Its methods may be called from any
// goroutine and allocate only when a kind of status is first seen.
type Series struct {
	key      Key
	registry *Registry
	retired  atomic.Bool // dropped from the registry because nothing happened
	// instead counts for a retired series, nil before it is used again.
	instead atomic.Pointer[Series]

	requests, failures, sent, received, opened atomic.Uint64
	active                                     atomic.Int64
	classes                                    [maxClass + 1]atomic.Pointer[class]
	grpc                                       atomic.Pointer[[grpcCodes]atomic.Uint64]
	faults                                     atomic.Pointer[[faultKinds]atomic.Uint64]
	durations                                  atomic.Pointer[histogram]

	// Guarded by the registry's lock.
	seen     uint64 // activity at the last sweep
	seenAt   time.Time
	reported *snapshot // the state that the last Deltas saw; nil before
}

// class counts the statuses of one hundred.
type class [100]atomic.Uint64

const (
	maxClass   = 5
	grpcCodes  = 18 // 0 to 16, and those above
	faultKinds = 32
)

// Key returns what the series counts.
func (s *Series) Key() Key { return s.key }

// Record counts one exchange.
func (s *Series) Record(r Request) {
	if s.retired.Load() {
		s = s.registry.revive(s)
	}
	if r.failed() {
		s.failures.Add(1)
	}
	if r.Sent > 0 {
		s.sent.Add(r.Sent)
	}
	if r.Received > 0 {
		s.received.Add(r.Received)
	}
	h := s.durations.Load()
	if h == nil {
		h = first(&s.durations)
	}
	h.observe(r.Duration)
	status := r.Status
	if status < 0 || status >= 100*(maxClass+1) {
		status = 0
	}
	c := s.classes[status/100].Load()
	if c == nil {
		c = first(&s.classes[status/100])
	}
	c[status%100].Add(1)
	if r.GRPC > 0 {
		first(&s.grpc)[min(r.GRPC, grpcCodes)-1].Add(1)
	}
	if r.Side != 0 {
		first(&s.faults)[min(int(r.Fault), faultKinds-1)].Add(1)
	}
	// Last, so that Deltas sees a change after all parts of it.
	s.requests.Add(1)
}

// first returns what p points to, and makes it if this is the first use.
func first[T any](p *atomic.Pointer[T]) *T {
	if v := p.Load(); v != nil {
		return v
	}
	p.CompareAndSwap(nil, new(T))
	return p.Load()
}

// failed reports that the destination or the way to it failed the request: a
// 5xx, a gRPC status of a server's fault, or no answer although the client waited.
func (r *Request) failed() bool {
	switch r.GRPC - 1 {
	case 2, 4, 12, 13, 14, 15: // unknown, deadline, unimplemented, internal, unavailable, data loss
		return true
	}
	return r.Status >= 500 || r.Status == 0 && r.Side != http.Downstream
}

// Opened counts a connection. Carried and Closed must be called on the series
// that it returns.
func (s *Series) Opened() *Series {
	if s.retired.Load() {
		s = s.registry.revive(s)
	}
	s.opened.Add(1)
	s.active.Add(1)
	return s
}

// Closed counts the end of a connection.
func (s *Series) Closed() { s.active.Add(-1) }

// Carried counts bytes of a connection that carries no requests.
func (s *Series) Carried(sent, received uint64) {
	s.sent.Add(sent)
	s.received.Add(received)
}

// activity grows with all that happens.
func (s *Series) activity() uint64 {
	return s.requests.Load() + s.opened.Load() + s.sent.Load() + s.received.Load()
}

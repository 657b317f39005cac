package stats

import (
	"strconv"

	"github.com/leno-mesh/leno/proxy/http"
)

// Edge is what happened on a series since the last Deltas.
type Edge struct {
	Key
	Requests, Failures uint64
	Codes              []Count  // by HTTP status, "0" without one; "grpc:N" besides
	Durations          []Bucket // ascending
	Sent, Received     uint64
	Opened             uint64
	Active             int64   // now
	Faults             []Count // by http.Kind's word
}

// Count is a number with its name.
type Count struct {
	Key   string
	Count uint64
}

// Bucket counts durations of at most Le microseconds and more than the bucket
// before; Le is 0 in the last, which has no end.
type Bucket struct{ Le, Count uint64 }

// snapshot is the state of a series at one moment.
type snapshot struct {
	requests, failures, sent, received, opened uint64
	active                                     int64
	sum                                        uint64
	codes                                      []codeCount // ascending
	grpc                                       [grpcCodes]uint64
	faults                                     [faultKinds]uint64
	durations                                  [bucketCount]uint64
}

type codeCount struct {
	code  int
	count uint64
}

// code returns the count of a status.
func (n *snapshot) code(code int) uint64 {
	for _, c := range n.codes {
		if c.code == code {
			return c.count
		}
	}
	return 0
}

func (n *snapshot) activity() uint64 { return n.requests + n.opened + n.sent + n.received }

// read copies the counters. Requests that are counted meanwhile may be seen in
// some of them and not in others.
func (s *Series) read() *snapshot {
	n := &snapshot{
		requests: s.requests.Load(), failures: s.failures.Load(), sent: s.sent.Load(), received: s.received.Load(),
		opened: s.opened.Load(), active: s.active.Load(),
	}
	for i := range s.classes {
		if c := s.classes[i].Load(); c != nil {
			for j := range c {
				if v := c[j].Load(); v > 0 {
					n.codes = append(n.codes, codeCount{100*i + j, v})
				}
			}
		}
	}
	if g := s.grpc.Load(); g != nil {
		for i := range g {
			n.grpc[i] = g[i].Load()
		}
	}
	if f := s.faults.Load(); f != nil {
		for i := range f {
			n.faults[i] = f[i].Load()
		}
	}
	if h := s.durations.Load(); h != nil {
		n.sum = h.sum.Load()
		for i := range h.buckets {
			n.durations[i] = h.buckets[i].Load()
		}
	}
	return n
}

// Deltas returns what happened on each series since its last call, without the
// series on which nothing did and none is connected. It has one caller.
func (r *Registry) Deltas() []Edge {
	r.mu.Lock()
	defer r.mu.Unlock()
	var edges []Edge
	for _, s := range r.all() {
		old := s.reported
		if old == nil {
			old = &snapshot{}
		}
		if s.activity() == old.activity() && s.active.Load() == 0 && old.active == 0 {
			continue
		}
		now := s.read()
		s.reported = now
		edges = append(edges, s.edge(old, now))
	}
	return edges
}

func (s *Series) edge(old, now *snapshot) Edge {
	e := Edge{
		Key: s.key, Requests: now.requests - old.requests, Failures: now.failures - old.failures,
		Sent: now.sent - old.sent, Received: now.received - old.received,
		Opened: now.opened - old.opened, Active: now.active,
	}
	for _, c := range now.codes {
		if d := c.count - old.code(c.code); d > 0 {
			e.Codes = append(e.Codes, Count{strconv.Itoa(c.code), d})
		}
	}
	for i := range now.grpc {
		if d := now.grpc[i] - old.grpc[i]; d > 0 {
			e.Codes = append(e.Codes, Count{"grpc:" + strconv.Itoa(i), d})
		}
	}
	for i := range now.faults {
		if d := now.faults[i] - old.faults[i]; d > 0 {
			e.Faults = append(e.Faults, Count{http.Kind(i).String(), d})
		}
	}
	for i := range now.durations {
		if d := now.durations[i] - old.durations[i]; d > 0 {
			e.Durations = append(e.Durations, Bucket{bucketEnd(i), d})
		}
	}
	return e
}

// Package balance chooses the endpoint of a request. Sets and pickers are
// immutable snapshots of a cluster's membership; endpoints outlive them and
// carry what was learned: load, latency and failures. Picking takes no lock and
// allocates nothing.
package balance

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/proxy/http"
)

// Health is what the control plane or a health check says of an endpoint.
type Health uint8

// Degraded endpoints are used where no healthy one is left, draining and
// unhealthy ones never.
const (
	Healthy Health = iota
	Degraded
	Draining
	Unhealthy
)

func (h Health) String() string {
	switch h {
	case Healthy:
		return "healthy"
	case Degraded:
		return "degraded"
	case Draining:
		return "draining"
	}
	return "unhealthy"
}

// Identity is what makes an endpoint the same one in the next set.
type Identity struct {
	// Address is what to dial: IP:port, or the path of a unix socket.
	Address  string
	Hostname string
	// Key stands for everything else that makes it a different endpoint, such
	// as its metadata: workload, version, how to connect.
	Key string
}

// Spec describes an endpoint of a set.
type Spec struct {
	Identity
	Weight   uint32 // 0 counts as 1
	Priority uint32 // 0 is used first
	Health   Health
	// HashKey is what RingHash and Maglev hash instead of the address.
	HashKey string
	// Zone, Workload, Version and Namespace are for metrics and dumps.
	Zone, Workload, Version, Namespace string
}

// Endpoint is one address of a cluster, kept as long as sets name it.
type Endpoint struct {
	Identity
	// Addr is the address as an IP and port; invalid for others.
	Addr                               netip.AddrPort
	Zone, Workload, Version, Namespace string
	// Transport is set by the owner of the set before it is published, and
	// not changed afterwards.
	Transport http.Transport

	weight   atomic.Uint32
	health   atomic.Uint32
	inFlight atomic.Int64
	total    atomic.Uint64
	failed   atomic.Uint64
	latency  average
	breaker  breaker
}

// Result says how an exchange went.
type Result uint8

// The results. Failed is an answer or an end that blames the endpoint (5xx, a
// reset, a timeout), Unreachable that no connection came about, Cancelled that
// the client went away before there was an answer.
const (
	Succeeded Result = iota
	Failed
	Unreachable
	Cancelled
)

// Outcome is what the end of an exchange tells of the endpoint.
type Outcome struct {
	Result Result
	// Latency is the time to the first byte of the answer, or to the end if
	// there was none.
	Latency time.Duration
}

// failurePenalty is the least latency that a failure counts as: an endpoint
// that fails fast must not look fast.
const failurePenalty = time.Second

// Begin counts an exchange as in flight. Now is clock.Now's time.
func (e *Endpoint) Begin(now int64) {
	e.inFlight.Add(1)
	e.total.Add(1)
}

// End takes back a Begin.
func (e *Endpoint) End(now int64, o Outcome) {
	e.inFlight.Add(-1)
	switch o.Result {
	case Succeeded:
		e.latency.observe(now, int64(o.Latency))
		e.breaker.reached(now)
	case Failed:
		e.failed.Add(1)
		e.latency.observe(now, max(int64(o.Latency), int64(failurePenalty)))
		e.breaker.reached(now)
	case Unreachable:
		e.failed.Add(1)
		e.latency.observe(now, max(int64(o.Latency), int64(failurePenalty)))
		e.breaker.unreachable(now)
	case Cancelled:
		// It would have taken at least that long.
		e.latency.atLeast(now, int64(o.Latency))
	}
}

// InFlight returns the exchanges between Begin and End.
func (e *Endpoint) InFlight() int64 { return e.inFlight.Load() }

// Requests and Failures count Begins, and Ends that blamed the endpoint.
func (e *Endpoint) Requests() uint64 { return e.total.Load() }
func (e *Endpoint) Failures() uint64 { return e.failed.Load() }

// Latency returns the moving average.
func (e *Endpoint) Latency(now int64) time.Duration { return time.Duration(e.latency.value(now)) }

// Ejected reports that the endpoint is avoided because it could not be reached.
func (e *Endpoint) Ejected(now int64) bool { return e.breaker.open(now) }

// Health and Weight are those of the newest set.
func (e *Endpoint) Health() Health { return Health(e.health.Load()) }
func (e *Endpoint) Weight() uint32 { return e.weight.Load() }

// usable reports that the endpoint may get an exchange now. After an ejection
// that is first one at a time, then a growing part of what it is picked for.
func (e *Endpoint) usable(now int64, random uint64) bool {
	return e.breaker.admits(now, random, &e.inFlight)
}

// unmeasured is the cost of an endpoint that works on its first answers: more
// than that of any measured one, so that a new endpoint is not flooded.
const unmeasured = 1e15

// peakCost is the time that an exchange may take there: latency, and the wait
// behind those in flight.
func (e *Endpoint) peakCost(now int64) float64 {
	busy := float64(e.inFlight.Load())
	l := e.latency.value(now)
	if l == 0 && busy > 0 {
		return unmeasured * busy
	}
	return l * (busy + 1)
}

package engine

import (
	"math/rand/v2"
	"slices"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h2"
	"github.com/leno-mesh/leno/proxy/plan"
)

// try opens a stream, sends the request and reads the head of the final answer,
// on one endpoint after another while that is safe. On success the deadline of
// x runs and the endpoint has begun.
func (x *exchange) try(down http.Stream, c *plan.Cluster, r *plan.Route) (http.Stream, *balance.Endpoint, *http.Error) {
	var deadline int64
	x.timeout = int64(r.Timeout)
	if r.Timeout > 0 {
		deadline = x.Start + int64(r.Timeout)
	}
	ask := balance.Ask{Random: rand.Uint64(), Now: x.Start}
	moved := 0
	for {
		ep := pick(c, ask)
		if ep == nil {
			return nil, nil, &http.Error{Side: http.Local, Kind: http.KindNoEndpoint, Unsent: true, Status: 503, Reason: noEndpoint(c)}
		}
		x.Workload = ep.Workload
		x.Attempts++
		begun := ask.Now
		ep.Begin(begun)
		f := x.attempt(down, ep, deadline)
		if f == nil && !x.again(c, r, deadline) {
			x.latency = clock.Now() - begun
			return x.timed.stream, ep, nil
		}
		ep.End(clock.Now(), outcome(f, clock.Now()-begun))
		if f == nil {
			x.forgo(down)
		} else if f.Unsent && !x.bodyRead && !x.responded && moved < maxMoved && x.d.e.left(c, ep) {
			// The endpoint left the plan after it was picked: the newest has others.
			moved++
			x.Attempts--
			if c, f = x.d.e.cluster(c.Name); f != nil {
				return nil, nil, f
			}
			continue
		} else if !x.mayRetry(r, f) || deadline != 0 && clock.Now() >= deadline {
			return nil, nil, f
		}
		if f != nil && spent(c) {
			return nil, nil, f
		}
		if x.Attempts == 1 {
			c.Use.Retries.Add(1)
			defer c.Use.Retries.Add(-1)
		}
		ask.Random, ask.Now = rand.Uint64(), clock.Now()
		ask.Tried[(x.Attempts-1)%len(ask.Tried)] = ep
	}
}

// attempt is one try on one endpoint. x.timed.stream is the stream afterwards.
func (x *exchange) attempt(down http.Stream, ep *balance.Endpoint, deadline int64) *http.Error {
	e := x.d.e
	up, err := ep.Transport.Open(deadline)
	if err != nil {
		return http.AsError(err, http.Upstream)
	}
	at := deadline
	if at == 0 {
		at = never
	}
	e.deadlines.start(&x.timed, at, up)
	link(down, up)
	if err = x.request(down, up); err == nil {
		return nil
	}
	link(down, nil)
	if e.deadlines.finish(&x.timed) {
		err = errTimeout
	}
	up.Abort(err)
	if x.pumping {
		x.orphan = up // the client is answered first: stopping the pump may end its connection
	} else {
		up.Close()
	}
	return http.AsError(err, http.Upstream)
}

// maxMoved bounds how often a request follows changes of the plan.
const maxMoved = 5

// again says whether the answer whose head came is one that the route repeats
// the request after.
func (x *exchange) again(c *plan.Cluster, r *plan.Route, deadline int64) bool {
	return len(r.Retry.Codes) > 0 && slices.Contains(r.Retry.Codes, x.Resp.Status) && !x.responded && !x.bodyRead &&
		x.Attempts <= r.Retry.Attempts && x.Req.Length == 0 && http.Idempotent(x.Req.Method()) &&
		(deadline == 0 || clock.Now() < deadline) && !spent(c)
}

// spent reports that the cluster's circuit breaker allows no further retry.
func spent(c *plan.Cluster) bool {
	return c.MaxRetries > 0 && c.Use.Retries.Load() >= int64(c.MaxRetries)
}

// forgo lets go of an answer that is not passed on.
func (x *exchange) forgo(down http.Stream) {
	up := x.timed.stream
	link(down, nil)
	x.d.e.deadlines.finish(&x.timed)
	up.Close()
}

// link makes a client that gives up be heard by the endpoint, where the client's
// protocol tells (HTTP/2). nil undoes it; it must, before up is closed.
func link(down, up http.Stream) {
	if l, ok := down.(h2.Linker); ok {
		l.Link(up)
	}
}

// never is a deadline that does not come.
const never = int64(1) << 62

// mayRetry says whether another endpoint may be asked: nothing was answered, no
// body byte is gone, and the request was provably not processed or is
// idempotent by method (RFC 9110, section 9.2.2).
func (x *exchange) mayRetry(r *plan.Route, f *http.Error) bool {
	if x.responded || x.bodyRead || x.Attempts > r.Retry.Attempts || f.Side != http.Upstream {
		return false
	}
	if f.Unsent {
		return true
	}
	switch f.Kind {
	case http.KindClosed, http.KindReset, http.KindConnect, http.KindRefused:
		return (r.Retry.Reset || f.Reused) && x.Req.Length == 0 && http.Idempotent(x.Req.Method())
	}
	return false
}

package engine

import (
	"errors"
	"math/rand/v2"
	"os"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h1"
	"github.com/leno-mesh/leno/proxy/http/h2"
	"github.com/leno-mesh/leno/proxy/plan"
)

// pick chooses an endpoint of the cluster, nil if none is usable.
func pick(c *plan.Cluster, ask balance.Ask) *balance.Endpoint {
	m := c.Members.Load()
	if m == nil || m.Picker == nil {
		return nil
	}
	return m.Picker.Pick(ask)
}

// left reports that the newest plan has not got an endpoint any more.
func (e *Engine) left(c *plan.Cluster, ep *balance.Endpoint) bool {
	newest := e.Plan.Load().Clusters[c.Name]
	if newest == nil {
		return true
	}
	m := newest.Members.Load()
	return m == nil || m.Set.Lookup(ep.Identity) != ep
}

// outcome translates the end of a use of an endpoint for its balance.
func outcome(f *http.Error, latency int64) balance.Outcome {
	o := balance.Outcome{Latency: time.Duration(latency)}
	switch {
	case f == nil:
	case f.Side != http.Upstream, f.Kind == http.KindDraining:
		o.Result = balance.Cancelled
	case f.Kind == http.KindConnect || f.Kind == http.KindTLS || f.Kind == http.KindRefused:
		o.Result = balance.Unreachable
	default:
		o.Result = balance.Failed
	}
	return o
}

// Transport makes the transport to an endpoint of a cluster. The plan calls it
// once for each new endpoint.
func (e *Engine) Transport(c *plan.Cluster, ep *balance.Endpoint) http.Transport {
	dial := func(deadline int64) (*conn.Conn, error) { return e.dial(c, ep, deadline) }
	if c.HTTP2 {
		return h2.NewTransport(h2.TransportOptions{Dial: dial, Limits: c.Limits, Memory: &e.memory})
	}
	return h1.NewPool(h1.PoolOptions{Dial: dial, Limits: c.Limits, MaxConnections: c.MaxConnections, MaxPending: c.MaxPending})
}

// sweepTransports lets every transport end what is overdue.
func (e *Engine) sweepTransports(now int64) {
	for _, c := range e.Plan.Load().Clusters {
		if c == nil {
			continue
		}
		m := c.Members.Load()
		if m == nil {
			continue
		}
		for _, ep := range m.Set.Endpoints() {
			if t, ok := ep.Transport.(interface{ Sweep(now int64) }); ok {
				t.Sweep(now)
			}
		}
	}
}

// dial opens a connection to an endpoint, with TLS if the cluster has it.
func (e *Engine) dial(c *plan.Cluster, ep *balance.Endpoint, deadline int64) (*conn.Conn, error) {
	limit := clock.Now() + int64(c.ConnectTimeout)
	if deadline == 0 || limit < deadline {
		deadline = limit
	}
	network := "tcp"
	if !ep.Addr.IsValid() {
		network = "unix"
	}
	nc, err := conn.Dial(network, ep.Address, deadline)
	if err != nil {
		return nil, &http.Error{Side: http.Upstream, Kind: http.KindConnect, Unsent: true, Reason: "connect to " + ep.Address + connectReason(err), Err: err}
	}
	to := conn.New(nc, &e.Buffers)
	if c.TLS == nil {
		return to, nil
	}
	if err := c.TLS.Handshake(to, clock.Time(deadline)); err != nil {
		to.Close()
		f := *http.AsError(err, http.Upstream)
		f.Unsent = true
		if f.Side == http.Upstream {
			f.Reason = "TLS with " + ep.Address + ": " + f.Reason
		}
		return nil, &f
	}
	return to, nil
}

func connectReason(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return " took longer than the connect timeout"
	}
	return " failed"
}

// dialAny opens a raw connection to an endpoint of the cluster, trying others
// where one cannot be reached. The endpoint has begun.
func (e *Engine) dialAny(c *plan.Cluster, ask balance.Ask, retries int) (*conn.Conn, *balance.Endpoint, *http.Error) {
	for attempt := 0; ; attempt++ {
		ep := pick(c, ask)
		if ep == nil {
			return nil, nil, &http.Error{Side: http.Local, Kind: http.KindNoEndpoint, Unsent: true, Status: 503, Reason: noEndpoint(c)}
		}
		begun := clock.Now()
		ep.Begin(begun)
		to, err := e.dial(c, ep, 0)
		if err == nil {
			return to, ep, nil
		}
		f := http.AsError(err, http.Upstream)
		ep.End(clock.Now(), outcome(f, clock.Now()-begun))
		if attempt >= retries {
			return nil, nil, f
		}
		ask.Tried[attempt%len(ask.Tried)] = ep
		ask.Random++
	}
}

// ClusterTransport returns a transport that opens each stream to an endpoint
// that the cluster's balancer picks: for the proxy's own calls.
func (e *Engine) ClusterTransport(c *plan.Cluster) http.Transport { return clusterTransport{c} }

type clusterTransport struct{ c *plan.Cluster }

func (t clusterTransport) Open(deadline int64) (http.Stream, error) {
	now := clock.Now()
	ep := pick(t.c, balance.Ask{Random: rand.Uint64(), Now: now})
	if ep == nil {
		return nil, &http.Error{Side: http.Local, Kind: http.KindNoEndpoint, Unsent: true, Reason: noEndpoint(t.c)}
	}
	ep.Begin(now)
	s, err := ep.Transport.Open(deadline)
	var f *http.Error
	if err != nil {
		f = http.AsError(err, http.Upstream)
	}
	ep.End(clock.Now(), outcome(f, clock.Now()-now))
	return s, err
}

// Drain does nothing: the endpoints' transports belong to the plan.
func (t clusterTransport) Drain() {}

package engine

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/authz"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/proxy/stats"
)

// serveTCP carries the bytes of a connection to an endpoint, as they are or in
// a CONNECT stream of a multiplexed connection.
func (d *downstream) serveTCP(chain *plan.Chain) {
	d.idle.Store(false) // it may be silent for as long as it likes
	if o := d.openTCP(chain.TCP); o != nil {
		o.carry(nil)
	}
}

// outbound is a connection's way to an endpoint that has begun.
type outbound struct {
	d       *downstream
	t       *plan.TCP
	name    string // of the cluster
	cluster *plan.Cluster
	ep      *balance.Endpoint
	far     farEnd
	begun   int64
}

// openTCP reaches an endpoint; nil if it could not, and the client has been
// told.
func (d *downstream) openTCP(t *plan.TCP) *outbound {
	o, f := d.reach(t)
	if f != nil {
		d.failed(o.name, f)
		return nil
	}
	return o
}

// reach opens the way to an endpoint of one of the backends.
func (d *downstream) reach(t *plan.TCP) (*outbound, *http.Error) {
	o := &outbound{d: d, t: t, name: t.Backends.Pick(rand.Uint64())}
	var f *http.Error
	if o.cluster, f = d.e.cluster(o.name); f != nil {
		return o, f
	}
	o.begun = clock.Now()
	if t.Tunnel != "" && o.cluster.HTTP2 {
		up, ep, f := d.e.openTunnel(o.cluster, t)
		if f != nil {
			return o, f
		}
		o.ep, o.far = ep, &streamEnd{s: up}
		return o, nil
	}
	to, ep, f := d.e.dialAny(o.cluster, balance.Ask{Random: rand.Uint64(), Now: o.begun}, t.Retries)
	if f != nil {
		return o, f
	}
	o.ep, o.far = ep, &connEnd{to}
	return o, nil
}

// abandon lets go of an endpoint to which nothing was sent, once the goroutine
// that listens to it is done.
func (o *outbound) abandon(cause error, listening <-chan error) {
	o.far.abort(cause)
	<-listening
	o.far.close()
	o.ep.End(clock.Now(), balance.Outcome{Result: balance.Cancelled, Latency: time.Duration(clock.Now() - o.begun)})
}

// Never written after start.
var (
	errIdle   = &http.Error{Side: http.Local, Kind: http.KindTimeout, Reason: "nothing moved for the idle timeout"}
	errUnused = &http.Error{Side: http.Local, Kind: http.KindClosed, Reason: "the client turned out to speak HTTP"}
)

// openTunnel opens a CONNECT stream to an endpoint of the cluster, trying others
// while nothing was sent. The endpoint has begun.
func (e *Engine) openTunnel(c *plan.Cluster, t *plan.TCP) (http.Stream, *balance.Endpoint, *http.Error) {
	ask := balance.Ask{Random: rand.Uint64(), Now: clock.Now()}
	for attempt := 0; ; attempt++ {
		ep := pick(c, ask)
		if ep == nil {
			return nil, nil, &http.Error{Side: http.Local, Kind: http.KindNoEndpoint, Unsent: true, Reason: noEndpoint(c)}
		}
		begun := clock.Now()
		ep.Begin(begun)
		up, f := e.connectStream(c, ep, t.Tunnel)
		if f == nil {
			return up, ep, nil
		}
		ep.End(clock.Now(), outcome(f, clock.Now()-begun))
		if attempt >= t.Retries || !f.Unsent {
			return nil, nil, f
		}
		ask.Tried[attempt%len(ask.Tried)] = ep
		ask.Random = rand.Uint64()
	}
}

// connectStream asks one endpoint for a tunnel.
func (e *Engine) connectStream(c *plan.Cluster, ep *balance.Endpoint, authority string) (http.Stream, *http.Error) {
	deadline := clock.Now() + int64(c.ConnectTimeout)
	up, err := ep.Transport.Open(deadline)
	if err != nil {
		return nil, http.AsError(err, http.Upstream)
	}
	var h http.Head
	h.SetMethodString("CONNECT")
	h.SetAuthorityString(authority)
	h.Length = -1
	var bound timed
	e.deadlines.start(&bound, deadline, up)
	err = up.WriteHead(&h, false)
	if err == nil {
		err = up.ReadHead(&h)
	}
	if e.deadlines.finish(&bound) && err != nil {
		err = errTimeout
	}
	if err == nil && h.Status/100 != 2 {
		kind := http.KindConnect
		if h.Status == 403 {
			kind = http.KindDenied
		}
		err = &http.Error{Side: http.Upstream, Kind: kind, Reason: "the proxy at " + ep.Address + " refuses the tunnel to " + authority}
	}
	if err != nil {
		up.Abort(err)
		up.Close()
		f := *http.AsError(err, http.Upstream)
		f.Unsent = f.Kind != http.KindDenied // not one byte of the client has been sent
		return nil, &f
	}
	return up, nil
}

// carry moves the bytes until both directions have ended, counts them, and ends
// the connection when nothing moves for the idle timeout.
func (o *outbound) carry(filled <-chan error) {
	var sent, received atomic.Int64
	s := o.d.seriesOf(o.d.tcpKey(o.cluster.Name, o.cluster.TLS != nil)).Opened()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.watch(s, &sent, &received, stop)
	}()
	err := o.d.e.join(o.d.c, o.far, &sent, &received, filled)
	close(stop)
	<-done
	s.Closed()
	o.far.close()
	var f *http.Error
	if err != nil {
		f = http.AsError(err, http.Downstream) // either side may have cut it: that says nothing of the endpoint
	}
	o.ep.End(clock.Now(), outcome(f, clock.Now()-o.begun))
}

// reportEvery is how often the bytes of a long connection become visible.
const reportEvery = time.Second

func (o *outbound) watch(s *stats.Series, sent, received *atomic.Int64, stop <-chan struct{}) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var wasSent, wasReceived int64
	moved := time.Now()
	for {
		ended := false
		select {
		case <-stop:
			ended = true
		case <-tick.C:
		}
		a, b := sent.Load(), received.Load()
		if a != wasSent || b != wasReceived {
			s.Carried(uint64(a-wasSent), uint64(b-wasReceived))
			wasSent, wasReceived, moved = a, b, time.Now()
		} else if o.t.IdleTimeout > 0 && time.Since(moved) > o.t.IdleTimeout && !ended {
			o.far.abort(errIdle)
			o.d.c.Expire()
		}
		if ended {
			return
		}
	}
}

func (d *downstream) tcpKey(cluster string, encrypted bool) stats.Key {
	k := d.key(cluster, encrypted)
	k.Protocol = "tcp"
	return k
}

// failed ends a connection that could not be carried: the client sees a reset,
// which it cannot take for an orderly end.
func (d *downstream) failed(cluster string, f *http.Error) {
	d.e.Log.Info("connection failed", "listener", d.listener, "cluster", cluster, "remote", d.c.Remote.String(), "fault", f.Kind.String(), "reason", f.Reason)
	d.seriesOf(d.tcpKey(cluster, false)).Record(stats.Request{Side: f.Side, Fault: f.Kind})
	_ = d.c.Reset()
}

// denied ends a connection that policy refuses before anything is dialed.
func (d *downstream) denied(decision authz.Decision) {
	d.e.Log.Info("connection denied", "listener", d.listener, "remote", d.c.Remote.String(), "peer", d.c.Peer.String(), "rule", decision.Rule)
	d.seriesOf(d.tcpKey("", false)).Record(stats.Request{Side: http.Local, Fault: http.KindDenied})
	_ = d.c.Reset()
}

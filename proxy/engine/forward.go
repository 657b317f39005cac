package engine

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/balance"
	exchangepkg "github.com/leno-mesh/leno/proxy/exchange"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
)

// exchange is an Exchange with what the engine needs to run it. It is pooled;
// its memory stays with it.
type exchange struct {
	exchangepkg.Exchange
	d     *downstream
	timed timed
	mtls  bool // the endpoint is reached over TLS

	trailers, back http.Head // of the request and of the response
	scratch        []byte

	// orphan is a stream that failed while the pump still sent to it. It is
	// closed after the pump has ended.
	orphan    http.Stream
	pumping   bool       // a goroutine sends the request's body
	pumped    chan error // its end
	bodyRead  bool       // body bytes were taken from the client: no second try
	latency   int64      // ns to the answer's head
	timeout   int64      // ns, of the route; 0 for none
	ended     int64      // lib/clock; 0 if no endpoint was asked
	responded bool       // something of an answer was sent to the client
}

// forward runs one exchange: match, authorize, pick, send, relay, record. The
// order is code, so that no configuration can change it.
func (d *downstream) forward(down http.Stream) {
	x := d.e.exchange(d)
	defer x.contain(down)
	err := down.ReadHead(&x.Req)
	if err != nil {
		f := http.AsError(err, http.Downstream)
		if f.Status != 0 {
			x.reply(down, f)
			d.e.record(x, false)
		}
	} else {
		x.serve(down)
		d.e.record(x, true)
	}
	down.Close()
	d.e.recycle(x)
}

func (x *exchange) serve(down http.Stream) {
	e := x.d.e
	x.Start = clock.Now()
	p := e.Plan.Load()
	chain := x.d.chain(p)
	if chain == nil || chain.HTTP == nil {
		x.reply(down, &http.Error{Side: http.Local, Kind: http.KindConfiguration, Status: 503, Reason: "this proxy no longer serves HTTP on this listener"})
		return
	}
	x.route(down, chain.HTTP)
}

// route decides on a request and carries the decision out.
func (x *exchange) route(down http.Stream, h *plan.HTTP) {
	e := x.d.e
	if f := x.prepare(h); f != nil {
		x.reply(down, f)
		return
	}
	routes, f := e.routes(h)
	if f != nil {
		x.reply(down, f)
		return
	}
	r, ok := routes.Table.Match(&x.Req)
	if !ok {
		x.reply(down, &http.Error{Side: http.Local, Kind: http.KindNoRoute, Reason: "no route of " + routes.Name + " matches this request"})
		return
	}
	x.Route = r.Name
	if f := x.authorize(h, r); f != nil {
		x.reply(down, f)
		return
	}
	switch {
	case r.Direct != nil:
		x.edit(r.Edit.Response, &x.Resp)
		x.send(down, r.Direct.Status, "text/plain; charset=utf-8", r.Direct.Body)
	case r.Redirect != nil:
		x.redirect(down, r)
	default:
		x.proxy(down, h, r)
	}
}

// allowed asks the policy of plan p about a request that is under way.
func (x *exchange) allowed(p *plan.Plan) bool {
	chain := x.d.chain(p)
	return chain == nil || chain.HTTP == nil || chain.HTTP.Policy.Check(x.Conn, &x.Req).Allowed
}

func (x *exchange) authorize(h *plan.HTTP, r *plan.Route) *http.Error {
	if d := h.Policy.Check(x.Conn, &x.Req); !d.Allowed {
		return denied(d.Rule)
	}
	if d := r.Policy.Check(x.Conn, &x.Req); !d.Allowed {
		return denied(d.Rule)
	}
	return nil
}

func denied(rule string) *http.Error {
	reason := "policy allows this caller no such request: no rule allows it"
	if rule != "" {
		reason = "policy denies this request by the rule " + rule
	}
	return &http.Error{Side: http.Local, Kind: http.KindDenied, Status: 403, Reason: reason}
}

// proxy sends the request to an endpoint of the route's cluster and its answer
// back.
func (x *exchange) proxy(down http.Stream, h *plan.HTTP, r *plan.Route) {
	e := x.d.e
	backend := r.Backends.Pick(rand.Uint64())
	x.Cluster = backend.Cluster
	c, f := e.cluster(backend.Cluster)
	if f != nil {
		if f.Kind == http.KindConfiguration {
			f.Status = r.NotFound
		}
		x.reply(down, f)
		return
	}
	connect := string(x.Req.Method()) == "CONNECT" && x.Req.Protocol == ""
	if connect {
		if !r.Connect {
			x.reply(down, &http.Error{Side: http.Local, Kind: http.KindUnsupported, Reason: "CONNECT is not served here"})
			return
		}
		x.connect(down, c, r)
		return
	}
	if f := x.upgrade(h, r); f != nil {
		x.reply(down, f)
		return
	}
	x.mtls = c.TLS != nil
	if c.MaxRequests > 0 && c.Use.Requests.Load() >= int64(c.MaxRequests) {
		x.reply(down, &http.Error{Side: http.Local, Kind: http.KindOverflow, Unsent: true, Status: 503, Reason: c.Name + " has as many requests under way as its circuit breaker allows"})
		return
	}
	c.Use.Requests.Add(1)
	defer c.Use.Requests.Add(-1)
	if len(backend.Edit.Request)+len(r.Edit.Request) == 0 && !r.Rewrites() {
		x.timed.owner = x // the request stays what policy decided on
	}
	x.edit(backend.Edit.Request, &x.Req)
	x.edit(r.Edit.Request, &x.Req)
	if f := x.rewrite(r); f != nil {
		x.reply(down, f)
		return
	}
	up, ep, f := x.try(down, c, r)
	if f != nil {
		x.fail(down, f)
		x.stopPump(down, nil)
		if x.orphan != nil {
			x.orphan.Close()
			x.orphan = nil
		}
		return
	}
	x.edit(backend.Edit.Response, &x.Resp)
	x.edit(r.Edit.Response, &x.Resp)
	err := x.respond(down, up)
	link(down, nil)
	if e.deadlines.finish(&x.timed) && err != nil {
		err = errTimeout
	}
	if err != nil {
		x.Fault = http.AsError(err, http.Upstream)
		up.Abort(x.Fault)
		down.Abort(x.Fault)
	}
	x.stopPump(down, up)
	x.end(ep)
	up.Close()
}

// fail tells the client that no endpoint answered. A proxy of the mesh that
// calls over HTTP/2 is told by a reset, because it may then ask another
// workload: REFUSED_STREAM where the application provably did not process the
// request (RFC 9113, section 8.7), an error where its connection broke.
func (x *exchange) fail(down http.Stream, f *http.Error) {
	if !x.d.inbound() || x.Req.Version != 2 || x.responded || f.Side != http.Upstream || f.Kind == http.KindTimeout {
		x.reply(down, f)
		return
	}
	x.Fault, x.Status = f, status(f)
	if f.Unsent {
		down.Abort(&http.Error{Side: http.Local, Kind: http.KindRefused, Reason: f.Reason})
		return
	}
	down.Abort(f)
}

// respond relays the answer whose head is in x.Resp.
func (x *exchange) respond(down, up http.Stream) error {
	x.responded = true
	x.Status = x.Resp.Status
	if x.Resp.Status == 101 || x.Req.Protocol != "" && x.Resp.Status/100 == 2 {
		x.d.e.deadlines.move(&x.timed, never) // a tunnel may live for as long as policy allows it
		if err := down.WriteHead(&x.Resp, false); err != nil {
			return err
		}
		x.pumping = true
		go x.pump(down, up)
		err := copyTunnel(down, up, &x.Out)
		if err == nil {
			x.pumping = false
			err = <-x.pumped
		}
		return err
	}
	end := x.Resp.Length == 0 || x.Resp.Status == 204 || x.Resp.Status == 304 || string(x.Req.Method()) == "HEAD"
	if err := down.WriteHead(&x.Resp, end); err != nil || end {
		return err
	}
	return copyBody(down, up, &x.back, &x.Out)
}

// connect terminates a CONNECT request: its bytes go to an endpoint's socket.
func (x *exchange) connect(down http.Stream, c *plan.Cluster, r *plan.Route) {
	e := x.d.e
	to, ep, f := e.dialAny(c, balance.Ask{Random: rand.Uint64(), Now: x.Start}, r.Retry.Attempts)
	if f != nil {
		x.reply(down, f)
		return
	}
	x.Workload = ep.Workload
	x.timed.owner = x
	e.deadlines.start(&x.timed, never, down)
	x.tunnelTo(down, &connEnd{to}, ep, x.Start)
	e.deadlines.finish(&x.timed)
}

// upgrade lets a request for another protocol through if it is listed; others
// go on as ordinary requests, which HTTP/1.1 allows (RFC 9110, section 7.8).
func (x *exchange) upgrade(h *plan.HTTP, r *plan.Route) *http.Error {
	if x.Req.Protocol == "" || slices.Contains(h.Upgrades, x.Req.Protocol) || slices.Contains(r.Upgrades, x.Req.Protocol) {
		return nil
	}
	if x.Req.Version == 2 || string(x.Req.Method()) == "CONNECT" { // an extended CONNECT, which asks for nothing else
		return &http.Error{Side: http.Local, Kind: http.KindUnsupported, Reason: "the protocol " + x.Req.Protocol + " is not served here"}
	}
	x.Req.Protocol = ""
	return nil
}

// end tells the endpoint how the exchange went.
func (x *exchange) end(ep *balance.Endpoint) {
	x.ended = clock.Now()
	ep.End(x.ended, outcome(x.Fault, x.latency))
}

func noEndpoint(c *plan.Cluster) string {
	if m := c.Members.Load(); m == nil || len(m.Set.Endpoints()) == 0 {
		return c.Name + " has no endpoints"
	}
	return c.Name + " has no healthy endpoint"
}

// coarse is how often the sweeper looks: timeouts are late by at most this.
const coarse = 50 * time.Millisecond

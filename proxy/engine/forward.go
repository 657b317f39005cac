package engine

import (
	"math/rand/v2"
	"slices"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/balance"
	exchangepkg "github.com/leno-mesh/leno/proxy/exchange"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h2"
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

// try opens a stream, sends the request and reads the head of the final answer,
// on one endpoint after another while that is safe. On success the deadline of
// x runs and the endpoint has begun.
func (x *exchange) try(down http.Stream, c *plan.Cluster, r *plan.Route) (http.Stream, *balance.Endpoint, *http.Error) {
	var deadline int64
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

// request sends the request and reads the answer's head. Where the body is not
// yet here a second goroutine sends it, so that an answer may come before the
// request has ended.
func (x *exchange) request(down, up http.Stream) error {
	whole := x.Req.Length == 0 && x.Req.Protocol == ""
	if err := up.WriteHead(&x.Req, whole); err != nil {
		return err
	}
	if !whole {
		if err := x.sendBody(down, up); err != nil {
			return err
		}
	}
	for {
		if err := up.ReadHead(&x.Resp); err != nil {
			return err
		}
		if x.Resp.Status >= 200 || x.Resp.Status == 101 {
			return nil
		}
		x.responded = true
		if err := down.WriteHead(&x.Resp, false); err != nil {
			return err
		}
		if err := down.Flush(); err != nil {
			return err
		}
	}
}

// sendBody sends what of the body is here; a goroutine does the rest.
func (x *exchange) sendBody(down, up http.Stream) error {
	if x.Req.Protocol == "" && x.Req.Length > 0 && !x.Req.Expect {
		for ready(down) {
			x.bodyRead = true
			p, err := down.ReadData()
			if err != nil {
				return http.AsError(err, http.Downstream)
			}
			x.In += int64(len(p))
			end := x.In == x.Req.Length
			if err := up.WriteData(p, end); err != nil {
				return err
			}
			if end {
				return nil
			}
		}
	}
	x.bodyRead = true
	x.pumping = true
	go x.pump(down, up)
	return nil
}

// pump sends the rest of the request's body, or one direction of an upgraded
// connection, on a goroutine of its own; it ends when the body does or one of
// the streams is aborted.
func (x *exchange) pump(down, up http.Stream) {
	err := x.d.e.contained(func() error {
		if x.Req.Protocol != "" {
			return copyTunnel(up, down, &x.In)
		}
		return copyBody(up, down, &x.trailers, &x.In)
	})
	if err != nil {
		if f := http.AsError(err, http.Upstream); f.Side == http.Downstream {
			// The endpoint must not take the cut for an end.
			up.Abort(f)
		} else if f == errPanic {
			up.Abort(f)
			down.Abort(f)
		}
	}
	x.pumped <- err
}

// stopPump waits for the pump. An answer that is complete ends the request: the
// client is told to stop, and what it still sends is not wanted. It comes after
// the answer, and has some patience: usually the pump is about to end, and
// cutting the client off would cost it its next request too.
func (x *exchange) stopPump(down, up http.Stream) {
	if !x.pumping {
		return
	}
	x.pumping = false
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-x.pumped:
		return
	case <-timer.C:
	}
	down.Abort(errEarly)
	if up != nil {
		up.Abort(errEarly)
	}
	<-x.pumped
}

// patience is how long a client may go on sending after its answer.
const patience = 100 * time.Millisecond

// errEarly is never written after start.
var errEarly = &http.Error{Side: http.Local, Kind: http.KindClosed, Reason: "the answer was complete before the request"}

// respond relays the answer whose head is in x.Resp.
func (x *exchange) respond(down, up http.Stream) error {
	x.responded = true
	x.Status = x.Resp.Status
	if x.Resp.Status == 101 || x.Req.Protocol != "" && x.Resp.Status/100 == 2 {
		x.d.e.deadlines.finish(&x.timed) // a tunnel may live for as long as it likes
		if err := down.WriteHead(&x.Resp, false); err != nil {
			return err
		}
		err := copyTunnel(down, up, &x.Out)
		if err == nil && x.pumping {
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
	x.tunnelTo(down, &connEnd{to}, ep, x.Start)
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

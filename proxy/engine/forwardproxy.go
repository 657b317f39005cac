package engine

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h1"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/proxy/route"
)

// Domain is the suffix of the mesh's names: SERVICE.NAMESPACE.mesh.internal.
const Domain = "mesh.internal"

// ForwardProxy serves an application that was told HTTP_PROXY: plain HTTP is
// routed by its host, CONNECT carries bytes to a host and port. Short names are
// of the given namespace. Hosts outside the mesh are reached directly.
func (e *Engine) ForwardProxy(ln net.Listener, namespace string) error {
	return e.accept(ln, func(c *conn.Conn) {
		d := &downstream{e: e, c: c, listener: "http-proxy", headBy: clock.Now() + int64(headTimeout)}
		e.live.add(d)
		defer e.live.remove(d)
		defer c.Close()
		s := h1.NewServer(c, h1.ServerOptions{Scheme: "http", AcceptHTTP10: true, Draining: e.Draining})
		d.publish(one{s})
		s.Serve(func(down http.Stream) { d.forwardByHost(down, namespace) })
	})
}

// MeshName returns the name and port of the listener for an authority as an
// application writes it: shop, shop:8080, shop.other, or the full name. ok is
// false for an IP address or a name that cannot be a service's.
func MeshName(authority, namespace string) (name string, ok bool) {
	host, port, err := net.SplitHostPort(authority)
	if err != nil {
		host, port = strings.Trim(authority, "[]"), "80"
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", false
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	host = strings.TrimSuffix(host, "."+Domain)
	service, ns, qualified := strings.Cut(host, ".")
	if !qualified {
		ns = namespace
	}
	if service == "" || ns == "" || strings.Contains(ns, ".") {
		return "", false
	}
	return service + "." + ns + "." + Domain + ":" + port, true
}

// forwardByHost runs one request of a forward proxy.
func (d *downstream) forwardByHost(down http.Stream, namespace string) {
	x := d.e.exchange(d)
	defer x.contain(down)
	if err := down.ReadHead(&x.Req); err != nil {
		if f := http.AsError(err, http.Downstream); f.Status != 0 {
			x.reply(down, f)
			d.e.record(x, false)
		}
	} else {
		x.Start = clock.Now()
		x.byHost(down, namespace)
		d.e.record(x, true)
	}
	down.Close()
	d.e.recycle(x)
}

func (x *exchange) byHost(down http.Stream, namespace string) {
	authority := string(x.Req.Authority())
	chain, f := x.d.e.byName(authority, namespace)
	if f != nil {
		x.reply(down, f)
		return
	}
	switch {
	case chain == nil && string(x.Req.Method()) == "CONNECT":
		x.connectOutside(down, authority)
	case chain == nil:
		x.outside(down, authority)
	case string(x.Req.Method()) == "CONNECT":
		x.connectMesh(down, chain)
	case chain.HTTP == nil:
		x.reply(down, &http.Error{Side: http.Local, Kind: http.KindUnsupported, Status: 502, Reason: authority + " is a TCP service: connect to it by CONNECT or by an upstream port"})
	default:
		x.route(down, chain.HTTP)
	}
}

// byName returns the chain that serves an authority, nil for hosts outside the
// mesh.
func (e *Engine) byName(authority, namespace string) (*plan.Chain, *http.Error) {
	name, ok := MeshName(authority, namespace)
	if !ok {
		return nil, nil
	}
	l, f := e.listener(name)
	if f != nil {
		if _, known := e.Plan.Load().Listeners[name]; known && strings.Contains(authority, ".") && !strings.Contains(authority, "."+Domain) {
			return nil, nil // the control plane says that it is no service
		}
		f.Reason = "the mesh has no service " + name
		return nil, f
	}
	if len(l.Chains) > 0 {
		return l.Chains[0], nil
	}
	if l.Default != nil {
		return l.Default, nil
	}
	return nil, &http.Error{Side: http.Local, Kind: http.KindConfiguration, Status: 503, Reason: "the listener " + name + " has no filter chain"}
}

// connectMesh carries a CONNECT's bytes to a service of the mesh. A service
// that speaks HTTP is reached too, without its routes.
func (x *exchange) connectMesh(down http.Stream, chain *plan.Chain) {
	t := chain.TCP
	if t == nil {
		backend, err := route.NewWeighted([]route.Choice[string]{{Weight: 1, Value: chain.HTTP.Routes}})
		if err != nil {
			x.reply(down, &http.Error{Side: http.Local, Kind: http.KindConfiguration, Reason: err.Error()})
			return
		}
		t = &plan.TCP{Backends: backend, Tunnel: string(x.Req.Authority()), Retries: 2}
	}
	o, f := x.d.reach(t)
	if f != nil {
		x.reply(down, f)
		return
	}
	x.Cluster, x.Workload, x.mtls = o.cluster.Name, o.ep.Workload, o.cluster.TLS != nil
	x.tunnelTo(down, o.far, o.ep, o.begun)
}

// tunnelTo answers 200 and moves the bytes of a CONNECT request to far, which
// it closes. ep is nil outside the mesh.
func (x *exchange) tunnelTo(down http.Stream, far farEnd, ep *balance.Endpoint, begun int64) {
	defer far.close()
	x.Resp.Reset()
	x.Resp.Status, x.Resp.Length = 200, -1
	x.Status = 200
	err := down.WriteHead(&x.Resp, false)
	if err == nil {
		err = down.Flush()
	}
	if err == nil {
		var sent, received atomic.Int64
		err = x.d.e.joinStreams(down, far, &sent, &received)
		x.In, x.Out = sent.Load(), received.Load()
	}
	if err != nil {
		x.Fault = http.AsError(err, http.Downstream)
	}
	if ep != nil {
		ep.End(clock.Now(), outcome(x.Fault, clock.Now()-begun))
	}
}

// outside passes a request on to a host that is no service of the mesh.
func (x *exchange) outside(down http.Stream, authority string) {
	x.Cluster = "outside"
	address := authority
	if _, _, err := net.SplitHostPort(address); err != nil {
		address = net.JoinHostPort(strings.Trim(authority, "[]"), "80")
	}
	e := x.d.e
	deadline := clock.Now() + int64(outsideTimeout)
	pool := h1.NewPool(h1.PoolOptions{MaxIdle: -1, Dial: func(int64) (*conn.Conn, error) { return e.dialOutside(address, deadline) }})
	up, err := pool.Open(deadline)
	if err != nil {
		x.reply(down, http.AsError(err, http.Upstream))
		return
	}
	e.deadlines.start(&x.timed, never, up)
	if err := x.request(down, up); err != nil {
		e.deadlines.finish(&x.timed)
		up.Abort(err)
		x.reply(down, http.AsError(err, http.Upstream))
		x.stopPump(down, up)
		up.Close()
		return
	}
	err = x.respond(down, up)
	x.stopPump(down, up)
	e.deadlines.finish(&x.timed)
	if err != nil {
		x.Fault = http.AsError(err, http.Upstream)
		up.Abort(err)
		down.Abort(err)
	}
	up.Close()
}

// outsideTimeout bounds name resolution and connecting outside the mesh.
const outsideTimeout = 5 * time.Second

func (e *Engine) dialOutside(address string, deadline int64) (*conn.Conn, error) {
	nc, err := conn.Dial("tcp", address, deadline)
	if err != nil {
		return nil, &http.Error{Side: http.Upstream, Kind: http.KindConnect, Unsent: true, Status: 502, Reason: address + " is no service of the mesh and cannot be reached outside it", Err: err}
	}
	return conn.New(nc, &e.Buffers), nil
}

// connectOutside carries a CONNECT's bytes to a host outside the mesh.
func (x *exchange) connectOutside(down http.Stream, authority string) {
	x.Cluster = "outside"
	to, err := x.d.e.dialOutside(authority, clock.Now()+int64(outsideTimeout))
	if err != nil {
		x.reply(down, http.AsError(err, http.Upstream))
		return
	}
	x.tunnelTo(down, &connEnd{to}, nil, 0)
}

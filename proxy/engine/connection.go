package engine

import (
	"bytes"
	"strings"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http/h1"
	"github.com/leno-mesh/leno/proxy/http/h2"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/proxy/tls"
)

// downstream is one connection from a client.
type downstream struct {
	e        *Engine
	c        *conn.Conn
	listener string // name of the resource that says what happens to it
	xfcc     []byte // what this proxy verified of the client, rendered once; nil if it proved nothing
	source   string // NAMESPACE/ACCOUNT of the client
	// offered are the protocols that the client offered in its handshake: a
	// chain is chosen by them again, so that it is the one whose TLS was served.
	offered []string

	bound    atomic.Pointer[bound]   // chain by the newest plan that was asked
	session  atomic.Pointer[session] // nil before the protocol is known, and for TCP
	checked  atomic.Bool             // policy has allowed it once
	protocol atomic.Uint32           // what detection found
	idle     atomic.Bool             // nothing of an exchange has begun; h1 and h2 know better
	headBy   int64                   // lib/clock, end of the time to say something
	series   atomic.Pointer[named]   // the series that the last exchange went into
}

// bound is a chain with the plan that it belongs to.
type bound struct {
	plan  *plan.Plan
	chain *plan.Chain
}

// serveNamed is the life of a connection: register, choose a chain, check, serve.
func (e *Engine) serveNamed(c *conn.Conn, name string) {
	d := &downstream{e: e, c: c, listener: name, headBy: clock.Now() + int64(headTimeout)}
	d.idle.Store(true)
	e.live.add(d)
	defer e.live.remove(d)
	defer c.Close()

	l, f := e.listener(name)
	if f != nil {
		e.Log.Debug("connection refused", "listener", name, "reason", f.Reason)
		return
	}
	d.serve(l)
}

// headTimeout runs from accept to the first byte that says what a connection is
// for, TLS handshake included.
const headTimeout = 10 * time.Second

func (d *downstream) serve(l *plan.Listener) {
	if err := d.handshake(l); err != nil {
		d.e.Log.Debug("connection refused", "listener", d.listener, "remote", d.c.Remote.String(), "error", err)
		return
	}
	if d.c.TLS {
		d.xfcc = xfcc(d.c)
	}
	d.source = sourceOf(d.c)
	chain := d.chain(d.e.Plan.Load())
	if chain == nil {
		d.e.Log.Debug("connection refused: no filter chain takes it", "listener", d.listener, "remote", d.c.Remote.String())
		return
	}
	d.checked.Store(true)
	if decision := chain.Policy.Check(&d.c.Info, nil); !decision.Allowed {
		d.denied(decision)
		return
	}
	if l.Detect && chain.HTTP == nil {
		if chain = d.detect(chain); chain == nil {
			return
		}
	}
	if chain.HTTP != nil {
		d.serveHTTP(chain.HTTP)
		return
	}
	d.serveTCP(chain)
}

// inbound reports that the connection comes from the mesh or beyond to the
// proxy's own application: its listener is named so (design 9.4).
func (d *downstream) inbound() bool {
	return strings.HasPrefix(d.listener, "inbound/") || strings.HasPrefix(d.listener, "plaintext/")
}

// handshake ends the client's encryption where the listener has chains for it.
func (d *downstream) handshake(l *plan.Listener) error {
	if !l.Encrypted {
		return nil
	}
	if err := d.c.Fill(); err != nil {
		return err
	}
	if d.c.Buffered()[0] != handshakeRecord {
		return nil // plaintext: only a chain without TLS takes it
	}
	return tls.Accept(d.c, clock.Time(d.headBy), func(name string, alpn []string) *tls.Server {
		d.offered = alpn
		if c := l.Select(plan.Client{Transport: "tls", ServerName: name, ALPN: alpn, Info: &d.c.Info}); c != nil {
			return c.TLS
		}
		return nil
	})
}

// handshakeRecord is the first byte of a TLS connection (RFC 8446, section 5.1).
const handshakeRecord = 22

// chain returns what happens to this connection by plan p, nil if it is refused.
func (d *downstream) chain(p *plan.Plan) *plan.Chain {
	if b := d.bound.Load(); b != nil && b.plan == p {
		return b.chain
	}
	var chain *plan.Chain
	if l := p.Listeners[d.listener]; l != nil {
		client := plan.Client{Transport: "raw_buffer", Info: &d.c.Info, Protocol: protocolNames[d.protocol.Load()]}
		if d.c.TLS {
			client.Transport, client.ServerName, client.ALPN = "tls", d.c.SNI, d.offered
		}
		chain = l.Select(client)
	}
	d.bound.Store(&bound{p, chain})
	return chain
}

// allowed asks the connection's policy in plan p.
func (d *downstream) allowed(p *plan.Plan) bool {
	chain := d.chain(p)
	return chain != nil && chain.Policy.Check(&d.c.Info, nil).Allowed
}

// preface begins an HTTP/2 connection (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// serveHTTP runs the codec that the client speaks.
func (d *downstream) serveHTTP(h *plan.HTTP) {
	two, err := d.speaksHTTP2(h)
	if err != nil {
		return
	}
	d.idle.Store(false)
	if two {
		s := h2.NewServer(d.c, h2.ServerOptions{Limits: h.Limits, Memory: &d.e.memory})
		d.publish(s)
		if err := s.Serve(d.forward); err != nil {
			d.e.Log.Debug("HTTP/2 connection failed", "listener", d.listener, "remote", d.c.Remote.String(), "error", err)
		}
		return
	}
	s := h1.NewServer(d.c, h1.ServerOptions{Limits: h.Limits, Scheme: d.scheme(), AcceptHTTP10: h.AcceptHTTP10, Draining: d.e.Draining})
	d.publish(one{s})
	s.Serve(d.forward)
}

// publish makes the session known to the sweeper and to drains.
func (d *downstream) publish(s session) {
	d.session.Store(&s)
	if d.e.Draining() {
		s.Drain()
	}
}

// one drains an HTTP/1 server: its loop ends by itself after an exchange.
type one struct{ *h1.Server }

func (s one) Drain() { s.CloseIdle() }

func (d *downstream) scheme() string {
	if d.c.TLS {
		return "https"
	}
	return "http"
}

func (d *downstream) speaksHTTP2(h *plan.HTTP) (bool, error) {
	switch {
	case h.Codec == plan.CodecHTTP1:
		return false, nil
	case h.Codec == plan.CodecHTTP2, d.c.ALPN == "h2":
		return true, nil
	case d.c.ALPN != "":
		return false, nil
	}
	for {
		b := d.c.Buffered()
		n := min(len(b), len(preface))
		if !bytes.Equal(b[:n], []byte(preface[:n])) {
			return false, nil
		}
		if n == len(preface) {
			return true, nil
		}
		if err := d.c.Fill(); err != nil {
			return false, err
		}
	}
}

// sweep ends a connection that says nothing, or lets its session do so.
func (d *downstream) sweep(now int64) {
	if s := d.session.Load(); s != nil {
		(*s).Sweep(now)
		return
	}
	if d.idle.Load() && now > d.headBy {
		d.c.Expire()
	}
}

// exchange takes an exchange for a request of d.
func (e *Engine) exchange(d *downstream) *exchange {
	x, ok := e.exchanges.Get().(*exchange)
	if !ok {
		x = &exchange{pumped: make(chan error, 1)}
	}
	x.d = d
	x.Conn = &d.c.Info
	x.Reset()
	x.pumping, x.bodyRead, x.responded, x.mtls, x.latency, x.ended = false, false, false, false, 0, 0
	x.back.Reset()
	x.timed.owner, x.timeout = nil, 0
	return x
}

func (e *Engine) recycle(x *exchange) {
	x.d, x.Conn = nil, nil
	e.exchanges.Put(x)
}

// Package engine moves bytes: it accepts connections, runs the exchanges on
// them by the newest plan, and records how they went.
//
// A connection has one goroutine, an HTTP/2 stream has one of its own; the code
// on them reads top to bottom. forward.go is the life of a request,
// connection.go the life of a connection.
package engine

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h2"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/proxy/stats"
)

// Demand asks for resources that the plan does not have. Its methods return at
// once; what comes of it is the next plan. A static proxy has none.
type Demand interface {
	Listener(name string)
	Routes(name string)
	// Lost says why asking would be in vain just now, "" if it would not.
	Lost() string
	Cluster(name string)
}

// Config is what an Engine needs.
type Config struct {
	Plan   *cell.Cell[plan.Plan]
	Demand Demand // nil: the plan is all there is
	Stats  *stats.Registry
	Log    log.Logger
	// Source names the application behind a sidecar, NAMESPACE/ACCOUNT: who
	// its outbound traffic comes from.
	Source string
	// DemandTimeout bounds the wait for a resource; 0 is 5 s.
	DemandTimeout time.Duration
}

// Engine serves listeners. Its methods may be called from any goroutine.
type Engine struct {
	Config
	Buffers buf.Pool

	deadlines deadlines
	live      registry
	exchanges sync.Pool
	memory    h2.Memory
	draining  atomic.Bool
	panics    atomic.Uint64
}

// New returns an engine; Run makes its clock tick.
func New(c Config) *Engine {
	e := &Engine{Config: c}
	if e.DemandTimeout == 0 {
		e.DemandTimeout = 5 * time.Second
	}
	e.deadlines.init()
	e.live.init()
	return e
}

// Run sweeps deadlines and re-checks live connections after each change of the
// plan, until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	tick := time.NewTicker(coarse)
	defer tick.Stop()
	_, changed := e.Plan.Next()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			now := clock.Now()
			e.deadlines.sweep(now)
			e.live.sweep(now)
			e.sweepTransports(now)
		case <-changed:
			var p *plan.Plan
			p, changed = e.Plan.Next()
			e.live.recheck(p)
			e.deadlines.recheck(p)
		}
	}
}

// Serve accepts connections of ln and treats them as the listener of that
// resource name says, until ln is closed.
func (e *Engine) Serve(ln net.Listener, name string) error {
	return e.accept(ln, func(c *conn.Conn) { e.serveNamed(c, name) })
}

// accept runs handle on a goroutine for each connection. Running out of
// descriptors slows it down, only the end of ln stops it.
func (e *Engine) accept(ln net.Listener, handle func(*conn.Conn)) error {
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			e.Log.Warn("accept failed", "address", ln.Addr().String(), "error", err, "pause", pause)
			time.Sleep(pause)
			continue
		}
		pause = 0
		go func() {
			defer e.rescue(nc)
			handle(conn.New(nc, &e.Buffers))
		}()
	}
}

// Drain makes connections end after the exchange under way: HTTP/1.1 says
// Connection: close, HTTP/2 sends GOAWAY. It returns when none is left or ctx
// ends.
func (e *Engine) Drain(ctx context.Context) {
	e.draining.Store(true)
	tick := time.NewTicker(coarse)
	defer tick.Stop()
	for {
		if e.live.drain() == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// CloseAll cuts every connection.
func (e *Engine) CloseAll() { e.live.closeAll() }

// Draining reports that Drain was called.
func (e *Engine) Draining() bool { return e.draining.Load() }

// Connections returns how many connections from clients are open.
func (e *Engine) Connections() int { return e.live.count() }

// Panics returns how many connections ended in a panic.
func (e *Engine) Panics() uint64 { return e.panics.Load() }

// await returns a resource of the newest plan, asking for it and waiting if the
// plan does not know it. A nil value is one that does not exist.
func await[T any](e *Engine, find func(*plan.Plan) (*T, bool), demand func(Demand), what, name string) (*T, *http.Error) {
	v, ok := find(e.Plan.Load())
	if !ok && e.Demand != nil {
		demand(e.Demand)
		if lost := e.Demand.Lost(); lost != "" {
			return nil, &http.Error{Side: http.Local, Kind: http.KindConfiguration, Unsent: true, Status: 503, Reason: "this proxy does not know the " + what + " " + name + " yet, and the control plane cannot be asked: " + lost}
		}
		expired := time.NewTimer(e.DemandTimeout)
		defer expired.Stop()
		for {
			p, changed := e.Plan.Next()
			if v, ok = find(p); ok {
				break
			}
			select {
			case <-changed:
				continue
			case <-expired.C:
			}
			return nil, &http.Error{Side: http.Local, Kind: http.KindTimeout, Unsent: true, Status: 503, Reason: "the control plane did not answer in time what " + what + " " + name + " is"}
		}
	}
	if v == nil {
		return nil, &http.Error{Side: http.Local, Kind: http.KindConfiguration, Unsent: true, Status: 503, Reason: "there is no " + what + " " + name}
	}
	return v, nil
}

func (e *Engine) listener(name string) (*plan.Listener, *http.Error) {
	if l := e.Plan.Load().Listeners[name]; l != nil {
		return l, nil
	}
	return await(e, func(p *plan.Plan) (*plan.Listener, bool) { l, ok := p.Listeners[name]; return l, ok },
		func(d Demand) { d.Listener(name) }, "listener", name)
}

func (e *Engine) routes(h *plan.HTTP) (*plan.RouteConfig, *http.Error) {
	if h.Inline != nil {
		return h.Inline, nil
	}
	if r := e.Plan.Load().Routes[h.Routes]; r != nil {
		return r, nil
	}
	name := h.Routes
	return await(e, func(p *plan.Plan) (*plan.RouteConfig, bool) { r, ok := p.Routes[name]; return r, ok },
		func(d Demand) { d.Routes(name) }, "route configuration", name)
}

// cluster returns a cluster with its members: a cluster by EDS without an
// assignment is awaited too.
func (e *Engine) cluster(name string) (*plan.Cluster, *http.Error) {
	if c := e.Plan.Load().Clusters[name]; c != nil && c.Members.Load() != nil {
		return c, nil
	}
	return e.awaitCluster(name)
}

func (e *Engine) awaitCluster(name string) (*plan.Cluster, *http.Error) {
	c, f := await(e, func(p *plan.Plan) (*plan.Cluster, bool) { c, ok := p.Clusters[name]; return c, ok },
		func(d Demand) { d.Cluster(name) }, "cluster", name)
	if f != nil {
		return nil, f
	}
	expired := time.NewTimer(e.DemandTimeout)
	defer expired.Stop()
	for {
		m, changed := c.Members.Next()
		if m != nil {
			return c, nil
		}
		select {
		case <-changed:
		case <-expired.C:
			return nil, &http.Error{Side: http.Local, Kind: http.KindNoEndpoint, Unsent: true, Status: 503, Reason: "the control plane did not say in time which endpoints " + name + " has"}
		}
	}
}

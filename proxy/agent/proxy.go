// Package agent is the process around the engine: it reads a bootstrap or joins
// a mesh, keeps the configuration current, and serves the admin interface.
package agent

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/engine"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/proxy/stats"
	"github.com/leno-mesh/leno/proxy/tls"
)

// Options are what every mode takes.
type Options struct {
	Log     log.Logger
	Level   *log.Level // of Log; nil if nothing may change it
	Version string
	// Drain bounds how long connections may go on after the end was asked for.
	Drain time.Duration
}

// proxy is what every mode has: a configuration, the engine that runs by it, and
// counters.
type proxy struct {
	Options
	log           log.Logger
	level         *log.Level
	version       string
	configuration *configuration
	engine        *engine.Engine
	stats         *stats.Registry
	started       time.Time

	mu        sync.Mutex
	listeners []net.Listener // those that drains close
}

func newProxy(o Options, identity *cell.Cell[tls.Identity], demand engine.Demand, source string) *proxy {
	if o.Level == nil {
		o.Level = new(log.Level)
	}
	p := &proxy{Options: o, log: o.Log, level: o.Level, version: o.Version, stats: stats.NewRegistry(0, 0), started: time.Now()}
	decisions := new(plan.Decisions)
	p.configuration = newConfiguration(plan.Environment{Identity: identity, ReadFile: readFile, Seed: rand.Uint64(), Decisions: decisions})
	p.engine = engine.New(engine.Config{Plan: p.configuration.plan, Demand: demand, Stats: p.stats, Log: o.Log, Source: source})
	p.configuration.env.Transport = func(c *plan.Cluster, ep *balance.Endpoint) http.Transport { return p.engine.Transport(c, ep) }
	p.stats.Gauge("leno_proxy_connections", "Connections from clients that are open.", func() float64 { return float64(p.engine.Connections()) })
	p.stats.Counter("leno_proxy_denials", "Requests and connections that policy refused.", func() float64 { return float64(decisions.Denied(false)) })
	p.stats.Counter("leno_proxy_audited", "Requests and connections that a rule of an AUDIT policy matched.", func() float64 { return float64(decisions.Logged()) })
	p.stats.Counter("leno_proxy_shadow_denials", "Requests and connections that a policy which is only tried out would have refused.", func() float64 { return float64(decisions.Denied(true)) })
	p.stats.Counter("leno_proxy_panics", "Connections that ended in a panic.", func() float64 { return float64(p.engine.Panics()) })
	return p
}

// run starts what lives as long as the proxy; wait returns when all of it has
// ended after ctx did.
func (p *proxy) run(ctx context.Context) (wait func()) {
	var all sync.WaitGroup
	all.Go(func() { p.engine.Run(ctx) })
	names := &resolver{configuration: p.configuration, log: p.log}
	all.Go(func() { names.run(ctx) })
	all.Go(func() { p.sweepStats(ctx) })
	return all.Wait
}

// sweepStats forgets idle series.
func (p *proxy) sweepStats(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.stats.Sweep(now)
		}
	}
}

// bind opens a listening socket, HOST:PORT or unix:PATH, that drains close.
func (p *proxy) bind(address string) (net.Listener, error) {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	ln, err := conn.Listen(network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, ln)
	return ln, nil
}

// serve runs accept, a Serve of the engine, on a goroutine of its own.
func (p *proxy) serve(name string, accept func() error) {
	go func() {
		if err := accept(); err != nil {
			p.log.Error("listener failed", "listener", name, "error", err)
		}
	}()
}

package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/engine"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/xds/wire"
)

// RunStatic runs the data plane alone on a bootstrap until ctx ends or the admin
// interface is told to drain, and then drains. ready, which may be nil, gets the
// addresses of the listeners by name when all are bound.
func RunStatic(ctx context.Context, b *wire.Bootstrap, o Options, ready func(map[string]net.Addr)) error {
	follow := newFollower(o.Log)
	var demand engine.Demand // without a server the plan is all there is
	if b.DynamicResources != nil && b.DynamicResources.AdsConfig != nil {
		demand = follow
	}
	p := newProxy(o, nil, demand, "")
	follow.configuration = p.configuration
	if err := staticResources(b, p.configuration.resources); err != nil {
		return err
	}
	first, rejected := p.configuration.env.Build(plan.Empty(), p.configuration.resources)
	if len(rejected) > 0 {
		errs := make([]error, len(rejected))
		for i, r := range rejected {
			errs[i] = r
		}
		return errors.Join(errs...)
	}
	p.configuration.plan.Store(first)

	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	wait := p.run(running)
	defer func() {
		p.stopAccepting()
		stop()
		wait()
	}()
	dynamic, err := p.dynamic(running, b, first, follow)
	if err != nil {
		return err
	}
	if err := checkReferences(first, dynamic); err != nil {
		return err
	}
	addresses := map[string]net.Addr{}
	for _, name := range slices.Sorted(maps.Keys(first.Listeners)) {
		l := first.Listeners[name]
		if l.Address == "" {
			return fmt.Errorf("listener/%s: address: is missing, or bind_to_port is false", name)
		}
		ln, err := p.bind(l.Address)
		if err != nil {
			return fmt.Errorf("listener/%s: %w", name, err)
		}
		addresses[name] = ln.Addr()
		p.serve(name, func() error { return p.engine.Serve(ln, name) })
	}
	ctx, drain := context.WithCancel(ctx)
	defer drain()
	closeAdmin, err := p.staticAdmin(b, drain)
	if err != nil {
		return err
	}
	defer closeAdmin()
	if ready != nil {
		ready(addresses)
	}
	<-ctx.Done()
	p.drainAll(o.Drain)
	return nil
}

// Check says what is wrong with a bootstrap, without running it.
func Check(b *wire.Bootstrap) error {
	p := newProxy(Options{Log: log.Discard()}, nil, nil, "")
	if err := staticResources(b, p.configuration.resources); err != nil {
		return err
	}
	built, rejected := p.configuration.env.Build(plan.Empty(), p.configuration.resources)
	var errs []error
	for _, r := range rejected {
		errs = append(errs, r)
	}
	return errors.Join(append(errs, checkReferences(built, b.DynamicResources != nil))...)
}

// staticAdmin serves the admin interface where the bootstrap says so.
func (p *proxy) staticAdmin(b *wire.Bootstrap, drain func()) (closeAdmin func(), err error) {
	if b.Admin == nil || b.Admin.Address == nil {
		return func() {}, nil
	}
	network, address, err := dialable(b.Admin.Address)
	if err != nil {
		return nil, fmt.Errorf("admin.address: %w", err)
	}
	ln, err := listenAdmin(network, address)
	if err != nil {
		return nil, fmt.Errorf("admin.address: %w", err)
	}
	ready := func() string {
		if p.engine.Draining() {
			return "DRAINING"
		}
		return ""
	}
	p.serveAdmin(ln, p.pages(ready, drain, p.configuration.certificates))
	return func() { ln.Close() }, nil
}

// checkReferences refuses names that nothing of a static configuration answers
// to; with ADS they may still come.
func checkReferences(p *plan.Plan, dynamic bool) error {
	if dynamic {
		return nil
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(p.Listeners)) {
		routes, clusters := p.Listeners[name].References()
		for _, r := range routes {
			errs = append(errs, fmt.Errorf("listener/%s: names the route configuration %q, which needs dynamic_resources.ads_config", name, r))
		}
		for _, c := range clusters {
			if p.Clusters[c] == nil {
				errs = append(errs, fmt.Errorf("listener/%s: names the cluster %q, which is not in static_resources.clusters", name, c))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Clusters)) {
		if p.Clusters[name].EDS != "" {
			errs = append(errs, fmt.Errorf("cluster/%s: is of type EDS, which needs dynamic_resources.ads_config", name))
		}
	}
	return errors.Join(errs...)
}

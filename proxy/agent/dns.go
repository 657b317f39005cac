package agent

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/plan"
)

// resolver keeps the endpoints of STRICT_DNS clusters as their names resolve.
type resolver struct {
	configuration *configuration
	log           log.Logger
}

// run resolves the names of every cluster that has any until ctx ends; each
// cluster has a goroutine of its own, which ends when the cluster does.
func (r *resolver) run(ctx context.Context) {
	running := map[*plan.Cluster]context.CancelFunc{}
	for {
		p, changed := r.configuration.plan.Next()
		now := map[*plan.Cluster]bool{}
		for _, c := range p.Clusters {
			if c == nil || len(c.DNS) == 0 {
				continue
			}
			now[c] = true
			if running[c] == nil {
				own, cancel := context.WithCancel(ctx)
				running[c] = cancel
				go r.keep(own, c)
			}
		}
		for c, cancel := range running {
			if !now[c] {
				cancel()
				delete(running, c)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// keep resolves a cluster's names at once and then at its refresh rate. A name
// that does not resolve keeps the endpoints that it had.
func (r *resolver) keep(ctx context.Context, c *plan.Cluster) {
	known := make([][]balance.Spec, len(c.DNS))
	tick := time.NewTicker(c.DNSRefresh)
	defer tick.Stop()
	for {
		for i, n := range c.DNS {
			specs, err := lookup(ctx, n)
			if err != nil {
				r.log.Warn("name does not resolve", "cluster", c.Name, "name", n.Host, "error", err)
				continue
			}
			known[i] = specs
		}
		var all []balance.Spec
		for _, k := range known {
			all = append(all, k...)
		}
		if ctx.Err() == nil && differs(c, all) {
			if err := r.configuration.env.Swap(c, all); err != nil {
				r.log.Error("endpoints refused", "cluster", c.Name, "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func lookup(ctx context.Context, n plan.DNSName) ([]balance.Spec, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n.Host)
	if err != nil {
		return nil, err
	}
	specs := make([]balance.Spec, 0, len(ips))
	for _, ip := range ips {
		specs = append(specs, balance.Spec{
			Identity: balance.Identity{Address: net.JoinHostPort(ip.Unmap().String(), strconv.Itoa(int(n.Port))), Hostname: n.Host},
			Weight:   n.Weight, Priority: n.Priority,
		})
	}
	return specs, nil
}

// differs reports that specs are not the cluster's endpoints, in any order.
func differs(c *plan.Cluster, specs []balance.Spec) bool {
	m := c.Members.Load()
	if m == nil || len(m.Set.Endpoints()) != len(specs) {
		return true
	}
	have := map[string]bool{}
	for _, ep := range m.Set.Endpoints() {
		have[ep.Address] = true
	}
	for _, s := range specs {
		if !have[s.Address] {
			return true
		}
	}
	return false
}

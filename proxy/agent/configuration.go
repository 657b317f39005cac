package agent

import (
	"crypto/x509"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/xds"
	"github.com/leno-mesh/leno/xds/wire"
)

// configuration holds the resources that are in force and publishes the plan
// that they make. Its methods may be called from any goroutine.
type configuration struct {
	env  plan.Environment
	plan *cell.Cell[plan.Plan]

	mu        sync.Mutex
	resources *plan.Resources
	bodies    map[resourceID]xds.Resource // as received, for the disk and for restoring
}

type resourceID struct{ typeURL, name string }

func newConfiguration(env plan.Environment) *configuration {
	return &configuration{env: env, plan: cell.New(plan.Empty()), resources: plan.NewResources(), bodies: map[resourceID]xds.Resource{}}
}

// apply takes events and publishes the plan that follows. It returns the
// resources that were refused; of those the last good version stays.
func (c *configuration) apply(events []xds.Event) []xds.Rejection {
	c.mu.Lock()
	defer c.mu.Unlock()
	var rejected []xds.Rejection
	undo := map[string]func(){}
	for _, ev := range events {
		r := ev.Resource
		if ev.Kind != xds.Changed {
			c.put(r.TypeURL, r.Name, nil)
			delete(c.bodies, resourceID{r.TypeURL, r.Name})
			continue
		}
		m, reason := decode(r)
		if reason != "" {
			rejected = append(rejected, xds.Rejection{Name: r.Name, Detail: reason})
			continue
		}
		restore := c.put(r.TypeURL, r.Name, m)
		id := resourceID{r.TypeURL, r.Name}
		old, had := c.bodies[id]
		c.bodies[id] = r
		undo[kindOf(r.TypeURL)+"/"+r.Name] = func() {
			restore()
			if had {
				c.bodies[id] = old
			} else {
				delete(c.bodies, id)
			}
		}
	}
	prev := c.plan.Load()
	next, refused := c.env.Build(prev, c.resources)
	for _, r := range refused {
		if back := undo[r.Kind+"/"+r.Name]; back != nil {
			back()
		}
		rejected = append(rejected, xds.Rejection{Name: r.Name, Detail: r.Reason})
	}
	c.plan.Store(next)
	prev.Retire(next)
	return rejected
}

// decode reads a resource; reason says why it is refused. Endpoints are checked
// in full, because a cluster that uses them may come later.
func decode(r xds.Resource) (m wire.Message, reason string) {
	m = wire.New(r.TypeURL)
	if m == nil {
		return nil, "Leno does not know the type " + r.TypeURL
	}
	report, err := wire.Unmarshal(r.Body, m)
	if err != nil {
		return nil, err.Error()
	}
	if len(report.Unsupported) > 0 {
		return nil, "Leno does not support " + strings.Join(report.Unsupported, ", ")
	}
	if a, ok := m.(*wire.ClusterLoadAssignment); ok {
		if err := plan.CheckAssignment(a); err != nil {
			return nil, err.Error()
		}
	}
	return m, ""
}

// put sets a resource, nil for one that does not exist, and returns how to set
// it back.
func (c *configuration) put(typeURL, name string, m wire.Message) (restore func()) {
	switch typeURL {
	case xds.ListenerType:
		l, _ := m.(*wire.Listener)
		return set(c.resources.Listeners, name, l)
	case xds.RouteType:
		r, _ := m.(*wire.RouteConfiguration)
		return set(c.resources.Routes, name, r)
	case xds.ClusterType:
		k, _ := m.(*wire.Cluster)
		return set(c.resources.Clusters, name, k)
	case xds.EndpointType:
		a, _ := m.(*wire.ClusterLoadAssignment)
		return set(c.resources.Assignments, name, a)
	}
	return func() {}
}

func set[T any](m map[string]*T, name string, v *T) (restore func()) {
	old, had := m[name]
	m[name] = v
	return func() {
		if had {
			m[name] = old
		} else {
			delete(m, name)
		}
	}
}

// forget drops what is known of a resource, existing or not.
func (c *configuration) forget(ids []resourceID) {
	if len(ids) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		delete(c.bodies, id)
		switch id.typeURL {
		case xds.ListenerType:
			delete(c.resources.Listeners, id.name)
		case xds.RouteType:
			delete(c.resources.Routes, id.name)
		case xds.ClusterType:
			delete(c.resources.Clusters, id.name)
		case xds.EndpointType:
			delete(c.resources.Assignments, id.name)
		}
	}
	prev := c.plan.Load()
	next, _ := c.env.Build(prev, c.resources)
	c.plan.Store(next)
	prev.Retire(next)
}

// kindOf returns the plan's word for a type of resource.
func kindOf(typeURL string) string {
	switch typeURL {
	case xds.ListenerType:
		return "listener"
	case xds.RouteType:
		return "route"
	case xds.ClusterType:
		return "cluster"
	case xds.EndpointType:
		return "endpoints"
	}
	return typeURL
}

// snapshot returns the resources as they were received, for the disk.
func (c *configuration) snapshot() []xds.Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]xds.Resource, 0, len(c.bodies))
	for _, r := range c.bodies {
		out = append(out, r)
	}
	return out
}

// dump writes the resources in force as Envoy's /config_dump does.
func (c *configuration) dump(b []byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	b = append(b, `{"configs":[`...)
	b = appendSection(b, "listeners", c.resources.Listeners)
	b = append(b, ',')
	b = appendSection(b, "routes", c.resources.Routes)
	b = append(b, ',')
	b = appendSection(b, "clusters", c.resources.Clusters)
	b = append(b, ',')
	b = appendSection(b, "endpoints", c.resources.Assignments)
	return append(b, "]}\n"...)
}

// readFile reads what a configuration names, bounded.
func readFile(name string) ([]byte, error) { return os.ReadFile(name) }

// certificates returns those of the TLS contexts in force, each once.
func (c *configuration) certificates() []*x509.Certificate {
	p := c.plan.Load()
	var all []*x509.Certificate
	add := func(list []*x509.Certificate) {
		for _, k := range list {
			if !slices.ContainsFunc(all, k.Equal) {
				all = append(all, k)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Listeners)) {
		if l := p.Listeners[name]; l != nil {
			for _, chain := range l.AllChains() {
				if chain.TLS != nil {
					add(chain.TLS.Certificates())
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Clusters)) {
		if k := p.Clusters[name]; k != nil && k.TLS != nil {
			add(k.TLS.Certificates())
		}
	}
	return all
}

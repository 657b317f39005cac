package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds/wire"
)

// Resources is what a plan is built from, by resource name. A nil value stands
// for a resource that does not exist. Messages must not be changed afterwards:
// the same pointer means the same configuration.
type Resources struct {
	Listeners   map[string]*wire.Listener
	Routes      map[string]*wire.RouteConfiguration
	Clusters    map[string]*wire.Cluster
	Assignments map[string]*wire.ClusterLoadAssignment
	Secrets     map[string]*wire.Secret
}

// NewResources returns an empty set.
func NewResources() *Resources {
	return &Resources{
		Listeners: map[string]*wire.Listener{}, Routes: map[string]*wire.RouteConfiguration{}, Clusters: map[string]*wire.Cluster{},
		Assignments: map[string]*wire.ClusterLoadAssignment{}, Secrets: map[string]*wire.Secret{},
	}
}

// Environment is what compiling needs of the process.
type Environment struct {
	// Identity is that of the mesh, which TLS contexts name by the secrets
	// "default" and "ROOTCA"; nil in static mode.
	Identity *cell.Cell[tls.Identity]
	// Transport makes the transport to a new endpoint.
	Transport func(*Cluster, *balance.Endpoint) http.Transport
	// ReadFile reads a DataSource's file.
	ReadFile func(string) ([]byte, error)
	// Seed makes proxies start at different endpoints.
	Seed uint64
	// Decisions counts what the policies of all plans decide; nil counts nothing.
	Decisions *Decisions
}

// Rejected is a resource that could not be compiled. Its last good version, if
// there was one, stays in force.
type Rejected struct {
	Kind   string // listener, route, cluster, endpoints
	Name   string
	Reason string
}

func (r Rejected) Error() string { return r.Kind + "/" + r.Name + ": " + r.Reason }

// Build compiles resources. What prev has compiled from the same message it
// takes over; connections, load and health of endpoints that stay are kept. A
// resource that cannot be compiled is rejected by name and harms no other. Once
// the plan is published, prev is to be retired.
func (env *Environment) Build(prev *Plan, r *Resources) (*Plan, []Rejected) {
	b := &builder{env: env, prev: prev, resources: r}
	p := &Plan{
		Listeners: compileAll(b, "listener", r.Listeners, prev.Listeners, func(l *Listener) *wire.Listener { return l.source }, b.listener),
		Routes:    compileAll(b, "route", r.Routes, prev.Routes, func(c *RouteConfig) *wire.RouteConfiguration { return c.source }, b.routeConfig),
		Clusters:  compileAll(b, "cluster", r.Clusters, prev.Clusters, func(c *Cluster) *wire.Cluster { return c.source }, b.cluster),
	}
	refused := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(p.Clusters)) {
		c := p.Clusters[name]
		if c == nil || c.EDS == "" {
			continue
		}
		a, known := r.Assignments[c.EDS]
		if !known {
			continue
		}
		if err := b.assign(c, a); err != nil && !refused[c.EDS] {
			refused[c.EDS] = true
			b.rejected = append(b.rejected, Rejected{"endpoints", c.EDS, err.Error()})
		}
	}
	return p, b.rejected
}

// Retire lets go of the endpoints of p that its successor does not have. It
// comes after the successor was published: who finds an endpoint draining then
// finds another in the newest plan.
func (p *Plan) Retire(successor *Plan) {
	for name, old := range p.Clusters {
		if old != nil && successor.Clusters[name] != old {
			retire(old, successor.Clusters[name])
		}
	}
}

// CheckAssignment says why an assignment cannot be compiled, nil if it can.
func CheckAssignment(w *wire.ClusterLoadAssignment) error {
	_, err := endpointSpecs(w)
	return err
}

type builder struct {
	env       *Environment
	prev      *Plan
	resources *Resources
	rejected  []Rejected
}

// compileAll compiles every resource of a kind whose message is not the one
// that its predecessor was compiled from.
func compileAll[W, C any](b *builder, kind string, from map[string]*W, prev map[string]*C, source func(*C) *W, compile func(string, *W) (*C, error)) map[string]*C {
	out := make(map[string]*C, len(from))
	for _, name := range slices.Sorted(maps.Keys(from)) {
		w := from[name]
		old := prev[name]
		switch {
		case w == nil:
			out[name] = nil
		case old != nil && source(old) == w:
			out[name] = old
		default:
			c, err := compile(name, w)
			if err != nil {
				b.rejected = append(b.rejected, Rejected{kind, name, err.Error()})
				if _, known := prev[name]; known {
					out[name] = old
				}
				continue
			}
			out[name] = c
		}
	}
	return out
}

// retire lets go of the endpoints of a cluster that its successor, which may be
// nil, did not take over.
func retire(old, successor *Cluster) {
	m := old.Members.Load()
	if m == nil {
		return
	}
	var kept *balance.Set
	if successor != nil {
		if n := successor.Members.Load(); n != nil {
			kept = n.Set
		}
	}
	for _, ep := range m.Set.Endpoints() {
		if kept.Lookup(ep.Identity) != ep && ep.Transport != nil {
			ep.Transport.Drain()
		}
	}
}

// Swap publishes new members of a cluster and lets go of endpoints that left.
// Specs' Key is completed, so that endpoints reached in another way are others.
func (env *Environment) Swap(c *Cluster, specs []balance.Spec) error {
	return env.swap(c, specs, nil)
}

func (env *Environment) swap(c *Cluster, specs []balance.Spec, source *wire.ClusterLoadAssignment) error {
	var prev *balance.Set
	if m := c.Members.Load(); m != nil {
		prev = m.Set
	}
	for i := range specs {
		specs[i].Key = fmt.Sprintf("%s#%d", specs[i].Key, c.generation)
	}
	set := balance.NewSet(prev, specs)
	for _, ep := range set.Endpoints() {
		if ep.Transport == nil {
			ep.Transport = env.Transport(c, ep)
		}
	}
	picker, err := balance.NewPicker(c.Balance, set, env.Seed)
	if err != nil {
		return err
	}
	c.Members.Store(&Members{Set: set, Picker: picker, source: source})
	for _, ep := range set.Gone(prev) {
		ep.Transport.Drain()
	}
	return nil
}

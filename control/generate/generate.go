// Package generate turns a snapshot of the mesh into Envoy v3 resources.
//
// A generator is a pure function of a small comparable struct, and that struct
// is the key under which its output is remembered: what does not depend on a
// change is the very same resource afterwards. A namespace that did not change
// is not looked at again. Each resource is encoded once, for all streams, and
// is not made for one client; its version is a hash of its bytes.
//
// Names: outbound Listener SERVICE.NAMESPACE.mesh.internal:PORT;
// RouteConfiguration, Cluster and ClusterLoadAssignment NAMESPACE/SERVICE/PORT;
// Listeners inbound/NAMESPACE/WORKLOAD and plaintext/NAMESPACE/WORKLOAD/PORT;
// Cluster local/PROTOCOL/PORT.
package generate

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/model"
)

const (
	// Domain is under which every Service has its name.
	Domain = "mesh.internal"

	defaultConnect = 2 * time.Second
	defaultRetries = 2
)

// reserved namespaces would make a Service's names collide with others.
var reserved = [...]string{"local", "invalid"}

// portKey is a port of a Service.
type portKey struct {
	service model.Key
	number  uint32
}

func (p portKey) String() string { return fmt.Sprintf("%s/%d", p.service, p.number) }

func (p portKey) host() string {
	return p.service.Name + "." + p.service.Namespace + "." + Domain
}

func (p portKey) listener() string { return fmt.Sprintf("%s:%d", p.host(), p.number) }

func (p portKey) sni() string { return fmt.Sprintf("%d.%s", p.number, p.host()) }

// domains are all spellings that a client may use, and any other: who asked for
// this configuration has already decided where the request goes.
func (p portKey) domains() []string {
	var out []string
	for _, name := range []string{p.service.Name, p.service.Name + "." + p.service.Namespace, p.host()} {
		out = append(out, name, fmt.Sprintf("%s:%d", name, p.number))
	}
	return append(out, "*")
}

func spiffeID(trustDomain, namespace, account string) string {
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/" + account
}

// settings is what every resource may depend on.
type settings struct {
	trustDomain string
	connect     time.Duration
	defaults    defaults
}

func settingsOf(s *model.Snapshot) settings {
	out := settings{connect: defaultConnect, defaults: defaults{retries: defaultRetries}}
	if s.Mesh == nil {
		return out
	}
	spec := &s.Mesh.Spec
	out.trustDomain = spec.TrustDomain
	if d := parseDuration(spec.Timeouts.Connect); d > 0 {
		out.connect = d
	}
	out.defaults.request = parseDuration(spec.Timeouts.Request)
	if spec.Retries.Attempts != nil {
		out.defaults.retries = uint32(max(*spec.Retries.Attempts, 0))
	}
	return out
}

// Generator remembers what it generated last. It belongs to one goroutine.
type Generator struct {
	last   *Set
	tables map[string]*tables // by namespace
}

// New returns a generator without a past.
func New() *Generator {
	return &Generator{last: &Set{}, tables: make(map[string]*tables)}
}

// Generate returns the resources of a snapshot. The set is immutable.
func (g *Generator) Generate(s *model.Snapshot) *Set {
	next := &Set{Rev: s.Rev, settings: settingsOf(s), namespaces: make(map[string]*resources)}
	for _, name := range s.Namespaces() {
		n := s.Namespace(name)
		old := g.last.namespaces[name]
		if old != nil && old.of == n && g.last.settings == next.settings {
			next.namespaces[name] = old
			continue
		}
		if slices.Contains(reserved[:], name) {
			next.namespaces[name] = newResources(n)
			next.namespaces[name].errors = []error{fmt.Errorf("generate namespace %s: the name is reserved, so nothing in it is served; use another name", name)}
			continue
		}
		next.namespaces[name] = g.namespace(s, n, next.settings)
	}
	for name := range g.tables {
		if next.namespaces[name] == nil {
			delete(g.tables, name)
		}
	}
	g.last = next
	return next
}

// namespace generates one namespace. Nothing in it depends on another one
// except for the settings, since references never leave a namespace.
func (g *Generator) namespace(s *model.Snapshot, n *model.Namespace, set settings) *resources {
	t := g.tables[n.Name]
	if t == nil {
		t = newTables()
		g.tables[n.Name] = t
	}
	b := &builder{tables: t, snapshot: s, settings: set, out: newResources(n)}
	for _, name := range sortedKeys(n.Services) {
		for _, port := range n.Services[name].Ports {
			b.port(n.Services[name], port)
		}
	}
	for _, name := range sortedKeys(n.Workloads) {
		b.workload(n.Workloads[name])
	}
	t.age()
	return b.out
}

// tables are the memos of one namespace.
type tables struct {
	listeners *memo[listenerInput, result]
	routes    *memo[routesInput, result]
	clusters  *memo[clusterInput, result]
	endpoints *memo[endpointsInput, result]
	inbound   *memo[inboundInput, result]
	plaintext *memo[plaintextInput, result]
	local     *memo[localInput, result]

	shares   interner[share]
	names    interner[string]
	facts    interner[endpointFact]
	attached interner[*model.Route]
	served   interner[servedPort]
	policies interner[*v1alpha1.AuthorizationPolicy]
	numbers  interner[uint32]
}

func newTables() *tables {
	return &tables{
		listeners: newMemo(makeListener),
		routes:    newMemo(makeRoutes),
		clusters:  newMemo(makeCluster),
		endpoints: newMemo(makeEndpoints),
		inbound:   newMemo(makeInbound),
		plaintext: newMemo(makePlaintext),
		local:     newMemo(makeLocal),

		shares:   newInterner[share](),
		names:    newInterner[string](),
		facts:    newInterner[endpointFact](),
		attached: newInterner[*model.Route](),
		served:   newInterner[servedPort](),
		policies: newInterner[*v1alpha1.AuthorizationPolicy](),
		numbers:  newInterner[uint32](),
	}
}

func (t *tables) age() {
	t.listeners.age()
	t.routes.age()
	t.clusters.age()
	t.endpoints.age()
	t.inbound.age()
	t.plaintext.age()
	t.local.age()
	t.shares.lists.age()
	t.names.lists.age()
	t.facts.lists.age()
	t.attached.lists.age()
	t.served.lists.age()
	t.policies.lists.age()
	t.numbers.lists.age()
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, strings.Compare)
	return keys
}

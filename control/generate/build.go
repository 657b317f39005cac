package generate

import (
	"cmp"
	"slices"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/xds"
)

// builder gathers the inputs of one namespace's resources from the snapshot.
type builder struct {
	*tables
	snapshot *model.Snapshot
	settings settings
	out      *resources
}

// port generates what clients of a Service's port need.
func (b *builder) port(s *model.Service, p *model.Port) {
	port := portKey{p.Service, uint32(p.Number)}
	meshed := isMeshed(s, p)
	b.out.put(b.listeners.get(b.listener(port, p, meshed)), "")
	if p.Protocol != model.ProtocolTCP {
		in := routesInput{port: port, defaults: b.settings.defaults}
		if len(p.TCPRoutes) == 0 {
			in.routes = b.attached.list(p.Routes())
		}
		b.out.put(b.routes.get(in), "")
	}
	b.out.put(b.clusters.get(clusterInput{
		port: port, protocol: p.Protocol, meshed: meshed, connect: b.settings.connect, peers: b.peers(s, p, meshed),
	}), "")
	b.out.put(b.endpoints.get(endpointsInput{port: port, endpoints: b.facts.list(endpointFacts(s, p, meshed))}), "")
}

// isMeshed: clients use mutual TLS unless that is switched off for the port, or
// no workload that serves it has a proxy and plaintext is permitted.
func isMeshed(s *model.Service, p *model.Port) bool {
	switch p.PeerMode {
	case v1alpha1.ModeDisable:
		return false
	case v1alpha1.ModePermissive:
		serving := s.Serving(p)
		return len(serving) == 0 || slices.ContainsFunc(serving, func(w *model.Workload) bool { return w.Object.Spec.MeshPort != 0 })
	}
	return true
}

// peers are the identities that may answer for a Service's port.
func (b *builder) peers(s *model.Service, p *model.Port, meshed bool) *list[string] {
	if !meshed {
		return nil
	}
	var ids []string
	for _, w := range s.Serving(p) {
		if w.Object.Spec.MeshPort != 0 {
			ids = append(ids, spiffeID(b.settings.trustDomain, w.Namespace, w.Account))
		}
	}
	slices.Sort(ids)
	return b.names.list(slices.Compact(ids))
}

// listener gathers where connections to a port go: to the first rule of the
// oldest TCPRoute, else to the Service itself.
func (b *builder) listener(port portKey, p *model.Port, meshed bool) listenerInput {
	in := listenerInput{port: port, protocol: p.Protocol}
	if p.Protocol != model.ProtocolTCP && p.Protocol != model.ProtocolAuto {
		return in
	}
	if meshed {
		in.tunnel = port.listener()
	}
	shares := []share{{port.String(), 1}}
	if len(p.TCPRoutes) > 0 {
		shares = nil
		if rules := p.TCPRoutes[0].Backends; len(rules) > 0 {
			for _, backend := range rules[0] {
				if backend.Weight > 0 {
					shares = append(shares, share{backendCluster(backend), uint32(backend.Weight)})
				}
			}
		}
	}
	if len(shares) == 1 {
		shares[0].weight = 1
	}
	if len(shares) == 1 && len(p.TCPRoutes) > 0 {
		in.tunnel = b.tunnelTo(p.TCPRoutes[0])
	}
	in.shares = b.shares.list(shares)
	return in
}

// tunnelTo names the only backend of a TCPRoute, if it is meshed.
func (b *builder) tunnelTo(r *model.Route) string {
	for _, backend := range r.Backends[0] {
		s := b.snapshot.Service(backend.Service.Namespace, backend.Service.Name)
		if backend.Weight <= 0 || s == nil {
			continue
		}
		if p := s.Port(backend.Port); p != nil && isMeshed(s, p) {
			return portKey{backend.Service, uint32(backend.Port)}.listener()
		}
	}
	return ""
}

// endpointFacts lists where a Service's port is served. A meshed port is served
// only by workloads with a proxy.
func endpointFacts(s *model.Service, p *model.Port, meshed bool) []endpointFact {
	var facts []endpointFact
	for _, w := range s.Workloads {
		o := w.Object
		target, ok := w.TargetPort(p)
		if !ok || o.Spec.Address == "" {
			continue
		}
		f := endpointFact{
			workload: w.Name,
			version:  o.Labels["version"],
			address:  o.Spec.Address,
			weight:   uint32(max(o.Share(), 0)),
			region:   o.Spec.Locality.Region,
			zone:     o.Spec.Locality.Zone,
			subzone:  o.Spec.Locality.Subzone,
			health:   health(&o.Status),
		}
		if meshed {
			f.port = uint32(o.Spec.MeshPort)
		} else {
			f.port = uint32(w.PlaintextPort(target))
		}
		if f.port == 0 || f.weight == 0 {
			continue
		}
		facts = append(facts, f)
	}
	return facts
}

func health(s *v1alpha1.WorkloadStatus) core.HealthStatus {
	switch {
	case s.Draining:
		return core.HealthStatus_DRAINING
	case s.Healthy == nil:
		return core.HealthStatus_UNKNOWN // nobody reports: counts as healthy
	case *s.Healthy:
		return core.HealthStatus_HEALTHY
	}
	return core.HealthStatus_UNHEALTHY
}

// workload generates what a workload's own proxy needs.
func (b *builder) workload(w *model.Workload) {
	spec := &w.Object.Spec
	if spec.MeshPort == 0 || spec.Address == "" {
		return
	}
	var served []servedPort
	for _, s := range b.snapshot.ServicesOf(w) {
		for _, p := range s.Ports {
			app, ok := w.TargetPort(p)
			if !ok {
				continue
			}
			served = append(served, servedPort{
				port: portKey{p.Service, uint32(p.Number)}, app: uint32(app), protocol: p.Protocol,
				policies: b.policies.list(p.Policies),
			})
		}
	}
	inbound := inboundInput{workload: w.Key, trustDomain: b.settings.trustDomain, address: spec.Address, port: uint32(spec.MeshPort)}
	for _, p := range served {
		b.locals(p)
	}
	// DISABLE too: clients that have not heard of it still come by mutual TLS.
	inbound.served = b.served.list(served)
	b.out.put(b.inbound.get(inbound), w.Account)
	for _, app := range appPorts(served) {
		b.out.put(b.plaintext.get(b.plain(w, app, served)), w.Account)
	}
}

// locals generates the clusters that a port's chains lead to.
func (b *builder) locals(p servedPort) {
	b.out.put(b.local.get(localInput{model.ProtocolTCP, p.app}), "")
	switch p.protocol {
	case model.ProtocolTCP:
	case model.ProtocolAuto:
		b.out.put(b.local.get(localInput{model.ProtocolHTTP, p.app}), "")
		b.out.put(b.local.get(localInput{model.ProtocolGRPC, p.app}), "")
	default:
		b.out.put(b.local.get(localInput{p.protocol, p.app}), "")
	}
}

// plain gathers what holds for plaintext to an application port: the protocol
// of the first Service that names it, and the policies of all.
func (b *builder) plain(w *model.Workload, app uint32, served []servedPort) plaintextInput {
	in := plaintextInput{
		workload: w.Key, trustDomain: b.settings.trustDomain, address: w.Object.Spec.Address,
		app: app, arrives: uint32(w.PlaintextPort(int32(app))),
		open: b.snapshot.PeerModeFor(w, int32(app)) != v1alpha1.ModeStrict,
	}
	if !in.open {
		return in
	}
	var policies []*v1alpha1.AuthorizationPolicy
	var numbers []uint32
	for _, p := range served {
		if p.app != app {
			continue
		}
		in.protocol = cmp.Or(in.protocol, p.protocol)
		numbers = append(numbers, p.port.number)
		for policy := range p.policies.all {
			if !slices.Contains(policies, policy) {
				policies = append(policies, policy)
			}
		}
	}
	in.numbers, in.policies = b.numbers.list(numbers), b.policies.list(policies)
	return in
}

// resources is what one namespace has.
type resources struct {
	of     *model.Namespace
	byType map[string]map[string]*xds.Resource
	owners map[string]string // names that only one account may see
	errors []error
}

func newResources(n *model.Namespace) *resources {
	return &resources{of: n, byType: make(map[string]map[string]*xds.Resource), owners: make(map[string]string)}
}

// put adds a resource; owner is the account that it is for, or "".
func (r *resources) put(made result, owner string) {
	if made.err != nil {
		r.errors = append(r.errors, made.err)
		return
	}
	res := made.resource
	names := r.byType[res.TypeURL]
	if names == nil {
		names = make(map[string]*xds.Resource)
		r.byType[res.TypeURL] = names
	}
	names[res.Name] = res
	if owner != "" {
		r.owners[res.Name] = owner
	}
}

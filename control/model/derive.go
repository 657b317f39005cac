package model

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// derivation is the work of deriving one namespace.
type derivation struct {
	scope    scope
	prev     *Namespace // never nil; what it holds is reused where nothing changed
	next     *Namespace
	services []*corev1.Service
	peers    []*v1alpha1.PeerAuthentication  // of the namespace, best first
	policies []*v1alpha1.AuthorizationPolicy // of the namespace, by name
	attached map[Parent][]*Route             // oldest first
	selects  map[string][]string             // service name → workload names, sorted
	strange  map[string][]string             // like selects: what matches by labels that its proxy chose
}

// deriveNamespace resolves all relations of a namespace's objects. References
// never leave the namespace, so its objects and the scope are all it depends on.
func deriveNamespace(name string, objects map[api.Ref]api.Object, prev *Namespace, s scope) *Namespace {
	if prev == nil {
		prev = &Namespace{}
	}
	d := &derivation{
		scope: s,
		prev:  prev,
		next: &Namespace{
			Name:                  name,
			Services:              make(map[string]*Service),
			Workloads:             make(map[string]*Workload),
			Routes:                make(map[api.Ref]*Route),
			PeerAuthentications:   make(map[string]*v1alpha1.PeerAuthentication),
			AuthorizationPolicies: make(map[string]*v1alpha1.AuthorizationPolicy),
			objects:               objects,
			problems:              make(map[api.Ref][]Problem),
		},
		attached: make(map[Parent][]*Route),
		selects:  make(map[string][]string),
		strange:  make(map[string][]string),
	}
	d.sort()
	d.deriveWorkloads()
	d.deriveRoutes()
	d.deriveServices()
	d.check()
	return d.next
}

// sort puts the objects into their lists.
func (d *derivation) sort() {
	for _, o := range d.next.objects {
		switch o := o.(type) {
		case *corev1.Namespace:
			d.next.Object = o
		case *corev1.Service:
			d.services = append(d.services, o)
		case *v1alpha1.PeerAuthentication:
			d.next.PeerAuthentications[o.Name] = o
			d.peers = append(d.peers, o)
		case *v1alpha1.AuthorizationPolicy:
			d.next.AuthorizationPolicies[o.Name] = o
			d.policies = append(d.policies, o)
		}
	}
	slices.SortFunc(d.services, byName)
	slices.SortFunc(d.peers, oldestFirst)
	slices.SortFunc(d.policies, byName)
	d.next.peers, d.next.policies = d.peers, d.policies
}

func (d *derivation) deriveWorkloads() {
	byLabel := make(map[[2]string][]*v1alpha1.Workload)
	selectedBy := make(map[string][]string)
	for _, o := range d.next.objects {
		if w, ok := o.(*v1alpha1.Workload); ok {
			for label, value := range w.Labels {
				byLabel[[2]string{label, value}] = append(byLabel[[2]string{label, value}], w)
			}
		}
	}
	for _, service := range d.services {
		for _, w := range selected(service.Spec.Selector, byLabel) {
			if !mayServe(service, w) {
				d.strange[service.Name] = append(d.strange[service.Name], w.Name)
				continue
			}
			d.selects[service.Name] = append(d.selects[service.Name], w.Name)
			selectedBy[w.Name] = append(selectedBy[w.Name], service.Name)
		}
	}
	for _, o := range d.next.objects {
		object, ok := o.(*v1alpha1.Workload)
		if !ok {
			continue
		}
		w := &Workload{
			Key:      Key{object.Namespace, object.Name},
			Object:   object,
			Services: selectedBy[object.Name],
		}
		w.Account = cmp.Or(object.Spec.Account, first(w.Services), "default")
		if old := d.prev.Workloads[w.Name]; old != nil && old.Object == w.Object && old.Account == w.Account && slices.Equal(old.Services, w.Services) {
			w = old
		}
		d.next.Workloads[w.Name] = w
	}
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// mayServe reports whether a Service selects a workload that has its labels.
// Whoever joins chooses the labels of its workload, so they alone do not make it
// serve: the Service must be the one that the server let it register for, or
// select by that, or be of the workload's account.
func mayServe(s *corev1.Service, w *v1alpha1.Workload) bool {
	if !w.Registered() || w.Labels[v1alpha1.ServiceLabel] == s.Name {
		return true
	}
	if _, named := s.Spec.Selector[v1alpha1.ServiceLabel]; named {
		return true
	}
	return w.Spec.Account != "" && s.Annotations[v1alpha1.AccountAnnotation] == w.Spec.Account
}

// selected returns the workloads that carry all labels of a selector, sorted by
// name. The empty selector selects nothing, as for pods.
func selected(selector map[string]string, byLabel map[[2]string][]*v1alpha1.Workload) []*v1alpha1.Workload {
	var fewest []*v1alpha1.Workload
	begun := false
	for label, value := range selector {
		if list := byLabel[[2]string{label, value}]; !begun || len(list) < len(fewest) {
			fewest, begun = list, true
		}
	}
	var out []*v1alpha1.Workload
	for _, w := range fewest {
		if hasLabels(w.Labels, selector) {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, byName)
	return out
}

func hasLabels(labels, selector map[string]string) bool {
	for label, value := range selector {
		if got, ok := labels[label]; !ok || got != value {
			return false
		}
	}
	return true
}

func (d *derivation) deriveServices() {
	for _, object := range d.services {
		s := &Service{Key: Key{object.Namespace, object.Name}, Object: object}
		old := d.prev.Services[s.Name]
		for _, name := range d.selects[s.Name] {
			s.Workloads = append(s.Workloads, d.next.Workloads[name])
		}
		for i := range object.Spec.Ports {
			spec := &object.Spec.Ports[i]
			if spec.Protocol != "" && spec.Protocol != corev1.ProtocolTCP {
				continue
			}
			port := d.derivePort(s, spec)
			if old != nil {
				if same := old.Port(port.Number); same != nil && same.equal(port) {
					port = same
				}
			}
			s.Ports = append(s.Ports, port)
		}
		if old != nil && old.Object == s.Object && slices.Equal(old.Ports, s.Ports) && slices.Equal(old.Workloads, s.Workloads) {
			s = old
		}
		d.next.Services[s.Name] = s
	}
}

func (d *derivation) derivePort(s *Service, spec *corev1.ServicePort) *Port {
	p := &Port{Service: s.Key, Name: spec.Name, Number: spec.Port, TargetPort: spec.Port, Protocol: protocolOf(spec)}
	p.Sole = len(s.Object.Spec.Ports) == 1
	switch {
	case spec.TargetPort.Type == intstr.String && spec.TargetPort.StrVal != "":
		p.TargetPort, p.TargetName = 0, spec.TargetPort.StrVal
	case spec.TargetPort.IntVal != 0:
		p.TargetPort = spec.TargetPort.IntVal
	}
	d.attach(p)
	target := p.TargetPort
	if i := slices.IndexFunc(s.Workloads, func(w *Workload) bool { _, ok := w.TargetPort(p); return ok }); i >= 0 {
		target, _ = s.Workloads[i].TargetPort(p)
	}
	p.PeerMode = d.modeForService(s.Name, target)
	p.Policies = append(p.Policies, d.scope.policies...)
	if s.Namespace != v1alpha1.SystemNamespace {
		for _, policy := range d.policies {
			if len(policy.Spec.TargetRefs) == 0 {
				p.Policies = append(p.Policies, policy)
			}
		}
	}
	for _, policy := range d.policies {
		if targets(policy.Spec.TargetRefs, s.Name) {
			p.Policies = append(p.Policies, policy)
		}
	}
	return p
}

// attach gives a port its routes: those for the port, and those for the whole
// Service. Of several kinds only the most specific counts.
func (d *derivation) attach(p *Port) {
	routes := slices.Concat(d.attached[Parent{p.Service, 0}], d.attached[Parent{p.Service, p.Number}])
	slices.SortFunc(routes, func(a, b *Route) int { return oldestFirst(a.Object(), b.Object()) })
	for _, r := range slices.Compact(routes) {
		switch r.Ref.Kind {
		case api.GRPCRoute:
			p.GRPCRoutes = append(p.GRPCRoutes, r)
		case api.HTTPRoute:
			p.HTTPRoutes = append(p.HTTPRoutes, r)
		case api.TCPRoute:
			p.TCPRoutes = append(p.TCPRoutes, r)
		}
	}
	switch {
	case len(p.GRPCRoutes) > 0:
		p.HTTPRoutes, p.TCPRoutes = nil, nil
		p.decide(ProtocolGRPC)
	case len(p.HTTPRoutes) > 0:
		p.TCPRoutes = nil
		p.decide(ProtocolHTTP)
	case len(p.TCPRoutes) > 0:
		p.decide(ProtocolTCP)
	}
}

// decide settles a protocol that nobody declared.
func (p *Port) decide(protocol Protocol) {
	if p.Protocol == ProtocolAuto {
		p.Protocol = protocol
	}
}

func (p *Port) equal(o *Port) bool {
	return p.Service == o.Service && p.Name == o.Name && p.Number == o.Number &&
		p.TargetPort == o.TargetPort && p.TargetName == o.TargetName && p.Sole == o.Sole && p.Protocol == o.Protocol &&
		p.PeerMode == o.PeerMode &&
		slices.Equal(p.HTTPRoutes, o.HTTPRoutes) && slices.Equal(p.GRPCRoutes, o.GRPCRoutes) &&
		slices.Equal(p.TCPRoutes, o.TCPRoutes) && slices.Equal(p.Policies, o.Policies)
}

// targets reports that a policy names a Service.
func targets(refs []v1alpha1.TargetRef, service string) bool {
	return slices.ContainsFunc(refs, func(r v1alpha1.TargetRef) bool {
		return (r.Group == "" || r.Group == "core") && (r.Kind == "" || r.Kind == "Service") && string(r.Name) == service
	})
}

func (d *derivation) modeForService(service string, target int32) v1alpha1.Mode {
	for _, p := range d.peers {
		if targets(p.Spec.TargetRefs, service) {
			return modeOf(p, target)
		}
	}
	return namespaceMode(d.peers, d.scope, target)
}

// namespaceMode is the mode where nothing names the Service or the workload.
func namespaceMode(peers []*v1alpha1.PeerAuthentication, s scope, target int32) v1alpha1.Mode {
	for _, p := range peers {
		if len(p.Spec.TargetRefs) == 0 && p.Spec.Selector == nil {
			return modeOf(p, target)
		}
	}
	if len(s.peers) > 0 {
		return modeOf(s.peers[0], target)
	}
	return s.mode
}

func (d *derivation) deriveRoutes() {
	for ref, o := range d.next.objects {
		r := &Route{Ref: ref}
		switch o := o.(type) {
		case *gateway.HTTPRoute:
			r.HTTP = o
			for i := range o.Spec.Rules {
				r.Backends = append(r.Backends, d.resolve(r, len(o.Spec.Rules[i].BackendRefs), func(j int) *gateway.BackendRef { return &o.Spec.Rules[i].BackendRefs[j].BackendRef }))
			}
			r.Parents = d.parents(ref, o.Spec.ParentRefs)
		case *gateway.GRPCRoute:
			r.GRPC = o
			for i := range o.Spec.Rules {
				r.Backends = append(r.Backends, d.resolve(r, len(o.Spec.Rules[i].BackendRefs), func(j int) *gateway.BackendRef { return &o.Spec.Rules[i].BackendRefs[j].BackendRef }))
			}
			r.Parents = d.parents(ref, o.Spec.ParentRefs)
		case *gateway.TCPRoute:
			r.TCP = o
			for i := range o.Spec.Rules {
				r.Backends = append(r.Backends, d.resolve(r, len(o.Spec.Rules[i].BackendRefs), func(j int) *gateway.BackendRef { return &o.Spec.Rules[i].BackendRefs[j] }))
			}
			r.Parents = d.parents(ref, o.Spec.ParentRefs)
		default:
			continue
		}
		if old := d.prev.Routes[ref]; old != nil && old.equal(r) {
			r = old
		}
		d.next.Routes[ref] = r
		for _, parent := range r.Parents {
			d.attached[parent] = append(d.attached[parent], r)
		}
	}
}

// Object returns the route as it was written.
func (r *Route) Object() api.Object {
	switch {
	case r.HTTP != nil:
		return r.HTTP
	case r.GRPC != nil:
		return r.GRPC
	}
	return r.TCP
}

func (r *Route) equal(o *Route) bool {
	return r.Ref == o.Ref && r.HTTP == o.HTTP && r.GRPC == o.GRPC && r.TCP == o.TCP &&
		slices.Equal(r.Parents, o.Parents) && slices.EqualFunc(r.Backends, o.Backends, slices.Equal[[]Backend])
}

func (d *derivation) service(name string) *corev1.Service {
	s, _ := d.next.objects[api.Ref{Kind: api.Service, Namespace: d.next.Name, Name: name}].(*corev1.Service)
	return s
}

// serviceNames returns the names of the namespace's Services, for suggestions.
func (d *derivation) serviceNames() []string {
	names := make([]string, len(d.services))
	for i, s := range d.services {
		names[i] = s.Name
	}
	return names
}

func compareRefs(a, b api.Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

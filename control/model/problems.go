package model

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// check notes what is wrong with the namespace's objects.
func (d *derivation) check() {
	d.checkWorkloads()
	for _, s := range d.services {
		d.checkService(d.next.Services[s.Name])
	}
	for _, ref := range sortedRefs(d.next.Routes) {
		d.checkRoute(d.next.Routes[ref])
	}
	d.checkCycles()
	for _, p := range d.peers {
		d.checkTargets(api.RefOf(p), p.Spec.TargetRefs)
		if p.Spec.Selector != nil && !d.anyWorkload(p.Spec.Selector.MatchLabels) {
			d.warn(api.RefOf(p), "spec.selector", "NoMatch", "it selects no workload")
		}
	}
	for _, p := range d.policies {
		d.checkTargets(api.RefOf(p), p.Spec.TargetRefs)
		d.checkPolicyPorts(p)
	}
}

// checkPolicyPorts finds ports that no target has: a rule for a workload's port
// instead of the Service's would guard nothing.
func (d *derivation) checkPolicyPorts(p *v1alpha1.AuthorizationPolicy) {
	var targeted []*corev1.Service
	for _, target := range p.Spec.TargetRefs {
		if s := d.service(string(target.Name)); s != nil {
			targeted = append(targeted, s)
		}
	}
	for i, rule := range p.Spec.Rules {
		for j, to := range rule.To {
			for k, port := range to.Ports {
				found := slices.ContainsFunc(targeted, func(s *corev1.Service) bool { return hasPort(s, port) })
				if len(targeted) > 0 && !found {
					d.refuse(api.RefOf(p), fmt.Sprintf("spec.rules[%d].to[%d].ports[%d]", i, j, k), "PortNotFound", "%s", noPort(targeted[0], port))
				}
			}
		}
	}
}

func (d *derivation) note(s Severity, ref api.Ref, path, reason, format string, args ...any) {
	d.next.problems[ref] = append(d.next.problems[ref], Problem{
		Severity: s, Ref: ref, Path: path, Reason: reason, Message: fmt.Sprintf(format, args...),
	})
}

func (d *derivation) warn(ref api.Ref, path, reason, format string, args ...any) {
	d.note(Warning, ref, path, reason, format, args...)
}

func (d *derivation) refuse(ref api.Ref, path, reason, format string, args ...any) {
	d.note(Error, ref, path, reason, format, args...)
}

// checkWorkloads finds workloads that advertise the same mesh address.
func (d *derivation) checkWorkloads() {
	type address struct {
		network, ip string
		port        int32
	}
	at := make(map[address][]string)
	for name, w := range d.next.Workloads {
		if spec := &w.Object.Spec; spec.MeshPort != 0 {
			a := address{spec.Network, spec.Address, spec.MeshPort}
			at[a] = append(at[a], name)
		}
	}
	for a, names := range at {
		if len(names) < 2 {
			continue
		}
		slices.Sort(names)
		for _, name := range names[1:] {
			ref := api.Ref{Kind: api.Workload, Namespace: d.next.Name, Name: name}
			d.warn(ref, "spec.meshPort", "PortClash", "workload %s/%s has the same address %s and mesh port %d", ref.Namespace, names[0], a.ip, a.port)
		}
	}
}

func (d *derivation) checkService(s *Service) {
	ref := api.RefOf(s.Object)
	strange := d.strange[s.Name]
	if len(s.Object.Spec.Selector) > 0 && len(s.Workloads)+len(strange) == 0 {
		d.warn(ref, "spec.selector", "NoMatch", "it selects no workload")
	}
	if len(strange) > 0 {
		d.checkStrange(ref, strange)
	}
	for i := range s.Object.Spec.Ports {
		port := s.Port(s.Object.Spec.Ports[i].Port)
		if port == nil {
			continue
		}
		for _, w := range s.Workloads {
			_, ok := w.TargetPort(port)
			if ok {
				continue
			}
			what := fmt.Sprintf("port %d", port.TargetPort)
			if port.TargetName != "" {
				what = fmt.Sprintf("port named %q", port.TargetName)
			}
			d.warn(ref, fmt.Sprintf("spec.ports[%d].targetPort", i), "PortNotFound", "workload %s has no %s, so it gets no calls for port %d", w.Key, what, port.Number)
			break
		}
	}
}

// checkStrange tells of workloads that a Service passes by although they have its
// labels, at the Service and at each of them.
func (d *derivation) checkStrange(service api.Ref, names []string) {
	for i, name := range names {
		w := d.next.Workloads[name]
		text := fmt.Sprintf("whose proxy chose its labels itself and has account %s; to select it, select by the label %s, or annotate the Service %s: %s",
			w.Account, v1alpha1.ServiceLabel, v1alpha1.AccountAnnotation, w.Account)
		if i == 0 {
			more := ""
			if len(names) > 1 {
				more = fmt.Sprintf(" (and %d more)", len(names)-1)
			}
			d.warn(service, "spec.selector", "NotTrusted", "it does not select workload %s%s, %s", w.Key, more, text)
		}
		d.warn(api.RefOf(w.Object), "metadata.labels", "NotTrusted", "service %s/%s does not select it, %s", service.Namespace, service.Name, text)
	}
}

func (d *derivation) anyWorkload(labels map[string]string) bool {
	for _, w := range d.next.Workloads {
		if hasLabels(w.Object.Labels, labels) {
			return true
		}
	}
	return false
}

func (d *derivation) checkTargets(ref api.Ref, refs []v1alpha1.TargetRef) {
	for i, target := range refs {
		if d.service(string(target.Name)) == nil {
			d.refuse(ref, fmt.Sprintf("spec.targetRefs[%d]", i), "TargetNotFound", "%s", d.noService(string(target.Name)))
		}
	}
}

func (d *derivation) noService(name string) string {
	text := fmt.Sprintf("there is no service %s/%s", d.next.Name, name)
	if near := api.Nearest(name, d.serviceNames()); near != "" {
		text += fmt.Sprintf(", did you mean %s?", near)
	}
	return text
}

func (d *derivation) checkRoute(r *Route) {
	for i, parent := range parentRefsOf(r) {
		d.checkParent(r, fmt.Sprintf("spec.parentRefs[%d]", i), &parent)
	}
	for i, rule := range r.Backends {
		if len(rule) == 0 && !redirects(r, i) {
			d.warn(r.Ref, fmt.Sprintf("spec.rules[%d]", i), "NoBackend", "the rule has no backendRefs: %s", unanswered(r.Ref.Kind))
		}
		for j := range rule {
			d.checkBackend(r, fmt.Sprintf("spec.rules[%d].backendRefs[%d]", i, j), rule[j])
		}
	}
}

// unanswered says what becomes of a request for which there is no backend.
func unanswered(k api.Kind) string {
	switch k {
	case api.GRPCRoute:
		return "what matches it is answered UNAVAILABLE"
	case api.TCPRoute:
		return "its connections are closed"
	}
	return "what matches it is answered 500"
}

func redirects(r *Route, rule int) bool {
	return r.HTTP != nil && slices.ContainsFunc(r.HTTP.Spec.Rules[rule].Filters, func(f gateway.HTTPRouteFilter) bool {
		return f.Type == gateway.HTTPRouteFilterRequestRedirect
	})
}

func parentRefsOf(r *Route) []gateway.ParentReference {
	switch {
	case r.HTTP != nil:
		return r.HTTP.Spec.ParentRefs
	case r.GRPC != nil:
		return r.GRPC.Spec.ParentRefs
	}
	return r.TCP.Spec.ParentRefs
}

func (d *derivation) checkParent(r *Route, path string, p *gateway.ParentReference) {
	if !parentIsService(p) {
		return // refused when it was read
	}
	if p.Namespace != nil && string(*p.Namespace) != r.Ref.Namespace {
		d.refuse(r.Ref, path, "NotAllowed", "the service is in namespace %s; a route must be in the namespace of its service", *p.Namespace)
		return
	}
	service := d.next.Services[string(p.Name)]
	if service == nil {
		d.refuse(r.Ref, path, string(gateway.RouteReasonNoMatchingParent), "%s", d.noService(string(p.Name)))
		return
	}
	for _, parent := range d.parents(r.Ref, []gateway.ParentReference{*p}) {
		for _, port := range service.Ports {
			if parent.Port == port.Number || parent.Port == 0 {
				d.checkAttached(r, path, port, parent.Port != 0)
			}
		}
	}
	switch {
	case p.Port != nil && service.Port(*p.Port) == nil:
		d.refuse(r.Ref, path+".port", string(gateway.RouteReasonNoMatchingParent), "%s", noPort(service.Object, *p.Port))
	case p.Port == nil && p.SectionName != nil && portNamed(service.Object, string(*p.SectionName)) == 0:
		d.refuse(r.Ref, path+".sectionName", string(gateway.RouteReasonNoMatchingParent), "service %s has no port named %q", service.Key, *p.SectionName)
	}
}

// checkAttached tells when a route does not count on a port, and why. Only a
// route that names the port is refused; one for the whole Service passes by.
func (d *derivation) checkAttached(r *Route, path string, p *Port, named bool) {
	if p.Protocol == ProtocolTCP && r.TCP == nil && named {
		d.refuse(r.Ref, path, "UnsupportedProtocol", "port %d of service %s speaks tcp; an %s needs a port that speaks http, http2 or grpc", p.Number, p.Service, r.Ref.Kind)
		return
	}
	winner := p.Routes()
	if len(winner) > 0 && winner[0].Ref.Kind != r.Ref.Kind {
		d.warn(r.Ref, path, "Conflicted", "it is not used on port %d of service %s: %s is attached there and comes first", p.Number, p.Service, winner[0].Ref)
	}
}

func noPort(s *corev1.Service, number int32) string {
	ports := make([]string, len(s.Spec.Ports))
	for i := range s.Spec.Ports {
		ports[i] = fmt.Sprint(s.Spec.Ports[i].Port)
	}
	return fmt.Sprintf("service %s/%s has no port %d; its ports are %s", s.Namespace, s.Name, number, strings.Join(ports, ", "))
}

func (d *derivation) checkBackend(r *Route, path string, b Backend) {
	switch b.Reason {
	case ReasonInvalidKind:
		d.refuse(r.Ref, path, b.Reason, "only a Service can be a backend; %s", unanswered(r.Ref.Kind))
	case ReasonRefNotPermitted:
		d.refuse(r.Ref, path, b.Reason, "the service %s is in another namespace, which needs a ReferenceGrant; Leno has none yet", b.Service)
	case ReasonBackendNotFound:
		if s := d.service(b.Service.Name); s != nil {
			d.refuse(r.Ref, path+".port", b.Reason, "%s", noPort(s, b.Port))
			return
		}
		d.refuse(r.Ref, path, b.Reason, "%s; %s", d.noService(b.Service.Name), unanswered(r.Ref.Kind))
	}
}

// checkCycles finds Services whose routes send to each other in a circle. It is
// legal, because a request is routed once, where it is sent, but rarely meant.
func (d *derivation) checkCycles() {
	next := make(map[string][]string)
	for _, ref := range sortedRefs(d.next.Routes) {
		r := d.next.Routes[ref]
		for _, parent := range r.Parents {
			for _, b := range slices.Concat(r.Backends...) {
				if b.Reason == "" && b.Service != parent.Service && !slices.Contains(next[parent.Service.Name], b.Service.Name) {
					next[parent.Service.Name] = append(next[parent.Service.Name], b.Service.Name)
				}
			}
		}
	}
	for _, ref := range sortedRefs(d.next.Routes) {
		r := d.next.Routes[ref]
		for _, parent := range r.Parents {
			if path := cycle(next, parent.Service.Name); path != nil {
				d.warn(ref, "spec.rules", "Cycle", "the routes of services %s send in a circle; a request is routed once only, where it is sent", strings.Join(path, " → "))
				break
			}
		}
	}
}

// cycle returns the shortest way from a Service back to itself.
func cycle(next map[string][]string, start string) []string {
	from := map[string]string{}
	queue := []string{start}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for _, to := range next[at] {
			if to == start {
				path := []string{start}
				for ; at != start; at = from[at] {
					path = append(path, at)
				}
				path = append(path, start)
				slices.Reverse(path)
				return path
			}
			if _, seen := from[to]; !seen {
				from[to] = at
				queue = append(queue, to)
			}
		}
	}
	return nil
}

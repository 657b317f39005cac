package model

import (
	"maps"
	"slices"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// Empty returns the mesh in which there is nothing.
func Empty() *Snapshot { return &Snapshot{scope: scopeFrom(nil, nil)} }

// Namespaces returns the names of all namespaces, sorted.
func (s *Snapshot) Namespaces() []string { return slices.Sorted(maps.Keys(s.namespaces)) }

// Namespace returns a namespace, nil when nothing is known of it.
func (s *Snapshot) Namespace(name string) *Namespace { return s.namespaces[name] }

// Service returns a Service, nil when there is none.
func (s *Snapshot) Service(namespace, name string) *Service {
	if n := s.namespaces[namespace]; n != nil {
		return n.Services[name]
	}
	return nil
}

// Workload returns a Workload, nil when there is none.
func (s *Snapshot) Workload(namespace, name string) *Workload {
	if n := s.namespaces[namespace]; n != nil {
		return n.Workloads[name]
	}
	return nil
}

// Route returns a route, nil when there is none.
func (s *Snapshot) Route(ref api.Ref) *Route {
	if n := s.namespaces[ref.Namespace]; n != nil {
		return n.Routes[ref]
	}
	return nil
}

// Object returns any object as it was written, nil when there is none.
func (s *Snapshot) Object(ref api.Ref) api.Object {
	if n := s.namespaces[homeOf(ref)]; n != nil {
		return n.objects[ref]
	}
	return nil
}

// Problems returns what is wrong with an object now; reading it allocates nothing.
func (s *Snapshot) Problems(ref api.Ref) []Problem {
	if n := s.namespaces[homeOf(ref)]; n != nil {
		return n.problems[ref]
	}
	return nil
}

// ServicesOf returns the Services that select a workload, sorted by name.
func (s *Snapshot) ServicesOf(w *Workload) []*Service {
	out := make([]*Service, 0, len(w.Services))
	for _, name := range w.Services {
		if service := s.Service(w.Namespace, name); service != nil {
			out = append(out, service)
		}
	}
	return out
}

// Port returns the port with a number, nil when the Service has no such port.
func (s *Service) Port(number int32) *Port {
	for _, p := range s.Ports {
		if p.Number == number {
			return p
		}
	}
	return nil
}

// Routes returns the routes attached to the port in the order in which the
// Gateway API gives them precedence. All are of one kind.
func (p *Port) Routes() []*Route {
	switch {
	case len(p.GRPCRoutes) > 0:
		return p.GRPCRoutes
	case len(p.HTTPRoutes) > 0:
		return p.HTTPRoutes
	}
	return p.TCPRoutes
}

// RoutesFor returns the routes attached to a port.
func (s *Snapshot) RoutesFor(service *Service, port int32) []*Route {
	if p := service.Port(port); p != nil {
		return p.Routes()
	}
	return nil
}

// PoliciesFor returns the authorization policies that apply to a port.
func (s *Snapshot) PoliciesFor(service *Service, port int32) []*v1alpha1.AuthorizationPolicy {
	if p := service.Port(port); p != nil {
		return p.Policies
	}
	return nil
}

// TrustDomain returns the mesh's trust domain, "" before there is one.
func (s *Snapshot) TrustDomain() string {
	if s.Mesh == nil {
		return ""
	}
	return s.Mesh.Spec.TrustDomain
}

// TargetPort returns the workload's port behind a Service's port; ok is false
// when the workload does not serve it.
//
// A workload that a proxy registered serves only what it registered: else its
// proxy would open whatever else listens on the machine. Its only port is behind
// the only port of a Service, whatever the number: programs that share a machine
// cannot all have the same.
func (w *Workload) TargetPort(p *Port) (port int32, ok bool) {
	own, registered := w.Object.Spec.Ports, w.Object.Registered()
	switch {
	case p.TargetName == "" && !registered:
		return p.TargetPort, true
	case p.TargetName == "" && p.Sole && len(own) == 1:
		return own[0].Port, true
	}
	for _, o := range own {
		if p.TargetName != "" && o.Name == p.TargetName || p.TargetName == "" && o.Port == p.TargetPort {
			return o.Port, true
		}
	}
	return 0, false
}

// Serving returns the workloads that serve a port, sorted by name.
func (s *Service) Serving(p *Port) []*Workload {
	if !slices.ContainsFunc(s.Workloads, func(w *Workload) bool { _, ok := w.TargetPort(p); return !ok }) {
		return s.Workloads
	}
	var out []*Workload
	for _, w := range s.Workloads {
		if _, ok := w.TargetPort(p); ok {
			out = append(out, w)
		}
	}
	return out
}

// PlaintextPort returns where plaintext for a port of the workload arrives.
func (w *Workload) PlaintextPort(port int32) int32 {
	for _, own := range w.Object.Spec.Ports {
		if own.Port == port && own.PlaintextPort != 0 {
			return own.PlaintextPort
		}
	}
	return port
}

// homeOf returns the namespace under which an object is kept: a Namespace is
// kept in itself.
func homeOf(ref api.Ref) string {
	if ref.Kind == api.Namespace {
		return ref.Name
	}
	return ref.Namespace
}

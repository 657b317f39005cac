package model

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api"
)

// Reasons of the Gateway API's ResolvedRefs condition.
const (
	ReasonBackendNotFound = string(gateway.RouteReasonBackendNotFound)
	ReasonRefNotPermitted = string(gateway.RouteReasonRefNotPermitted)
	ReasonInvalidKind     = string(gateway.RouteReasonInvalidKind)
)

// resolve returns the backends of one rule.
func (d *derivation) resolve(r *Route, n int, ref func(int) *gateway.BackendRef) []Backend {
	backends := make([]Backend, n)
	for i := range n {
		backends[i] = d.backend(ref(i))
	}
	return backends
}

func (d *derivation) backend(ref *gateway.BackendRef) Backend {
	b := Backend{Service: Key{d.next.Name, string(ref.Name)}, Weight: 1}
	if ref.Weight != nil {
		b.Weight = *ref.Weight
	}
	if ref.Port != nil {
		b.Port = *ref.Port
	}
	if ref.Namespace != nil {
		b.Service.Namespace = string(*ref.Namespace)
	}
	service := d.service(b.Service.Name)
	switch {
	case !isService(ref.Group, ref.Kind):
		b.Reason = ReasonInvalidKind
	case b.Service.Namespace != d.next.Name:
		b.Reason = ReasonRefNotPermitted
	case service == nil || !hasPort(service, b.Port):
		b.Reason = ReasonBackendNotFound
	}
	return b
}

// parents returns the Service ports that a route asks to be attached to, found
// or not. Parents in other namespaces are left out: check reports them.
func (d *derivation) parents(ref api.Ref, refs []gateway.ParentReference) []Parent {
	var parents []Parent
	for i := range refs {
		p := &refs[i]
		if !parentIsService(p) || p.Namespace != nil && string(*p.Namespace) != ref.Namespace {
			continue
		}
		parent := Parent{Service: Key{ref.Namespace, string(p.Name)}}
		service := d.service(parent.Service.Name)
		switch {
		case p.Port != nil:
			parent.Port = *p.Port
		case p.SectionName != nil && service != nil:
			parent.Port = portNamed(service, string(*p.SectionName))
			if parent.Port == 0 {
				continue
			}
		case p.SectionName != nil:
			continue
		}
		parents = append(parents, parent)
	}
	return parents
}

func isService(group *gateway.Group, kind *gateway.Kind) bool {
	return (group == nil || *group == "" || *group == "core") && (kind == nil || *kind == "Service")
}

// parentIsService needs the kind to be written: a parentRef defaults to a Gateway.
func parentIsService(p *gateway.ParentReference) bool {
	return p.Group != nil && (*p.Group == "" || *p.Group == "core") && p.Kind != nil && *p.Kind == "Service"
}

func hasPort(s *corev1.Service, number int32) bool {
	for i := range s.Spec.Ports {
		if s.Spec.Ports[i].Port == number {
			return true
		}
	}
	return false
}

func portNamed(s *corev1.Service, name string) int32 {
	for i := range s.Spec.Ports {
		if s.Spec.Ports[i].Name == name {
			return s.Spec.Ports[i].Port
		}
	}
	return 0
}

// protocolOf reads what a port speaks from its appProtocol, else from the
// prefix of its name ("http-web"), as Kubernetes meshes agree.
func protocolOf(p *corev1.ServicePort) Protocol {
	if p.AppProtocol != nil {
		switch strings.ToLower(*p.AppProtocol) {
		case "http", "http1", "kubernetes.io/ws":
			return ProtocolHTTP
		case "http2", "h2c", "kubernetes.io/h2c":
			return ProtocolHTTP2
		case "grpc":
			return ProtocolGRPC
		}
		return ProtocolTCP // what has another name is not HTTP to a proxy
	}
	prefix, _, _ := strings.Cut(p.Name, "-")
	switch prefix {
	case "http", "http1":
		return ProtocolHTTP
	case "http2", "h2c":
		return ProtocolHTTP2
	case "grpc":
		return ProtocolGRPC
	case "tcp", "tls", "https", "mongo", "mysql", "postgres", "redis":
		return ProtocolTCP
	}
	return ProtocolAuto
}

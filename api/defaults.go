package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

// setDefaults writes what a user left out, as the Kubernetes API server would.
func setDefaults(o Object) {
	if info, _ := Info(KindOf(o)); info.Namespaced && o.GetNamespace() == "" {
		o.SetNamespace(defaultNamespace(info.Kind))
	}
	switch o := o.(type) {
	case *corev1.Service:
		defaultService(o)
	case *gateway.HTTPRoute:
		defaultParents(o.Spec.ParentRefs)
		defaultHTTPRules(&o.Spec)
	case *gateway.GRPCRoute:
		defaultParents(o.Spec.ParentRefs)
		defaultGRPCRules(&o.Spec)
	case *gateway.TCPRoute:
		defaultParents(o.Spec.ParentRefs)
		for i := range o.Spec.Rules {
			for j := range o.Spec.Rules[i].BackendRefs {
				defaultBackend(&o.Spec.Rules[i].BackendRefs[j])
			}
		}
	case *v1alpha1.Workload:
		if o.Spec.Weight == nil {
			o.Spec.Weight = new(int32(1))
		}
	case *v1alpha1.Mesh:
		if o.Spec.MTLSMode == "" {
			o.Spec.MTLSMode = v1alpha1.ModeStrict
		}
	case *v1alpha1.PeerAuthentication:
		defaultTargets(o.Spec.TargetRefs)
	case *v1alpha1.AuthorizationPolicy:
		defaultTargets(o.Spec.TargetRefs)
		if o.Spec.Action == "" {
			o.Spec.Action = v1alpha1.ActionAllow
		}
	}
}

func defaultService(s *corev1.Service) {
	if s.Spec.Type == "" {
		s.Spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.Protocol == "" {
			p.Protocol = corev1.ProtocolTCP
		}
		if p.TargetPort == (intstr.IntOrString{}) {
			p.TargetPort = intstr.FromInt32(p.Port)
		}
	}
}

func defaultParents(refs []gateway.ParentReference) {
	for i := range refs {
		if refs[i].Kind == nil {
			refs[i].Kind = new(gateway.Kind("Gateway"))
		}
		if refs[i].Group == nil {
			refs[i].Group = new(gateway.Group(gateway.GroupName))
		}
	}
}

func defaultBackend(b *gateway.BackendRef) {
	if b.Group == nil {
		b.Group = new(gateway.Group(""))
	}
	if b.Kind == nil {
		b.Kind = new(gateway.Kind("Service"))
	}
	if b.Weight == nil {
		b.Weight = new(int32(1))
	}
}

func defaultTargets(refs []v1alpha1.TargetRef) {
	for i := range refs {
		if refs[i].Kind == "" {
			refs[i].Kind = "Service"
		}
	}
}

func defaultHTTPRules(spec *gateway.HTTPRouteSpec) {
	if len(spec.Rules) == 0 {
		spec.Rules = []gateway.HTTPRouteRule{{}}
	}
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		if len(rule.Matches) == 0 {
			rule.Matches = []gateway.HTTPRouteMatch{{}}
		}
		for j := range rule.Matches {
			defaultHTTPMatch(&rule.Matches[j])
		}
		for j := range rule.BackendRefs {
			defaultBackend(&rule.BackendRefs[j].BackendRef)
		}
		for j := range rule.Filters {
			if r := rule.Filters[j].RequestRedirect; r != nil && r.StatusCode == nil {
				r.StatusCode = new(302)
			}
		}
	}
}

func defaultHTTPMatch(m *gateway.HTTPRouteMatch) {
	if m.Path == nil {
		m.Path = &gateway.HTTPPathMatch{}
	}
	if m.Path.Type == nil {
		m.Path.Type = new(gateway.PathMatchPathPrefix)
	}
	if m.Path.Value == nil {
		m.Path.Value = new("/")
	}
	for i := range m.Headers {
		if m.Headers[i].Type == nil {
			m.Headers[i].Type = new(gateway.HeaderMatchExact)
		}
	}
	for i := range m.QueryParams {
		if m.QueryParams[i].Type == nil {
			m.QueryParams[i].Type = new(gateway.QueryParamMatchExact)
		}
	}
}

func defaultGRPCRules(spec *gateway.GRPCRouteSpec) {
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		for j := range rule.Matches {
			if m := rule.Matches[j].Method; m != nil && m.Type == nil {
				m.Type = new(gateway.GRPCMethodMatchExact)
			}
			for k := range rule.Matches[j].Headers {
				if h := &rule.Matches[j].Headers[k]; h.Type == nil {
					h.Type = new(gateway.GRPCHeaderMatchExact)
				}
			}
		}
		for j := range rule.BackendRefs {
			defaultBackend(&rule.BackendRefs[j].BackendRef)
		}
	}
}

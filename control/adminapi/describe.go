package adminapi

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// Describe gives an object and everything that has to do with it.
func (s *Server) Describe(ctx context.Context, r *adminv1.DescribeRequest) (*adminv1.DescribeResponse, error) {
	object, err := s.get(r.GetReference())
	if err != nil {
		return nil, err
	}
	snapshot := s.snapshot(ctx)
	message, err := s.object(snapshot, object)
	if err != nil {
		return nil, failure(err)
	}
	ref := api.RefOf(object)
	answer := &adminv1.DescribeResponse{Object: message, Referrers: referrers(snapshot, ref)}
	for _, p := range snapshot.Problems(ref) {
		answer.Problems = append(answer.Problems, problem(p))
	}
	for _, link := range linksOf(object) {
		answer.References = append(answer.References, &adminv1.Relation{
			Object: reference(link.to), Field: link.field, Missing: snapshot.Object(link.to) == nil,
		})
	}
	switch ref.Kind {
	case api.Service:
		if service := snapshot.Service(ref.Namespace, ref.Name); service != nil {
			answer.Service = serviceView(snapshot, service, s.cfg.Trust().GetDomain())
		}
	case api.Workload:
		if w := snapshot.Workload(ref.Namespace, ref.Name); w != nil {
			for _, name := range w.Services {
				answer.Referrers = append(answer.Referrers, &adminv1.Relation{
					Object: &adminv1.Reference{Kind: string(api.Service), Namespace: ref.Namespace, Name: name}, Field: "spec.selector",
				})
			}
		}
	}
	return answer, nil
}

// link is a field of an object that names another one.
type link struct {
	field string
	to    api.Ref
}

// linksOf returns the links of an object in the order of its fields.
func linksOf(o api.Object) []link {
	switch o := o.(type) {
	case *gateway.HTTPRoute:
		links := parentLinks(o, o.Spec.ParentRefs)
		for i, rule := range o.Spec.Rules {
			for j := range rule.BackendRefs {
				links = append(links, backendLink(o, i, j, &rule.BackendRefs[j].BackendRef))
			}
		}
		return links
	case *gateway.GRPCRoute:
		links := parentLinks(o, o.Spec.ParentRefs)
		for i, rule := range o.Spec.Rules {
			for j := range rule.BackendRefs {
				links = append(links, backendLink(o, i, j, &rule.BackendRefs[j].BackendRef))
			}
		}
		return links
	case *gateway.TCPRoute:
		links := parentLinks(o, o.Spec.ParentRefs)
		for i, rule := range o.Spec.Rules {
			for j := range rule.BackendRefs {
				links = append(links, backendLink(o, i, j, &rule.BackendRefs[j]))
			}
		}
		return links
	case *v1alpha1.PeerAuthentication:
		return targetLinks(o, o.Spec.TargetRefs)
	case *v1alpha1.AuthorizationPolicy:
		return targetLinks(o, o.Spec.TargetRefs)
	}
	return nil
}

func parentLinks(o api.Object, parents []gateway.ParentReference) []link {
	var links []link
	for i, p := range parents {
		links = append(links, link{fmt.Sprintf("spec.parentRefs[%d]", i), serviceRef(o, p.Namespace, p.Name)})
	}
	return links
}

func backendLink(o api.Object, rule, i int, b *gateway.BackendRef) link {
	return link{fmt.Sprintf("spec.rules[%d].backendRefs[%d]", rule, i), serviceRef(o, b.Namespace, b.Name)}
}

func targetLinks(o api.Object, targets []v1alpha1.TargetRef) []link {
	var links []link
	for i, t := range targets {
		links = append(links, link{fmt.Sprintf("spec.targetRefs[%d]", i), serviceRef(o, nil, gateway.ObjectName(t.Name))})
	}
	return links
}

func serviceRef(from api.Object, namespace *gateway.Namespace, name gateway.ObjectName) api.Ref {
	ref := api.Ref{Kind: api.Service, Namespace: from.GetNamespace(), Name: string(name)}
	if namespace != nil {
		ref.Namespace = string(*namespace)
	}
	return ref
}

// referrers finds every object that links to one.
func referrers(snapshot *model.Snapshot, to api.Ref) []*adminv1.Relation {
	var out []*adminv1.Relation
	for _, name := range snapshot.Namespaces() {
		for _, o := range linking(snapshot.Namespace(name)) {
			for _, link := range linksOf(o) {
				if link.to == to {
					out = append(out, &adminv1.Relation{Object: reference(api.RefOf(o)), Field: link.field})
				}
			}
		}
	}
	return out
}

// linking returns the objects of a namespace that can have links, sorted.
func linking(n *model.Namespace) []api.Object {
	var out []api.Object
	for _, route := range n.Routes {
		switch {
		case route.HTTP != nil:
			out = append(out, route.HTTP)
		case route.GRPC != nil:
			out = append(out, route.GRPC)
		case route.TCP != nil:
			out = append(out, route.TCP)
		}
	}
	for _, p := range n.PeerAuthentications {
		out = append(out, p)
	}
	for _, p := range n.AuthorizationPolicies {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b api.Object) int {
		return compareRefs(api.RefOf(a), api.RefOf(b))
	})
	return out
}

func serviceView(snapshot *model.Snapshot, service *model.Service, trustDomain string) *adminv1.ServiceView {
	view := &adminv1.ServiceView{}
	for _, w := range service.Workloads {
		view.Workloads = append(view.Workloads, workloadView(trustDomain, w))
	}
	routes, policies := map[api.Ref]bool{}, map[api.Ref]bool{}
	for _, port := range service.Ports {
		for _, route := range port.Routes() {
			routes[route.Ref] = true
		}
		for _, policy := range port.Policies {
			policies[api.RefOf(policy)] = true
		}
	}
	for _, p := range snapshot.Namespace(service.Namespace).PeerAuthentications {
		if concerns(p, service.Object) {
			policies[api.RefOf(p)] = true
		}
	}
	view.Routes, view.Policies = sortedReferences(routes), sortedReferences(policies)
	return view
}

// concerns reports whether a PeerAuthentication is for a service or all of its
// namespace.
func concerns(p *v1alpha1.PeerAuthentication, service *corev1.Service) bool {
	if len(p.Spec.TargetRefs) == 0 {
		return p.Spec.Selector == nil
	}
	return slices.ContainsFunc(p.Spec.TargetRefs, func(t v1alpha1.TargetRef) bool { return string(t.Name) == service.Name })
}

func workloadView(trustDomain string, w *model.Workload) *adminv1.WorkloadView {
	view := &adminv1.WorkloadView{
		Object:    &adminv1.Reference{Kind: string(api.Workload), Namespace: w.Namespace, Name: w.Name},
		Addresses: []string{w.Object.Spec.Address},
		Healthy:   w.Object.Ready(),
		Reason:    w.Object.Status.Reason,
		Mesh:      w.Object.Spec.MeshPort != 0,
	}
	if id, err := spiffe.Workload(trustDomain, w.Namespace, w.Account); err == nil {
		view.Identity = id.String()
	}
	return view
}

func sortedReferences(set map[api.Ref]bool) []*adminv1.Reference {
	var out []*adminv1.Reference
	for _, ref := range slices.SortedFunc(maps.Keys(set), compareRefs) {
		out = append(out, reference(ref))
	}
	return out
}

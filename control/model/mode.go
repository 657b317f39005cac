package model

import (
	"slices"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

// PeerModeFor returns whether a port of a workload takes mutual TLS. The most
// specific PeerAuthentication wins: by selector, by a Service that selects the
// workload, by namespace, by mesh.
func (s *Snapshot) PeerModeFor(w *Workload, port int32) v1alpha1.Mode {
	n := s.namespaces[w.Namespace]
	if n == nil {
		return s.scope.mode
	}
	peers := n.peers
	for _, p := range peers {
		if p.Spec.Selector != nil && hasLabels(w.Object.Labels, p.Spec.Selector.MatchLabels) {
			return modeOf(p, port)
		}
	}
	for _, p := range peers {
		if slices.ContainsFunc(w.Services, func(name string) bool { return targets(p.Spec.TargetRefs, name) }) {
			return modeOf(p, port)
		}
	}
	return namespaceMode(peers, s.scope, port)
}

// PoliciesOf returns the policies that apply to a workload through any of its
// Services, or to its whole namespace, or to the mesh.
func (s *Snapshot) PoliciesOf(w *Workload) []*v1alpha1.AuthorizationPolicy {
	n := s.namespaces[w.Namespace]
	if n == nil {
		return nil
	}
	out := slices.Clone(s.scope.policies)
	if w.Namespace != v1alpha1.SystemNamespace {
		for _, p := range n.policies {
			if len(p.Spec.TargetRefs) == 0 {
				out = append(out, p)
			}
		}
	}
	for _, p := range n.policies {
		if slices.ContainsFunc(w.Services, func(name string) bool { return targets(p.Spec.TargetRefs, name) }) {
			out = append(out, p)
		}
	}
	return out
}

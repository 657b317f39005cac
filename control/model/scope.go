package model

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// scope is what holds for every namespace.
type scope struct {
	mode     v1alpha1.Mode                   // of the Mesh
	peers    []*v1alpha1.PeerAuthentication  // of leno-system, without a target, best first
	policies []*v1alpha1.AuthorizationPolicy // of leno-system, without a target, by name
}

func scopeFrom(mesh *v1alpha1.Mesh, system map[api.Ref]api.Object) scope {
	s := scope{mode: v1alpha1.ModePermissive}
	if mesh != nil && mesh.Spec.MTLSMode != "" {
		s.mode = mesh.Spec.MTLSMode
	}
	for _, o := range system {
		switch o := o.(type) {
		case *v1alpha1.PeerAuthentication:
			if len(o.Spec.TargetRefs) == 0 && o.Spec.Selector == nil {
				s.peers = append(s.peers, o)
			}
		case *v1alpha1.AuthorizationPolicy:
			if len(o.Spec.TargetRefs) == 0 {
				s.policies = append(s.policies, o)
			}
		}
	}
	slices.SortFunc(s.peers, oldestFirst)
	slices.SortFunc(s.policies, byName)
	return s
}

func (s scope) equal(o scope) bool {
	return s.mode == o.mode && slices.Equal(s.peers, o.peers) && slices.Equal(s.policies, o.policies)
}

// oldestFirst is the Gateway API's order among equals: age, then name.
func oldestFirst[T metav1.Object](a, b T) int {
	at, bt := a.GetCreationTimestamp().Time, b.GetCreationTimestamp().Time
	if c := at.Compare(bt); c != 0 {
		return c
	}
	if c := cmp.Compare(a.GetNamespace(), b.GetNamespace()); c != 0 {
		return c
	}
	return cmp.Compare(a.GetName(), b.GetName())
}

func byName[T metav1.Object](a, b T) int { return cmp.Compare(a.GetName(), b.GetName()) }

// modeOf returns what one policy says about a port; ok is false when it names
// nothing for it.
func modeOf(p *v1alpha1.PeerAuthentication, port int32) v1alpha1.Mode {
	for _, level := range p.Spec.PortLevel {
		if level.Port == port {
			return level.Mode
		}
	}
	return p.Spec.Mode
}

package v1alpha1

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// DeepCopy returns a copy that shares nothing with w.
func (w *Workload) DeepCopy() *Workload {
	c := *w
	w.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Spec.Ports = slices.Clone(w.Spec.Ports)
	c.Spec.Weight = clonePointer(w.Spec.Weight)
	c.Status.Healthy = clonePointer(w.Status.Healthy)
	c.Status.LeaseUntil = w.Status.LeaseUntil.DeepCopy()
	return &c
}

// DeepCopyObject implements runtime.Object.
func (w *Workload) DeepCopyObject() runtime.Object { return w.DeepCopy() }

// DeepCopy returns a copy that shares nothing with m.
func (m *Mesh) DeepCopy() *Mesh {
	c := *m
	m.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Spec.Retries.Attempts = clonePointer(m.Spec.Retries.Attempts)
	return &c
}

// DeepCopyObject implements runtime.Object.
func (m *Mesh) DeepCopyObject() runtime.Object { return m.DeepCopy() }

// DeepCopy returns a copy that shares nothing with p.
func (p *PeerAuthentication) DeepCopy() *PeerAuthentication {
	c := *p
	p.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Spec.TargetRefs = slices.Clone(p.Spec.TargetRefs)
	c.Spec.Selector = p.Spec.Selector.DeepCopy()
	c.Spec.PortLevel = slices.Clone(p.Spec.PortLevel)
	c.Status = p.Status.clone()
	return &c
}

// DeepCopyObject implements runtime.Object.
func (p *PeerAuthentication) DeepCopyObject() runtime.Object { return p.DeepCopy() }

// DeepCopy returns a copy that shares nothing with p.
func (p *AuthorizationPolicy) DeepCopy() *AuthorizationPolicy {
	c := *p
	p.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Spec.TargetRefs = slices.Clone(p.Spec.TargetRefs)
	c.Spec.Rules = cloneEach(p.Spec.Rules, Rule.clone)
	c.Status = p.Status.clone()
	return &c
}

// DeepCopyObject implements runtime.Object.
func (p *AuthorizationPolicy) DeepCopyObject() runtime.Object { return p.DeepCopy() }

func (r Rule) clone() Rule {
	return Rule{From: cloneEach(r.From, Source.clone), To: cloneEach(r.To, Operation.clone)}
}

func (s Source) clone() Source {
	return Source{
		Identities: slices.Clone(s.Identities),
		Namespaces: slices.Clone(s.Namespaces),
		Accounts:   slices.Clone(s.Accounts),
	}
}

func (o Operation) clone() Operation {
	return Operation{Ports: slices.Clone(o.Ports), Methods: slices.Clone(o.Methods), Paths: slices.Clone(o.Paths)}
}

func (s PolicyStatus) clone() PolicyStatus {
	return PolicyStatus{Conditions: cloneEach(s.Conditions, func(c metav1.Condition) metav1.Condition { return *c.DeepCopy() })}
}

func cloneEach[T any](list []T, clone func(T) T) []T {
	if list == nil {
		return nil
	}
	out := make([]T, len(list))
	for i, v := range list {
		out[i] = clone(v)
	}
	return out
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

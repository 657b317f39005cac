package model

import (
	"maps"

	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// Edit collects changes to a snapshot. It belongs to one goroutine.
type Edit struct {
	base    *Snapshot
	mesh    *v1alpha1.Mesh
	touched map[string]map[api.Ref]api.Object // by namespace: all its objects
}

// Edit begins a change. The snapshot itself never changes.
func (s *Snapshot) Edit() *Edit {
	return &Edit{base: s, mesh: s.Mesh, touched: make(map[string]map[api.Ref]api.Object)}
}

// Apply puts or deletes an object. The object must not be changed afterwards.
func (e *Edit) Apply(c api.Change) {
	home := homeOf(c.Ref)
	old := e.objects(home)[c.Ref]
	switch {
	case c.Object == nil && old == nil:
		return
	case c.Object == nil:
		delete(e.touch(home), c.Ref)
	case old != nil && same(old, c.Object):
		return
	default:
		e.touch(home)[c.Ref] = c.Object
	}
	if c.Ref == meshRef {
		e.mesh, _ = c.Object.(*v1alpha1.Mesh)
	}
}

// meshRef names the only Mesh that counts; it is never written.
var meshRef = api.Ref{Kind: api.Mesh, Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.MeshName}

func (e *Edit) objects(namespace string) map[api.Ref]api.Object {
	if objects, ok := e.touched[namespace]; ok {
		return objects
	}
	if n := e.base.namespaces[namespace]; n != nil {
		return n.objects
	}
	return nil
}

func (e *Edit) touch(namespace string) map[api.Ref]api.Object {
	objects, ok := e.touched[namespace]
	if !ok {
		objects = maps.Clone(e.objects(namespace))
		if objects == nil {
			objects = make(map[api.Ref]api.Object)
		}
		e.touched[namespace] = objects
	}
	return objects
}

// same reports that two objects of one name say the same. Equal resource
// versions decide quickly; a re-listing brings many of them.
func same(a, b api.Object) bool {
	if a == b {
		return true
	}
	return a.GetResourceVersion() == b.GetResourceVersion() && equality.Semantic.DeepEqual(a, b)
}

// Commit derives the new snapshot. Without any effective change it returns the
// old one with the new revision.
func (e *Edit) Commit(rev uint64) *Snapshot {
	next := &Snapshot{Rev: rev, Mesh: e.mesh, namespaces: e.base.namespaces, scope: e.base.scope}
	if len(e.touched) == 0 {
		return next
	}
	next.namespaces = maps.Clone(e.base.namespaces)
	if next.namespaces == nil {
		next.namespaces = make(map[string]*Namespace)
	}
	// What holds for the whole mesh is derived first, since every namespace reads it.
	next.scope = scopeFrom(e.mesh, e.objects(v1alpha1.SystemNamespace))
	derive := e.touched
	if !next.scope.equal(e.base.scope) {
		derive = e.everything()
	}
	for name, objects := range derive {
		if len(objects) == 0 {
			delete(next.namespaces, name)
			continue
		}
		next.namespaces[name] = deriveNamespace(name, objects, e.base.namespaces[name], next.scope)
	}
	return next
}

func (e *Edit) everything() map[string]map[api.Ref]api.Object {
	all := maps.Clone(e.touched)
	for name, n := range e.base.namespaces {
		if _, ok := all[name]; !ok {
			all[name] = n.objects
		}
	}
	return all
}

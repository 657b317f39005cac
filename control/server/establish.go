package server

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/store"
)

// trustDomain is the one of the stored mesh; of a new one it is as wanted.
func trustDomain(s store.Store, wanted string) (string, error) {
	mesh, err := storedMesh(s)
	switch {
	case err != nil:
		return "", err
	case mesh == nil:
		return wanted, nil
	case wanted != "" && wanted != mesh.Spec.TrustDomain:
		return "", fmt.Errorf("the mesh in this data directory has the trust domain %s, not %s, and cannot change it", mesh.Spec.TrustDomain, wanted)
	}
	return mesh.Spec.TrustDomain, nil
}

func storedMesh(s store.Store) (*v1alpha1.Mesh, error) {
	o, err := s.Get(api.Ref{Kind: api.Mesh, Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.MeshName})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the mesh's settings: %w", err)
	}
	mesh, ok := o.(*v1alpha1.Mesh)
	if !ok {
		return nil, fmt.Errorf("read the mesh's settings: they are a %T", o)
	}
	return mesh, nil
}

// establish writes what every mesh has into a store that holds none: two
// namespaces, and strict mutual TLS from the start.
func establish(s store.Store, domain string) error {
	mesh, err := storedMesh(s)
	if err != nil || mesh != nil {
		return err
	}
	mesh = &v1alpha1.Mesh{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.APIVersion, Kind: "Mesh"},
		ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: v1alpha1.MeshName},
		Spec:       v1alpha1.MeshSpec{TrustDomain: domain, MTLSMode: v1alpha1.ModeStrict},
	}
	_, err = s.Transaction([]store.Op{
		store.Overwrite(namespace("default")), store.Overwrite(namespace(v1alpha1.SystemNamespace)), store.Overwrite(mesh),
	})
	if err != nil {
		return fmt.Errorf("write the mesh's settings: %w", err)
	}
	return nil
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}
}

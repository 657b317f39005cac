// Package v1alpha1 holds Leno's own kinds, group mesh.leno.dev. They stand
// beside the core/v1 and Gateway API kinds, which Leno uses as they are.
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	Group      = "mesh.leno.dev"
	Version    = "v1alpha1"
	APIVersion = Group + "/" + Version

	// SystemNamespace holds what is true for the whole mesh.
	SystemNamespace = "leno-system"
	// MeshName is the name of the only Mesh, in SystemNamespace.
	MeshName = "default"
)

// Mode says whether a port takes mutual TLS.
type Mode string

const (
	ModeStrict     Mode = "STRICT"     // mutual TLS only
	ModePermissive Mode = "PERMISSIVE" // mutual TLS and plaintext
	ModeDisable    Mode = "DISABLE"    // plaintext only
)

// PolicyStatus is the status of every policy kind.
type PolicyStatus struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// TargetRef names the object that a policy applies to, in the policy's own
// namespace. Group "" and kind Service are the defaults.
type TargetRef = gateway.LocalPolicyTargetReference

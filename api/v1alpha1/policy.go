package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PeerAuthentication says whether workloads take mutual TLS. The most specific
// one wins: selector, then targetRefs, then the namespace, then leno-system,
// then the Mesh. Among equals the oldest wins, then the first by name.
type PeerAuthentication struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   PeerAuthenticationSpec `json:"spec"`
	Status PolicyStatus           `json:"status,omitempty"`
}

type PeerAuthenticationSpec struct {
	// TargetRefs names Services; Selector selects workloads by label. At most
	// one of them is set. With neither the policy is for the whole namespace.
	TargetRefs []TargetRef           `json:"targetRefs,omitempty"`
	Selector   *metav1.LabelSelector `json:"selector,omitempty"`
	Mode       Mode                  `json:"mode"`
	PortLevel  []PortMode            `json:"portLevel,omitempty"`
}

// PortMode is the mode of one port of the workload.
type PortMode struct {
	Port int32 `json:"port"`
	Mode Mode  `json:"mode"`
}

// Action is what an AuthorizationPolicy does with a request that matches.
type Action string

const (
	ActionAllow Action = "ALLOW"
	ActionDeny  Action = "DENY"
	ActionAudit Action = "AUDIT"
)

// AuthorizationPolicy allows, denies or audits requests at the server. A DENY
// that matches refuses. Where any ALLOW applies, only what one of them matches
// passes. Where none applies everything passes.
type AuthorizationPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AuthorizationPolicySpec `json:"spec"`
	Status PolicyStatus            `json:"status,omitempty"`
}

type AuthorizationPolicySpec struct {
	// TargetRefs names Services; without them the policy is for the whole
	// namespace, and in leno-system for the whole mesh.
	TargetRefs []TargetRef `json:"targetRefs,omitempty"`
	// Action defaults to ALLOW.
	Action Action `json:"action,omitempty"`
	// Rules: a request matches when one rule does. No rules match nothing, so
	// an ALLOW without rules refuses everything.
	Rules []Rule `json:"rules,omitempty"`
}

// Rule matches when one of From (if there is any) and one of To (if there is
// any) match. The empty rule matches every request.
type Rule struct {
	From []Source    `json:"from,omitempty"`
	To   []Operation `json:"to,omitempty"`
}

// Source matches when each list that is not empty holds the peer.
type Source struct {
	// Identities are SPIFFE IDs, or "*" for any peer that has one.
	Identities []string `json:"identities,omitempty"`
	Namespaces []string `json:"namespaces,omitempty"`
	// Accounts are NAMESPACE/ACCOUNT in the mesh's own trust domain.
	Accounts []string `json:"accounts,omitempty"`
}

// Operation matches when each list that is not empty holds the request's value.
type Operation struct {
	// Ports are the Service's ports.
	Ports   []int32  `json:"ports,omitempty"`
	Methods []string `json:"methods,omitempty"`
	// Paths are exact, or prefixes when they end in "*".
	Paths []string `json:"paths,omitempty"`
}

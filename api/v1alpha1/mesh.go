package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// Mesh holds the defaults of the whole mesh. There is one, named "default", in
// the namespace leno-system.
type Mesh struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec MeshSpec `json:"spec"`
}

type MeshSpec struct {
	// TrustDomain never changes once it is set.
	TrustDomain string `json:"trustDomain"`
	// MTLSMode applies where no PeerAuthentication does; the default is STRICT.
	MTLSMode Mode         `json:"mtlsMode,omitempty"`
	Timeouts MeshTimeouts `json:"timeouts,omitempty"`
	Retries  MeshRetries  `json:"retries,omitempty"`
}

// MeshTimeouts apply where a route sets none. Absent and "0s" mean no limit for
// Request, and the proxy's own default for Connect.
type MeshTimeouts struct {
	Connect gateway.Duration `json:"connect,omitempty"`
	Request gateway.Duration `json:"request,omitempty"`
}

// MeshRetries apply where a route sets none.
type MeshRetries struct {
	// Attempts counts retries, not the first try; absent means the proxy's own default.
	Attempts *int32 `json:"attempts,omitempty"`
}

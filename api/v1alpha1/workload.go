package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

const (
	// ServiceLabel is on a Workload that a proxy has registered for a Service,
	// and names that. The server sets it; a proxy cannot.
	ServiceLabel = "leno.dev/service"
	// AccountAnnotation says, on a Service, whose workloads it may select and who
	// may register for it, when that is not the account of the Service's name.
	AccountAnnotation = "leno.dev/account"
)

// Workload is one running instance of an application: what a Pod is on
// Kubernetes. Services of its namespace select it by its labels.
type Workload struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   WorkloadSpec   `json:"spec"`
	Status WorkloadStatus `json:"status,omitempty"`
}

type WorkloadSpec struct {
	// Account is the last part of the identity spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT.
	// The default is the name of the first Service, by name, that selects the workload.
	Account string `json:"account,omitempty"`
	// Address is an IP address.
	Address string `json:"address"`
	// MeshPort takes mutual TLS from other proxies; 0 when no proxy serves the workload.
	MeshPort int32          `json:"meshPort,omitempty"`
	Ports    []WorkloadPort `json:"ports,omitempty"`
	Locality Locality       `json:"locality,omitempty"`
	Cluster  string         `json:"cluster,omitempty"`
	// Network names the set of workloads that reach each other directly.
	Network string `json:"network,omitempty"`
	// Weight is the share of traffic relative to other workloads; the default is 1.
	Weight *int32 `json:"weight,omitempty"`
}

// WorkloadPort is a port of the application.
type WorkloadPort struct {
	Name string `json:"name,omitempty"`
	Port int32  `json:"port"`
	// PlaintextPort is where plaintext for Port arrives when that is not Port
	// itself: the proxy's own listener.
	PlaintextPort int32 `json:"plaintextPort,omitempty"`
}

// Locality says where a workload runs, from the largest part to the smallest.
type Locality struct {
	Region  string `json:"region,omitempty"`
	Zone    string `json:"zone,omitempty"`
	Subzone string `json:"subzone,omitempty"`
}

// WorkloadStatus is reported by the workload's proxy. A workload that nobody
// reports on has the zero status and counts as ready.
type WorkloadStatus struct {
	Healthy *bool  `json:"healthy,omitempty"`
	Reason  string `json:"reason,omitempty"`
	// Bypassable says that clients may send plaintext past the proxy.
	Bypassable bool   `json:"bypassable,omitempty"`
	Draining   bool   `json:"draining,omitempty"`
	Proxy      string `json:"proxy,omitempty"`
	Version    string `json:"version,omitempty"`
	// LeaseUntil is set while the proxy is lost: then the workload is removed.
	LeaseUntil *metav1.Time `json:"leaseUntil,omitempty"`
}

// Registered reports whether the workload's proxy wrote it, not a user.
func (w *Workload) Registered() bool { return w.Status.Proxy != "" }

// Ready reports whether the workload is known to take new requests. While its
// proxy is lost it is not, but callers keep it and see for themselves: it is the
// server that may be cut off.
func (w *Workload) Ready() bool {
	return !w.Status.Draining && w.Status.LeaseUntil == nil && (w.Status.Healthy == nil || *w.Status.Healthy)
}

// Share returns the weight with its default.
func (w *Workload) Share() int32 {
	if w.Spec.Weight == nil {
		return 1
	}
	return *w.Spec.Weight
}

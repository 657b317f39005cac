// Package model is the vocabulary of the control plane: one consistent,
// immutable state of the mesh with every relation between its objects resolved.
//
// Everything reachable from a Snapshot is immutable, so a pointer is also a
// version: what did not change between two snapshots is the same pointer in
// both. A change copies the namespace that it touches and nothing else. Derived
// values (Service, Port, Route, Workload) are reused while all they are made of
// is the same.
package model

import (
	corev1 "k8s.io/api/core/v1"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// Key names a Service or a Workload.
type Key struct{ Namespace, Name string }

// String returns NAMESPACE/NAME.
func (k Key) String() string { return k.Namespace + "/" + k.Name }

// Snapshot is one consistent state of the mesh.
type Snapshot struct {
	// Rev is the store revision up to which changes are included.
	Rev uint64
	// Mesh is nil until the mesh has been given its defaults.
	Mesh *v1alpha1.Mesh

	namespaces map[string]*Namespace
	scope      scope
}

// Namespace is the unit of copying. Its maps are keyed by object name.
type Namespace struct {
	Name                  string
	Object                *corev1.Namespace // nil when only its contents are known
	Services              map[string]*Service
	Workloads             map[string]*Workload
	Routes                map[api.Ref]*Route
	PeerAuthentications   map[string]*v1alpha1.PeerAuthentication
	AuthorizationPolicies map[string]*v1alpha1.AuthorizationPolicy

	objects  map[api.Ref]api.Object
	problems map[api.Ref][]Problem
	peers    []*v1alpha1.PeerAuthentication  // oldest first
	policies []*v1alpha1.AuthorizationPolicy // by name
}

// Service is a Service with what it selects and what is attached to it.
type Service struct {
	Key
	Object    *corev1.Service
	Ports     []*Port     // in the object's order; UDP and SCTP ports are left out
	Workloads []*Workload // selected, sorted by name
}

// Port is a port of a Service with all that decides how requests to it are
// treated. It does not depend on workloads, so their coming and going leaves
// its pointer alone.
type Port struct {
	Service    Key
	Name       string
	Number     int32
	TargetPort int32  // of the workload; 0 when TargetName says it
	TargetName string // name of the workload's port
	Sole       bool   // the Service has no other port
	Protocol   Protocol

	// At most one of the three kinds is attached to a port: gRPC before HTTP
	// before TCP, as GAMMA orders them. Each list is oldest first, then by name.
	HTTPRoutes []*Route
	GRPCRoutes []*Route
	TCPRoutes  []*Route

	PeerMode v1alpha1.Mode
	// Policies apply to requests to this port: the mesh's, the namespace's and
	// the Service's own, each sorted by name.
	Policies []*v1alpha1.AuthorizationPolicy
}

// Protocol is what a port speaks.
type Protocol string

const (
	ProtocolAuto  Protocol = "auto" // detected by the proxy
	ProtocolHTTP  Protocol = "http"
	ProtocolHTTP2 Protocol = "http2"
	ProtocolGRPC  Protocol = "grpc"
	ProtocolTCP   Protocol = "tcp"
)

// Workload is a Workload with its identity and the Services that select it.
type Workload struct {
	Key
	Object   *v1alpha1.Workload
	Account  string   // given, or the first service's name, or "default"
	Services []string // names in the same namespace, sorted
}

// Route is a route of any kind with its backends resolved.
type Route struct {
	Ref api.Ref

	// Exactly one of these is set, by Ref.Kind.
	HTTP *gateway.HTTPRoute
	GRPC *gateway.GRPCRoute
	TCP  *gateway.TCPRoute

	// Backends is parallel to spec.rules and, in it, to backendRefs.
	Backends [][]Backend
	// Parents are the Service ports that the route is attached to.
	Parents []Parent
}

// Parent is a Service, or one port of it when Port is not 0.
type Parent struct {
	Service Key
	Port    int32
}

// Backend is a resolved backendRef.
type Backend struct {
	Service Key
	Port    int32
	Weight  int32
	// Reason is "" when the backend exists, else the Gateway API reason of the
	// ResolvedRefs condition. Requests for a broken backend are answered 500.
	Reason string
}

// Severity says what an apply does about a problem.
type Severity int

const (
	Warning Severity = iota // printed
	Error                   // refused
)

// Problem is what is wrong with one object, given all the others.
type Problem struct {
	Severity Severity
	Ref      api.Ref
	Path     string // field, such as spec.rules[0].backendRefs[1]; may be empty
	Reason   string // CamelCase, for a condition
	Message  string // one sentence
}

// String returns REF: PATH: MESSAGE.
func (p Problem) String() string {
	if p.Path == "" {
		return p.Ref.String() + ": " + p.Message
	}
	return p.Ref.String() + ": " + p.Path + ": " + p.Message
}

// Package api is the contract with Leno's users: which kinds there are, how they
// are read from files, checked on their own, and printed. Checks that need to
// see other objects are in control/model.
package api

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

// Object is any object of the API: a pointer to a struct of one of the Kinds.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind names a kind, such as "HTTPRoute". Names are unique over all groups.
type Kind string

const (
	Namespace           Kind = "Namespace"
	Service             Kind = "Service"
	HTTPRoute           Kind = "HTTPRoute"
	GRPCRoute           Kind = "GRPCRoute"
	TCPRoute            Kind = "TCPRoute"
	Workload            Kind = "Workload"
	Mesh                Kind = "Mesh"
	PeerAuthentication  Kind = "PeerAuthentication"
	AuthorizationPolicy Kind = "AuthorizationPolicy"
)

// Ref names one object of the mesh.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

// String returns KIND/NAMESPACE/NAME, or KIND/NAME without a namespace.
func (r Ref) String() string {
	if r.Namespace == "" {
		return string(r.Kind) + "/" + r.Name
	}
	return string(r.Kind) + "/" + r.Namespace + "/" + r.Name
}

// RefOf returns the name of an object, whether or not its TypeMeta is set.
func RefOf(o Object) Ref {
	return Ref{Kind: KindOf(o), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// KindInfo describes a kind to the decoder and to the command line.
type KindInfo struct {
	Kind       Kind
	APIVersion string
	Plural     string   // lower case, as in URLs
	Short      []string // shorter names for the command line
	Namespaced bool
	New        func() Object
}

// Kinds lists every kind, in the order in which an apply creates them.
func Kinds() []KindInfo { return kinds[:] }

const gatewayVersion = "gateway.networking.k8s.io/v1"

var kinds = [...]KindInfo{
	{Namespace, "v1", "namespaces", []string{"ns"}, false, func() Object { return &corev1.Namespace{} }},
	{Mesh, v1alpha1.APIVersion, "meshes", nil, true, func() Object { return &v1alpha1.Mesh{} }},
	{Service, "v1", "services", []string{"svc"}, true, func() Object { return &corev1.Service{} }},
	{Workload, v1alpha1.APIVersion, "workloads", []string{"wl"}, true, func() Object { return &v1alpha1.Workload{} }},
	{HTTPRoute, gatewayVersion, "httproutes", []string{"hr"}, true, func() Object { return &gateway.HTTPRoute{} }},
	{GRPCRoute, gatewayVersion, "grpcroutes", []string{"gr"}, true, func() Object { return &gateway.GRPCRoute{} }},
	{TCPRoute, gatewayVersion, "tcproutes", []string{"tr"}, true, func() Object { return &gateway.TCPRoute{} }},
	{PeerAuthentication, v1alpha1.APIVersion, "peerauthentications", []string{"pa"}, true, func() Object { return &v1alpha1.PeerAuthentication{} }},
	{AuthorizationPolicy, v1alpha1.APIVersion, "authorizationpolicies", []string{"ap"}, true, func() Object { return &v1alpha1.AuthorizationPolicy{} }},
}

// KindOf returns the kind of an object by its Go type.
func KindOf(o Object) Kind {
	switch o.(type) {
	case *corev1.Namespace:
		return Namespace
	case *corev1.Service:
		return Service
	case *gateway.HTTPRoute:
		return HTTPRoute
	case *gateway.GRPCRoute:
		return GRPCRoute
	case *gateway.TCPRoute:
		return TCPRoute
	case *v1alpha1.Workload:
		return Workload
	case *v1alpha1.Mesh:
		return Mesh
	case *v1alpha1.PeerAuthentication:
		return PeerAuthentication
	case *v1alpha1.AuthorizationPolicy:
		return AuthorizationPolicy
	}
	return ""
}

// Info returns the description of a kind.
func Info(k Kind) (KindInfo, bool) {
	for _, info := range kinds {
		if info.Kind == k {
			return info, true
		}
	}
	return KindInfo{}, false
}

// Lookup finds a kind by what a user typed: its name, plural or short name, in
// any case.
func Lookup(name string) (KindInfo, bool) {
	name = strings.ToLower(name)
	for _, info := range kinds {
		if name == strings.ToLower(string(info.Kind)) || name == info.Plural {
			return info, true
		}
		for _, short := range info.Short {
			if name == short {
				return info, true
			}
		}
	}
	return KindInfo{}, false
}

// Change is one object put, or one deleted when Object is nil. Ref is always set.
type Change struct {
	Ref    Ref
	Object Object
}

// Put returns the change that writes an object.
func Put(o Object) Change { return Change{Ref: RefOf(o), Object: o} }

// Delete returns the change that removes an object.
func Delete(ref Ref) Change { return Change{Ref: ref} }

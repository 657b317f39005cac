// Package xds is the xDS transport protocol as pure state machines: Session for
// the server's side of a stream, Subscriptions for the client's. Neither does
// I/O, starts goroutines, reads a clock or looks into a resource. Both speak
// the delta (incremental) variant; Session also speaks state of the world.
//
// The protocol is described in Envoy's "xDS REST and gRPC protocol"; where the
// comments say "the protocol", they mean that page.
package xds

// Type URLs of the resources that depend on each other. Any other type works
// too and is delivered before these.
const (
	ClusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	ListenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// Wildcard subscribes to every resource of a type.
const Wildcard = "*"

// Resource is one encoded resource. It must not be changed once it was given
// to a machine, so it can be shared by all streams.
type Resource struct {
	Name    string
	Version string // never empty; equal versions mean equal bodies
	TypeURL string
	Body    []byte // the value of the protobuf Any
}

// DeltaRequest is envoy.service.discovery.v3.DeltaDiscoveryRequest without its
// node.
type DeltaRequest struct {
	TypeURL         string
	Subscribe       []string
	Unsubscribe     []string
	InitialVersions map[string]string // name to version; only in the first request of a type
	Nonce           string            // of the response that this request answers, or empty
	Error           string            // why that response was refused; empty accepts it
}

// DeltaResponse is envoy.service.discovery.v3.DeltaDiscoveryResponse.
type DeltaResponse struct {
	TypeURL   string
	Nonce     string
	Resources []Resource
	Removed   []string
}

// SotWRequest is envoy.service.discovery.v3.DiscoveryRequest without its node.
type SotWRequest struct {
	TypeURL string
	Version string // last accepted
	Names   []string
	Nonce   string
	Error   string
}

// SotWResponse is envoy.service.discovery.v3.DiscoveryResponse.
type SotWResponse struct {
	TypeURL   string
	Version   string
	Nonce     string
	Resources []Resource
}

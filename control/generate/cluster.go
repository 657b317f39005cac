package generate

import (
	"fmt"
	"slices"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	leastrequest "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	roundrobin "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	upstream "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/leno-mesh/leno/control/model"
)

const (
	peakEWMA            = "type.googleapis.com/envoy.extensions.load_balancing_policies.peak_ewma.v3alpha.PeakEwma"
	httpProtocolOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	tlsSocket           = "envoy.transport_sockets.tls"
	ownCertificate      = "default" // names of secrets that each proxy knows by itself
	trustBundle         = "ROOTCA"
)

// clusterInput is all that a Cluster depends on.
type clusterInput struct {
	port     portKey
	protocol model.Protocol
	meshed   bool          // mutual TLS to the workloads' mesh ports
	peers    *list[string] // SPIFFE IDs of the workloads, sorted
	connect  time.Duration
}

func makeCluster(in clusterInput) result {
	var e encoder
	c := &cluster.Cluster{
		Name:                 in.port.String(),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig:     &cluster.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:       duration(in.connect),
		LoadBalancingPolicy:  e.balancing(),
	}
	if in.meshed {
		c.TransportSocket = e.upstreamTLS(in)
		e.speak(c, model.ProtocolHTTP2)
	} else {
		e.speak(c, in.protocol)
	}
	return e.resource(c.Name, c)
}

// balancing lists what to try in order: a client takes the first that it knows.
func (e *encoder) balancing() *cluster.LoadBalancingPolicy {
	policy := func(name string, config *anypb.Any) *cluster.LoadBalancingPolicy_Policy {
		return &cluster.LoadBalancingPolicy_Policy{TypedExtensionConfig: &core.TypedExtensionConfig{Name: name, TypedConfig: config}}
	}
	return &cluster.LoadBalancingPolicy{Policies: []*cluster.LoadBalancingPolicy_Policy{
		policy("envoy.load_balancing_policies.peak_ewma", &anypb.Any{TypeUrl: peakEWMA}),
		policy("envoy.load_balancing_policies.least_request", e.any(&leastrequest.LeastRequest{})),
		policy("envoy.load_balancing_policies.round_robin", e.any(&roundrobin.RoundRobin{})),
	}}
}

// speak sets the HTTP version towards endpoints; none for TCP.
func (e *encoder) speak(c *cluster.Cluster, p model.Protocol) {
	explicit := &upstream.HttpProtocolOptions_ExplicitHttpConfig{}
	switch p {
	case model.ProtocolHTTP2, model.ProtocolGRPC:
		explicit.ProtocolConfig = &upstream.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &core.Http2ProtocolOptions{}}
	case model.ProtocolHTTP:
		explicit.ProtocolConfig = &upstream.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &core.Http1ProtocolOptions{}}
	default:
		return
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpProtocolOptions: e.any(&upstream.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstream.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: explicit},
	})}
}

func (e *encoder) upstreamTLS(in clusterInput) *core.TransportSocket {
	var names []*tls.SubjectAltNameMatcher
	for id := range in.peers.all {
		names = append(names, exactURI(id))
	}
	if len(names) == 0 {
		// An empty list would take anybody. No authority is for this trust domain.
		names = append(names, exactURI("spiffe://nobody.invalid/nobody"))
	}
	common := e.commonTLS([]string{"h2"})
	common.ValidationContextType = &tls.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tls.CertificateValidationContext{MatchTypedSubjectAltNames: names},
			ValidationContextSdsSecretConfig: &tls.SdsSecretConfig{Name: trustBundle},
		},
	}
	return e.socket(&tls.UpstreamTlsContext{CommonTlsContext: common, Sni: in.port.sni()})
}

func exactURI(uri string) *tls.SubjectAltNameMatcher {
	return &tls.SubjectAltNameMatcher{
		SanType: tls.SubjectAltNameMatcher_URI,
		Matcher: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: uri}},
	}
}

// endpointFact is what a ClusterLoadAssignment says of one workload.
type endpointFact struct {
	workload string
	version  string // the label "version"
	address  string
	port     uint32
	weight   uint32
	region   string
	zone     string
	subzone  string
	health   core.HealthStatus
}

type endpointsInput struct {
	port      portKey
	endpoints *list[endpointFact]
}

func makeEndpoints(in endpointsInput) result {
	var e encoder
	assignment := &endpoint.ClusterLoadAssignment{ClusterName: in.port.String()}
	for f := range in.endpoints.all {
		where := &core.Locality{Region: f.region, Zone: f.zone, SubZone: f.subzone}
		i := slices.IndexFunc(assignment.Endpoints, func(l *endpoint.LocalityLbEndpoints) bool {
			return l.Locality.Region == where.Region && l.Locality.Zone == where.Zone && l.Locality.SubZone == where.SubZone
		})
		if i < 0 {
			i = len(assignment.Endpoints)
			assignment.Endpoints = append(assignment.Endpoints, &endpoint.LocalityLbEndpoints{Locality: where, LoadBalancingWeight: number(0)})
		}
		group := assignment.Endpoints[i]
		group.LoadBalancingWeight.Value += f.weight
		group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(f))
	}
	return e.resource(assignment.ClusterName, assignment)
}

func lbEndpoint(f endpointFact) *endpoint.LbEndpoint {
	facts := map[string]*structpb.Value{"workload": structpb.NewStringValue(f.workload)}
	if f.version != "" {
		facts["version"] = structpb.NewStringValue(f.version)
	}
	return &endpoint.LbEndpoint{
		HostIdentifier:      &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: socketAddress(f.address, f.port)}},
		HealthStatus:        f.health,
		LoadBalancingWeight: number(f.weight),
		Metadata:            &core.Metadata{FilterMetadata: map[string]*structpb.Struct{"leno": {Fields: facts}}},
	}
}

// localInput names an application's own port.
type localInput struct {
	protocol model.Protocol
	port     uint32
}

func (in localInput) String() string { return fmt.Sprintf("local/%s/%d", in.protocol, in.port) }

func makeLocal(in localInput) result {
	var e encoder
	c := &cluster.Cluster{
		Name:                 in.String(),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		ConnectTimeout:       duration(defaultConnect),
		LoadAssignment: &endpoint.ClusterLoadAssignment{
			ClusterName: in.String(),
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
				HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: socketAddress("127.0.0.1", in.port)}},
			}}}},
		},
	}
	e.speak(c, in.protocol)
	return e.resource(c.Name, c)
}

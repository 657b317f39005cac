package generate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/leno-mesh/leno/control/model"
)

const (
	httpManager   = "envoy.filters.network.http_connection_manager"
	tcpFilter     = "envoy.filters.network.tcp_proxy"
	routerFilter  = "envoy.filters.http.router"
	httpInspector = "envoy.filters.listener.http_inspector"
	tlsInspector  = "envoy.filters.listener.tls_inspector"
)

// share is a cluster's part of the connections of a TCP port.
type share struct {
	cluster string
	weight  uint32
}

// listenerInput is all that an outbound Listener depends on. What becomes of
// HTTP requests is in the RouteConfiguration.
type listenerInput struct {
	port     portKey
	protocol model.Protocol
	shares   *list[share] // of a TCP port; empty: connections are closed
	tunnel   string       // CONNECT authority, when the clusters are meshed
}

func makeListener(in listenerInput) result {
	var e encoder
	l := &listener.Listener{
		Name:       in.port.listener(),
		Address:    socketAddress("0.0.0.0", in.port.number),
		BindToPort: wrapperspb.Bool(false),
	}
	switch in.protocol {
	case model.ProtocolTCP:
		if in.shares != nil {
			l.FilterChains = []*listener.FilterChain{{Filters: e.tcp(in)}}
		}
	case model.ProtocolAuto:
		l.ListenerFilters = []*listener.ListenerFilter{e.inspector(httpInspector, &httpinspector.HttpInspector{})}
		l.FilterChains = []*listener.FilterChain{{
			FilterChainMatch: &listener.FilterChainMatch{ApplicationProtocols: []string{"http/1.0", "http/1.1", "h2c"}},
			Filters:          []*listener.Filter{e.filter(httpManager, e.outboundHTTP(in.port))},
		}}
		l.DefaultFilterChain = &listener.FilterChain{Filters: e.tcp(in)}
	default:
		l.ApiListener = &listener.ApiListener{ApiListener: e.any(e.outboundHTTP(in.port))}
	}
	return e.resource(l.Name, l)
}

func (e *encoder) filter(name string, config proto.Message) *listener.Filter {
	return &listener.Filter{Name: name, ConfigType: &listener.Filter_TypedConfig{TypedConfig: e.any(config)}}
}

func (e *encoder) inspector(name string, config proto.Message) *listener.ListenerFilter {
	return &listener.ListenerFilter{Name: name, ConfigType: &listener.ListenerFilter_TypedConfig{TypedConfig: e.any(config)}}
}

func (e *encoder) httpFilter(name string, config proto.Message) *hcm.HttpFilter {
	return &hcm.HttpFilter{Name: name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: e.any(config)}}
}

func (e *encoder) outboundHTTP(port portKey) *hcm.HttpConnectionManager {
	return &hcm.HttpConnectionManager{
		StatPrefix: port.String(),
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{
			ConfigSource: ads(), RouteConfigName: port.String(),
		}},
		HttpFilters:    []*hcm.HttpFilter{e.httpFilter(routerFilter, &router.Router{})},
		UpgradeConfigs: []*hcm.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		// Routes see the path that the server's rules and application will see.
		NormalizePath:                yes(),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: hcm.HttpConnectionManager_REJECT_REQUEST,
	}
}

// connectAttempts is how many endpoints a connection is offered, as long as none
// has taken it: one whose program has just died is still listed for a moment.
const connectAttempts = 3

// tcp relays a connection, through a CONNECT tunnel where the clusters are
// meshed.
func (e *encoder) tcp(in listenerInput) []*listener.Filter {
	p := &tcpproxy.TcpProxy{StatPrefix: in.port.String(), MaxConnectAttempts: number(connectAttempts)}
	if in.shares.tail == nil {
		p.ClusterSpecifier = &tcpproxy.TcpProxy_Cluster{Cluster: in.shares.head.cluster}
	} else {
		weighted := &tcpproxy.TcpProxy_WeightedCluster{}
		for s := range in.shares.all {
			weighted.Clusters = append(weighted.Clusters, &tcpproxy.TcpProxy_WeightedCluster_ClusterWeight{Name: s.cluster, Weight: s.weight})
		}
		p.ClusterSpecifier = &tcpproxy.TcpProxy_WeightedClusters{WeightedClusters: weighted}
	}
	if in.tunnel != "" {
		p.TunnelingConfig = &tcpproxy.TcpProxy_TunnelingConfig{Hostname: in.tunnel}
	}
	return []*listener.Filter{e.filter(tcpFilter, p)}
}

// relay sends a connection to one cluster as it is.
func (e *encoder) relay(cluster string) *listener.Filter {
	return e.filter(tcpFilter, &tcpproxy.TcpProxy{StatPrefix: cluster, ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: cluster}})
}

// inboundHTTP serves one application port after the access rules.
func (e *encoder) inboundHTTP(name string, filters []*hcm.HttpFilter, routes []*route.Route) *hcm.HttpConnectionManager {
	return &hcm.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcm.HttpConnectionManager_RouteConfig{RouteConfig: &route.RouteConfiguration{
			Name:         name,
			VirtualHosts: []*route.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
		}},
		HttpFilters:              append(filters, e.httpFilter(routerFilter, &router.Router{})),
		Http2ProtocolOptions:     &core.Http2ProtocolOptions{AllowConnect: true},
		UpgradeConfigs:           []*hcm.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}, {UpgradeType: "CONNECT"}},
		ForwardClientCertDetails: hcm.HttpConnectionManager_SANITIZE_SET,
		SetCurrentClientCertDetails: &hcm.HttpConnectionManager_SetCurrentClientCertDetails{
			Uri: true,
		},
		// Rules see the path that the application sees.
		NormalizePath:                yes(),
		MergeSlashes:                 true,
		PathWithEscapedSlashesAction: hcm.HttpConnectionManager_REJECT_REQUEST,
	}
}

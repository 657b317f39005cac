package generate

import (
	"fmt"
	"net"
	"slices"
	"strconv"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"

	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/model"
)

// servedPort is a Service's port as one workload serves it.
type servedPort struct {
	port     portKey
	app      uint32 // the application's own port
	protocol model.Protocol
	policies *list[*v1alpha1.AuthorizationPolicy]
}

func (p servedPort) list() []*v1alpha1.AuthorizationPolicy { return slices.Collect(p.policies.all) }

func (p servedPort) http() bool { return p.protocol != model.ProtocolTCP }

// inboundInput is all that the Listener for mesh traffic to a workload depends
// on.
type inboundInput struct {
	workload    model.Key
	trustDomain string
	address     string
	port        uint32
	served      *list[servedPort]
}

func (in inboundInput) String() string { return "inbound/" + in.workload.String() }

// makeInbound has a pair of chains for each port, found by SNI, and one for
// HBONE peers that send none. What matches no chain is refused.
func makeInbound(in inboundInput) result {
	var e encoder
	l := &listener.Listener{
		Name:             in.String(),
		Address:          socketAddress(in.address, in.port),
		TrafficDirection: core.TrafficDirection_INBOUND,
		ListenerFilters:  []*listener.ListenerFilter{e.inspector(tlsInspector, &tlsinspector.TlsInspector{})},
	}
	for p := range in.served.all {
		l.FilterChains = append(l.FilterChains, e.requestChain(in, p), e.bytesChain(in, p))
	}
	if chain := e.hboneChain(in); chain != nil {
		l.FilterChains = append(l.FilterChains, chain)
	}
	return e.resource(l.Name, l)
}

// requestChain takes requests, and CONNECT for raw bytes unless a policy has to
// see the requests in them.
func (e *encoder) requestChain(in inboundInput, p servedPort) *listener.FilterChain {
	var a access
	a.rules(in.trustDomain, guarded{numbers: []uint32{p.port.number}, policies: p.list(), requests: p.http()})
	var routes []*route.Route
	if !p.http() || !readsRequests(p.list()) {
		routes = append(routes, connectRoute("connect", localInput{model.ProtocolTCP, p.app}))
	}
	routes = append(routes, localRoutes(p)...)
	return &listener.FilterChain{
		Name: p.port.String() + "/requests",
		FilterChainMatch: &listener.FilterChainMatch{
			ServerNames: []string{p.port.sni()}, ApplicationProtocols: []string{"h2", "http/1.1"},
		},
		Filters:         []*listener.Filter{e.filter(httpManager, e.inboundHTTP(p.port.String(), e.httpAccess(&a), routes))},
		TransportSocket: e.downstreamTLS(),
	}
}

// bytesChain takes connections without ALPN as raw bytes for the port.
func (e *encoder) bytesChain(in inboundInput, p servedPort) *listener.FilterChain {
	var a access
	a.rules(in.trustDomain, guarded{numbers: []uint32{p.port.number}, policies: p.list()})
	return &listener.FilterChain{
		Name:             p.port.String() + "/bytes",
		FilterChainMatch: &listener.FilterChainMatch{ServerNames: []string{p.port.sni()}},
		Filters:          append(e.netAccess(&a, p.port.String()), e.relay(localInput{model.ProtocolTCP, p.app}.String())),
		TransportSocket:  e.downstreamTLS(),
	}
}

// hboneChain takes CONNECT to the workload's address and the application's
// port, from peers that send no SNI. Of an application port that several
// Services name, all policies hold.
func (e *encoder) hboneChain(in inboundInput) *listener.FilterChain {
	var a access
	var routes []*route.Route
	served := slices.Collect(in.served.all)
	for _, app := range appPorts(served) {
		g := guarded{}
		for _, p := range served {
			if p.app != app {
				continue
			}
			g.numbers = append(g.numbers, p.port.number)
			for _, policy := range p.list() {
				if !slices.Contains(g.policies, policy) {
					g.policies = append(g.policies, policy)
				}
			}
		}
		authority := net.JoinHostPort(in.address, strconv.Itoa(int(app)))
		g.when = headerIs(":authority", authority)
		a.rules(in.trustDomain, g)
		r := connectRoute(fmt.Sprintf("connect/%d", app), localInput{model.ProtocolTCP, app})
		r.Match.Headers = []*route.HeaderMatcher{{
			Name: ":authority", HeaderMatchSpecifier: &route.HeaderMatcher_StringMatch{StringMatch: exact(authority)},
		}}
		routes = append(routes, r)
	}
	if len(routes) == 0 {
		return nil
	}
	return &listener.FilterChain{
		Name:             "hbone",
		FilterChainMatch: &listener.FilterChainMatch{ApplicationProtocols: []string{"h2"}},
		Filters:          []*listener.Filter{e.filter(httpManager, e.inboundHTTP("hbone", e.httpAccess(&a), routes))},
		TransportSocket:  e.downstreamTLS(),
	}
}

func appPorts(served []servedPort) []uint32 {
	var ports []uint32
	for _, p := range served {
		ports = append(ports, p.app)
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

func connectRoute(name string, to localInput) *route.Route {
	action := localAction(to)
	action.Route.UpgradeConfigs = []*route.RouteAction_UpgradeConfig{{
		UpgradeType: "CONNECT", ConnectConfig: &route.RouteAction_UpgradeConfig_ConnectConfig{},
	}}
	return &route.Route{
		Name:   name,
		Match:  &route.RouteMatch{PathSpecifier: &route.RouteMatch_ConnectMatcher_{ConnectMatcher: &route.RouteMatch_ConnectMatcher{}}},
		Action: action,
	}
}

// localRoutes lead requests to the application. Where nobody has said what it
// speaks, gRPC is HTTP/2 and all else HTTP/1.1.
func localRoutes(p servedPort) []*route.Route {
	prefix := func() *route.RouteMatch {
		return &route.RouteMatch{PathSpecifier: &route.RouteMatch_Prefix{Prefix: "/"}}
	}
	switch p.protocol {
	case model.ProtocolTCP:
		return nil
	case model.ProtocolAuto:
		grpc := prefix()
		grpc.Grpc = &route.RouteMatch_GrpcRouteMatchOptions{}
		return []*route.Route{
			{Name: "grpc", Match: grpc, Action: localAction(localInput{model.ProtocolGRPC, p.app})},
			{Name: "http", Match: prefix(), Action: localAction(localInput{model.ProtocolHTTP, p.app})},
		}
	}
	return []*route.Route{{Name: string(p.protocol), Match: prefix(), Action: localAction(localInput{p.protocol, p.app})}}
}

func localAction(to localInput) *route.Route_Route {
	return &route.Route_Route{Route: &route.RouteAction{
		ClusterSpecifier: &route.RouteAction_Cluster{Cluster: to.String()},
		Timeout:          duration(0), // the caller's proxy has the request's deadline
	}}
}

// plaintextInput is all that the Listener for plaintext to one port of a
// workload depends on.
type plaintextInput struct {
	workload    model.Key
	trustDomain string
	address     string
	app         uint32
	arrives     uint32 // where plaintext for the port comes in
	open        bool   // false in STRICT mode
	protocol    model.Protocol
	numbers     *list[uint32] // of the Services' ports that lead to it
	policies    *list[*v1alpha1.AuthorizationPolicy]
}

func (in plaintextInput) String() string { return fmt.Sprintf("plaintext/%s/%d", in.workload, in.app) }

// makePlaintext has no chain in STRICT mode, which closes every connection.
// Rules hold for plaintext too; its peers have no identity.
func makePlaintext(in plaintextInput) result {
	var e encoder
	l := &listener.Listener{
		Name:             in.String(),
		Address:          socketAddress(in.address, in.arrives),
		TrafficDirection: core.TrafficDirection_INBOUND,
	}
	if !in.open {
		return e.resource(l.Name, l)
	}
	g := guarded{numbers: slices.Collect(in.numbers.all), policies: slices.Collect(in.policies.all)}
	var bytes, requests access
	bytes.rules(in.trustDomain, g)
	g.requests = true
	requests.rules(in.trustDomain, g)
	p := servedPort{app: in.app, protocol: in.protocol}
	seen := fmt.Sprintf("%s/%d", in.workload, in.app) // the destination in metrics: plaintext names no service
	raw := append(e.netAccess(&bytes, l.Name), e.relay(localInput{model.ProtocolTCP, in.app}.String()))
	if in.protocol == model.ProtocolTCP {
		l.FilterChains = []*listener.FilterChain{{Name: seen + "/bytes", Filters: raw}}
		return e.resource(l.Name, l)
	}
	manager := e.inboundHTTP(l.Name, e.httpAccess(&requests), localRoutes(p))
	manager.Http2ProtocolOptions, manager.UpgradeConfigs = nil, manager.UpgradeConfigs[:1] // no CONNECT
	chain := &listener.FilterChain{Name: seen + "/requests", Filters: []*listener.Filter{e.filter(httpManager, manager)}}
	l.FilterChains = []*listener.FilterChain{chain}
	if in.protocol == model.ProtocolAuto {
		l.ListenerFilters = []*listener.ListenerFilter{e.inspector(httpInspector, &httpinspector.HttpInspector{})}
		chain.FilterChainMatch = &listener.FilterChainMatch{ApplicationProtocols: []string{"http/1.0", "http/1.1", "h2c"}}
		if !readsRequests(g.policies) {
			l.DefaultFilterChain = &listener.FilterChain{Name: seen + "/bytes", Filters: raw}
		}
	}
	return e.resource(l.Name, l)
}

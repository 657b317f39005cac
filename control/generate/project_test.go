package generate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/leno-mesh/leno/xds"
)

// projection prints what matters of a resource, a few lines each.
type projection struct {
	t *testing.T
	b strings.Builder
}

func project(t *testing.T, r *xds.Resource) string {
	p := &projection{t: t}
	switch m := unpack(t, &anypb.Any{TypeUrl: r.TypeURL, Value: r.Body}).(type) {
	case *listener.Listener:
		p.listener(m)
	case *route.RouteConfiguration:
		p.line(0, "routes %s", m.Name)
		for _, h := range m.VirtualHosts {
			p.line(1, "domains %s", strings.Join(h.Domains, " "))
			p.routes(1, h.Routes)
		}
	case *cluster.Cluster:
		p.cluster(m)
	case *endpoint.ClusterLoadAssignment:
		p.line(0, "endpoints %s", m.ClusterName)
		for _, l := range m.Endpoints {
			p.line(1, "locality %s weight %d", l.Locality.GetZone(), l.LoadBalancingWeight.GetValue())
			for _, e := range l.LbEndpoints {
				a := e.GetEndpoint().Address.GetSocketAddress()
				p.line(2, "%s:%d %s weight %d %s", a.Address, a.GetPortValue(), e.HealthStatus, e.LoadBalancingWeight.GetValue(), compact(t, e.Metadata.FilterMetadata["leno"]))
			}
		}
	}
	return p.b.String()
}

func unpack(t *testing.T, a *anypb.Any) proto.Message {
	m, err := a.UnmarshalNew()
	if err != nil {
		t.Fatalf("read %s: %v", a.TypeUrl, err)
	}
	return m
}

func (p *projection) line(indent int, format string, args ...any) {
	fmt.Fprintf(&p.b, "%s%s\n", strings.Repeat("  ", indent), strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// compact is protojson without the blanks that it puts in at random.
func compact(t *testing.T, m proto.Message) string {
	data, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func (p *projection) listener(l *listener.Listener) {
	a := l.Address.GetSocketAddress()
	p.line(0, "listener %s %s:%d", l.Name, a.Address, a.GetPortValue())
	for _, f := range l.ListenerFilters {
		p.line(1, "first %s", f.Name)
	}
	if l.ApiListener != nil {
		p.line(1, "api")
		p.filter(2, l.ApiListener.ApiListener)
	}
	for _, c := range l.FilterChains {
		p.chain("chain", c)
	}
	if l.DefaultFilterChain != nil {
		p.chain("otherwise", l.DefaultFilterChain)
	}
}

func (p *projection) chain(word string, c *listener.FilterChain) {
	m := c.FilterChainMatch
	p.line(1, "%s %s sni=%v alpn=%v", word, c.Name, m.GetServerNames(), m.GetApplicationProtocols())
	if c.TransportSocket != nil {
		d := unpack(p.t, c.TransportSocket.GetTypedConfig()).(*tls.DownstreamTlsContext)
		p.line(2, "tls client-certificate=%v alpn=%v %s", d.RequireClientCertificate.GetValue(), d.CommonTlsContext.AlpnProtocols, secrets(d.CommonTlsContext))
	}
	for _, f := range c.Filters {
		p.filter(2, f.GetTypedConfig())
	}
}

func secrets(c *tls.CommonTlsContext) string {
	combined := c.GetCombinedValidationContext()
	var names []string
	for _, m := range combined.DefaultValidationContext.MatchTypedSubjectAltNames {
		names = append(names, m.SanType.String()+"="+m.Matcher.GetExact())
	}
	return fmt.Sprintf("%s %s %s %v", c.TlsParams.TlsMinimumProtocolVersion, c.TlsCertificateSdsSecretConfigs[0].Name, combined.ValidationContextSdsSecretConfig.Name, names)
}

func (p *projection) filter(indent int, a *anypb.Any) {
	switch m := unpack(p.t, a).(type) {
	case *hcm.HttpConnectionManager:
		p.line(indent, "http rds=%s client-cert=%s", m.GetRds().GetRouteConfigName(), m.ForwardClientCertDetails)
		for _, f := range m.HttpFilters {
			p.filter(indent+1, f.GetTypedConfig())
		}
		for _, h := range m.GetRouteConfig().GetVirtualHosts() {
			p.routes(indent+1, h.Routes)
		}
	case *tcpproxy.TcpProxy:
		p.line(indent, "tcp %s %s tunnel=%s attempts=%d", m.GetCluster(), shares(m), m.GetTunnelingConfig().GetHostname(), m.GetMaxConnectAttempts().GetValue())
	case *httprbac.RBAC:
		p.rules(indent, m.Rules, "")
		p.rules(indent, m.ShadowRules, "shadow ")
	case *netrbac.RBAC:
		p.rules(indent, m.Rules, "")
		p.rules(indent, m.ShadowRules, "shadow ")
	}
}

func shares(m *tcpproxy.TcpProxy) string {
	var out []string
	for _, c := range m.GetWeightedClusters().GetClusters() {
		out = append(out, fmt.Sprintf("%s=%d", c.Name, c.Weight))
	}
	return strings.Join(out, " ")
}

func (p *projection) rules(indent int, r *rbac.RBAC, word string) {
	if r == nil {
		return
	}
	p.line(indent, "%s%s", word, r.Action)
	for _, name := range sortedKeys(r.Policies) {
		for _, id := range r.Policies[name].Principals {
			p.line(indent+1, "%s from %s", name, compact(p.t, id))
		}
		for _, to := range r.Policies[name].Permissions {
			p.line(indent+1, "%s to %s", name, compact(p.t, to))
		}
	}
}

func (p *projection) routes(indent int, routes []*route.Route) {
	for _, r := range routes {
		match := proto.Clone(r.Match).(*route.RouteMatch)
		p.line(indent, "%s %s", r.Name, compact(p.t, match))
		rest := proto.Clone(r).(*route.Route)
		rest.Name, rest.Match = "", nil
		p.line(indent+1, "%s", compact(p.t, rest))
	}
}

func (p *projection) cluster(c *cluster.Cluster) {
	p.line(0, "cluster %s %s connect %s", c.Name, c.GetType(), c.ConnectTimeout.AsDuration())
	var protocols []string
	for _, o := range c.TypedExtensionProtocolOptions {
		protocols = append(protocols, compact(p.t, unpack(p.t, o)))
	}
	slices.Sort(protocols)
	p.line(1, "speaks %s", strings.Join(protocols, " "))
	for _, policy := range c.LoadBalancingPolicy.GetPolicies() {
		p.line(1, "balance %s", policy.TypedExtensionConfig.Name)
	}
	if c.TransportSocket != nil {
		u := unpack(p.t, c.TransportSocket.GetTypedConfig()).(*tls.UpstreamTlsContext)
		p.line(1, "tls sni=%s alpn=%v %s", u.Sni, u.CommonTlsContext.AlpnProtocols, secrets(u.CommonTlsContext))
	}
	for _, e := range c.LoadAssignment.GetEndpoints() {
		a := e.LbEndpoints[0].GetEndpoint().Address.GetSocketAddress()
		p.line(1, "to %s:%d", a.Address, a.GetPortValue())
	}
}

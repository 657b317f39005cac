package serve

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	webID  = "spiffe://test/ns/front/sa/web"
	cartID = "spiffe://test/ns/shop/sa/cart"
)

const meshYAML = `
apiVersion: mesh.leno.dev/v1alpha1
kind: Mesh
metadata: {name: default, namespace: leno-system}
spec: {trustDomain: test, mtlsMode: STRICT}
---
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: mesh.leno.dev/v1alpha1
kind: Workload
metadata: {name: cart-1, namespace: shop, labels: {app: cart}}
spec: {account: cart, address: 10.0.0.1, meshPort: 15008}
`

func routeYAML(path string) string {
	return `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: only, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: cart}]
  rules: [{matches: [{path: {value: ` + path + `}}], backendRefs: [{name: cart, port: 80}]}]
`
}

// await waits until Progress is as wanted.
func (m *testMesh) awaitProgress(rev uint64, want func(*adminv1.WaitResponse) bool) *adminv1.WaitResponse {
	m.t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		p, changed := m.server.Progress(rev)
		if want(p) {
			return p
		}
		select {
		case <-changed:
		case <-timeout:
			m.t.Fatalf("progress stays %v", p)
		}
	}
}

func everywhere(p *adminv1.WaitResponse) bool { return p.Finished && p.Total > 0 }

func TestDeltaClientFollowsTheMesh(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	c := m.delta(webID)
	c.send(&discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: "web-1"}, TypeUrl: xds.ListenerType,
		ResourceNamesSubscribe: []string{"cart.shop.mesh.internal:80", "nothing.shop.mesh.internal:80", "inbound/shop/cart-1"},
	})
	r := c.recv()
	if len(r.Resources) != 1 || r.Resources[0].Name != "cart.shop.mesh.internal:80" || len(r.RemovedResources) != 2 {
		t.Fatalf("response is %v", r)
	}
	var l listener.Listener
	if err := r.Resources[0].Resource.UnmarshalTo(&l); err != nil || l.ApiListener == nil {
		t.Fatalf("listener is %v, %v", &l, err)
	}
	c.ack(r)
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: xds.RouteType, ResourceNamesSubscribe: []string{"shop/cart/80"}})
	c.ack(c.recv())
	m.awaitProgress(1, everywhere)

	rev := m.apply(t, routeYAML("/a"))
	r = c.recv()
	if r.TypeUrl != xds.RouteType || len(r.Resources) != 1 {
		t.Fatalf("response is %v", r)
	}
	var rc route.RouteConfiguration
	if err := r.Resources[0].Resource.UnmarshalTo(&rc); err != nil || rc.VirtualHosts[0].Routes[0].Name != "shop/only/0" {
		t.Fatalf("route is %v, %v", &rc, err)
	}
	p, _ := m.server.Progress(rev)
	if p.Done != 0 || len(p.Waiting) != 1 || p.Waiting[0] != "web-1" {
		t.Errorf("before the ack progress is %v", p)
	}
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce, ErrorDetail: status.New(codes.InvalidArgument, "shop/cart/80: no").Proto()})
	p = m.awaitProgress(rev, func(p *adminv1.WaitResponse) bool { return len(p.Rejected) == 1 })
	if rejected := p.Rejected[0]; rejected.Proxy != "web-1" || rejected.Type != "route" || rejected.Resource != "shop/cart/80" || rejected.Reason != "no" {
		t.Errorf("rejection is %v", rejected)
	}
	proxies := m.server.List()
	if len(proxies) != 1 || proxies[0].Synced || len(proxies[0].Rejected) != 1 || proxies[0].Identity != webID {
		t.Errorf("proxies are %v", proxies)
	}
	rev = m.apply(t, routeYAML("/b"))
	c.ack(c.recv())
	m.awaitProgress(rev, everywhere)
	if proxies := m.server.List(); !proxies[0].Synced || len(proxies[0].Versions) != 2 || proxies[0].Versions[0].Acked != proxies[0].Versions[0].Wanted {
		t.Errorf("proxies are %v", proxies)
	}
	// What does not concern the proxy is everywhere without a word.
	m.awaitProgress(m.apply(t, strings.ReplaceAll(meshYAML, "cart", "other")), everywhere)
}

func TestAnIdentitySeesItsOwnInboundListeners(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	c := m.delta(cartID)
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: xds.ListenerType, ResourceNamesSubscribe: []string{"inbound/shop/cart-1"}})
	if r := c.recv(); len(r.Resources) != 1 {
		t.Errorf("response is %v", r)
	}
}

func TestSotWClientFollowsTheMesh(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(m.dial(webID)).StreamAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	step := func(r *discovery.DiscoveryRequest) *discovery.DiscoveryResponse {
		t.Helper()
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
		out, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	clusters := step(&discovery.DiscoveryRequest{TypeUrl: xds.ClusterType, Node: &core.Node{Id: "envoy"}})
	if len(clusters.Resources) != 1 || clusters.VersionInfo == "" {
		t.Fatalf("clusters are %v", clusters)
	}
	routes := step(&discovery.DiscoveryRequest{TypeUrl: xds.RouteType, ResourceNames: []string{"shop/cart/80"}})
	if len(routes.Resources) != 1 {
		t.Fatalf("routes are %v", routes)
	}
	stream.Send(&discovery.DiscoveryRequest{TypeUrl: xds.ClusterType, ResponseNonce: clusters.Nonce, VersionInfo: clusters.VersionInfo})
	stream.Send(&discovery.DiscoveryRequest{TypeUrl: xds.RouteType, ResponseNonce: routes.Nonce, ResourceNames: []string{"shop/cart/80"}})
	m.awaitProgress(1, everywhere)
	m.apply(t, routeYAML("/a"))
	again, err := stream.Recv()
	if err != nil || again.TypeUrl != xds.RouteType || again.VersionInfo == routes.VersionInfo {
		t.Fatalf("response is %v, %v", again, err)
	}
}

func TestNobodyWithoutACertificateGetsResources(t *testing.T) {
	m := newMesh(t, meshYAML, func(c *Config) { c.Enroller = issuer{} })
	anonymous := m.dial("")
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(anonymous).DeltaAggregatedResources(t.Context())
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("error is %v", err)
	}
	agent, err := agentv1.NewAgentClient(anonymous).Connect(t.Context())
	if err == nil {
		_, err = agent.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("error is %v", err)
	}
	issued, err := agentv1.NewEnrolmentClient(anonymous).Issue(t.Context(), &agentv1.IssueRequest{Token: "t"})
	if err != nil || issued.SpiffeId != "t with 0 certificates" {
		t.Errorf("issued %v, %v", issued, err)
	}
	issued, err = agentv1.NewEnrolmentClient(m.dial(webID)).Issue(t.Context(), &agentv1.IssueRequest{})
	if err != nil || issued.SpiffeId != " with 1 certificates" {
		t.Errorf("issued %v, %v", issued, err)
	}
	for _, id := range []string{"spiffe://test/other", "https://example.com/"} {
		c := m.delta(id)
		if _, err := c.stream.Recv(); status.Code(err) != codes.Unauthenticated && status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s got %v", id, err)
		}
	}
}

type issuer struct{}

func (issuer) Issue(_ context.Context, peer []*x509.Certificate, token string, _ []byte) (*agentv1.IssueResponse, error) {
	return &agentv1.IssueResponse{SpiffeId: fmt.Sprintf("%s with %d certificates", token, len(peer))}, nil
}

func TestAStreamEndsWithItsCertificate(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(m.dialFor(webID, 2*time.Second)).DeltaAggregatedResources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "expired") {
		t.Errorf("error is %v", err)
	}
}

func TestTooManySubscriptionsEndTheStream(t *testing.T) {
	m := newMesh(t, meshYAML, func(c *Config) { c.Limits.Names = 2 })
	c := m.delta(webID)
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: xds.RouteType, ResourceNamesSubscribe: []string{"a", "b", "c"}})
	if _, err := c.stream.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error is %v", err)
	}
}

// TestManyStreamsAreRetargetedQuickly gives fifty clients a change and waits
// until all have acknowledged it.
func TestManyStreamsAreRetargetedQuickly(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	var clients sync.WaitGroup
	var responses atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	conn := m.dial(webID)
	for i := range 50 {
		stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&discovery.DeltaDiscoveryRequest{
			Node: &core.Node{Id: fmt.Sprint(i)}, TypeUrl: xds.RouteType, ResourceNamesSubscribe: []string{"shop/cart/80"},
		}); err != nil {
			t.Fatal(err)
		}
		clients.Go(func() {
			for {
				r, err := stream.Recv()
				if err != nil {
					return
				}
				responses.Add(1)
				stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce})
			}
		})
	}
	m.awaitProgress(1, func(p *adminv1.WaitResponse) bool { return p.Done == 50 })
	for i := range 5 {
		begin := time.Now()
		rev := m.apply(t, routeYAML(fmt.Sprintf("/%d", i)))
		m.awaitProgress(rev, func(p *adminv1.WaitResponse) bool { return p.Done == 50 })
		took := time.Since(begin)
		t.Logf("everywhere after %v", took)
		if took > 2*time.Second {
			t.Errorf("a change took %v to be everywhere", took)
		}
		if n := responses.Load(); n < int64(50*(i+1)) {
			t.Fatalf("everywhere after %d responses to 50 clients", n)
		}
	}
	cancel()
	clients.Wait()
}

func deltaFor(name string) *discovery.DeltaDiscoveryRequest {
	return &discovery.DeltaDiscoveryRequest{TypeUrl: xds.ListenerType, ResourceNamesSubscribe: []string{name}}
}

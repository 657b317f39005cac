package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http/h2"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/xds"
	"github.com/leno-mesh/leno/xds/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// adsServer speaks delta ADS by xds.Session.
type adsServer struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	t       *testing.T
	address string
	stop    func()

	mu        sync.Mutex
	resources map[resourceID]*xds.Resource
	changed   chan struct{} // closed when resources change
	requests  []*xds.DeltaRequest
}

func newADS(t *testing.T, address string) *adsServer {
	t.Helper()
	s := &adsServer{t: t, resources: map[resourceID]*xds.Resource{}, changed: make(chan struct{})}
	ln, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	g := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	done := make(chan error, 1)
	go func() { done <- g.Serve(ln) }()
	s.stop = sync.OnceFunc(func() { g.Stop(); <-done })
	t.Cleanup(func() { s.stop() })
	return s
}

// set puts a message in force; nil takes it away.
func (s *adsServer) set(typeURL, name, version string, m wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := resourceID{typeURL, name}
	if m == nil {
		delete(s.resources, id)
	} else {
		s.resources[id] = &xds.Resource{Name: name, Version: version, TypeURL: typeURL, Body: wire.AppendProto(nil, m)}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// view is the state of the server at one time.
type view map[resourceID]*xds.Resource

func (v view) Resource(typeURL, name string) *xds.Resource { return v[resourceID{typeURL, name}] }
func (v view) Names(string) []string                       { return nil }

func (s *adsServer) state() (view, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := view{}
	for id, r := range s.resources {
		v[id] = r
	}
	return v, s.changed
}

// asked returns what the proxy said about a type, newest last.
func (s *adsServer) asked(typeURL string) (list []*xds.DeltaRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if r.TypeURL == typeURL {
			list = append(list, r)
		}
	}
	return list
}

func (s *adsServer) refusals(typeURL string) (list []string) {
	for _, r := range s.asked(typeURL) {
		if r.Error != "" {
			list = append(list, r.Error)
		}
	}
	return list
}

func (s *adsServer) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	session := xds.NewSession(xds.Limits{})
	requests := make(chan *xds.DeltaRequest)
	go func() {
		defer close(requests)
		for {
			m, err := stream.Recv()
			if err != nil {
				return
			}
			r := &xds.DeltaRequest{TypeURL: m.TypeUrl, Subscribe: m.ResourceNamesSubscribe, Unsubscribe: m.ResourceNamesUnsubscribe,
				InitialVersions: m.InitialResourceVersions, Nonce: m.ResponseNonce, Error: m.GetErrorDetail().GetMessage()}
			select {
			case requests <- r:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	for {
		v, changed := s.state()
		session.Target(v)
		for {
			r, ok := session.Next()
			if !ok {
				break
			}
			m := &discovery.DeltaDiscoveryResponse{TypeUrl: r.TypeURL, Nonce: r.Nonce, RemovedResources: r.Removed}
			for _, x := range r.Resources {
				m.Resources = append(m.Resources, &discovery.Resource{Name: x.Name, Version: x.Version, Resource: &anypb.Any{TypeUrl: r.TypeURL, Value: x.Body}})
			}
			if err := stream.Send(m); err != nil {
				return err
			}
		}
		select {
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			s.mu.Lock()
			s.requests = append(s.requests, r)
			s.mu.Unlock()
			if err := session.Request(r); err != nil {
				return err
			}
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// following is a follower without the rest of a sidecar.
type following struct {
	*follower
	p *proxy
}

func follow(t *testing.T, address string) *following {
	t.Helper()
	f := newFollower(log.Discard())
	p := newProxy(Options{Log: log.Discard()}, nil, f, "")
	f.configuration = p.configuration
	f.scheme, f.authority, f.node = "http", "ads", &wire.Node{Id: "test"}
	tr := h2.NewTransport(h2.TransportOptions{Dial: func(deadline int64) (*conn.Conn, error) {
		nc, err := conn.Dial("tcp", address, deadline)
		if err != nil {
			return nil, err
		}
		return conn.New(nc, &p.engine.Buffers), nil
	}})
	f.transport = tr
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
		tr.Drain()
		p.configuration.plan.Load().Retire(plan.Empty())
	})
	started := &following{f, p}
	running.Go(func() { f.run(ctx) })
	return started
}

func until(t *testing.T, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("waited in vain for " + what)
		}
	}
}

// static reads the static resources of a bootstrap.
func static(t *testing.T, text string) *wire.Bootstrap_StaticResources {
	t.Helper()
	b := new(wire.Bootstrap)
	if _, err := wire.ReadYAML([]byte("static_resources:\n"+text), b); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return b.StaticResources
}

func edsCluster(t *testing.T, timeout string) *wire.Cluster {
	return static(t, "  clusters: [{name: app, type: EDS, connect_timeout: "+timeout+", eds_cluster_config: {eds_config: {ads: {}}}}]\n").Clusters[0]
}

func endpoints(t *testing.T, address string) *wire.ClusterLoadAssignment {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return static(t, "  clusters: [{name: app, load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "+host+", port_value: "+port+"}}}}]}]}}]\n").Clusters[0].LoadAssignment
}

func (f *following) address(cluster string) string {
	c := f.p.configuration.plan.Load().Clusters[cluster]
	if c == nil {
		return ""
	}
	m := c.Members.Load()
	if m == nil || len(m.Set.Endpoints()) != 1 {
		return ""
	}
	return m.Set.Endpoints()[0].Address
}

func TestADemandBringsAResourceAndWhatItRefersTo(t *testing.T) {
	s := newADS(t, "127.0.0.1:0")
	s.set(xds.ClusterType, "app", "1", edsCluster(t, "1s"))
	s.set(xds.EndpointType, "app", "1", endpoints(t, "127.0.0.1:1000"))
	f := follow(t, s.address)
	f.Cluster("app")
	until(t, "the endpoint", func() bool { return f.address("app") == "127.0.0.1:1000" })
	s.set(xds.EndpointType, "app", "2", endpoints(t, "127.0.0.1:2000"))
	until(t, "the change", func() bool { return f.address("app") == "127.0.0.1:2000" })
	if _, known := f.p.configuration.plan.Load().Clusters["other"]; known {
		t.Error("something came that nobody asked for")
	}
}

func TestWhatIsRefusedKeepsTheLastGoodVersionAndIsSaidOnce(t *testing.T) {
	s := newADS(t, "127.0.0.1:0")
	s.set(xds.ClusterType, "app", "1", edsCluster(t, "1s"))
	s.set(xds.EndpointType, "app", "1", endpoints(t, "127.0.0.1:1000"))
	f := follow(t, s.address)
	f.Cluster("app")
	until(t, "the endpoint", func() bool { return f.address("app") == "127.0.0.1:1000" })

	s.set(xds.EndpointType, "app", "2", endpoints(t, "[fe80::1]:70000"))
	until(t, "the refusal of endpoints", func() bool { return len(s.refusals(xds.EndpointType)) == 1 })
	want := "app: endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value: 70000 is no port"
	if have := s.refusals(xds.EndpointType)[0]; have != want {
		t.Errorf("refused with %q, want %q", have, want)
	}
	s.set(xds.ClusterType, "app", "2", edsCluster(t, "0s"))
	until(t, "the refusal of the cluster", func() bool { return len(s.refusals(xds.ClusterType)) == 1 })
	if have := s.refusals(xds.ClusterType)[0]; have != "app: connect_timeout: must be more than 0" {
		t.Errorf("refused with %q", have)
	}
	if f.address("app") != "127.0.0.1:1000" {
		t.Error("the last good version is gone")
	}
	// What follows is taken, and nothing old is refused again.
	s.set(xds.EndpointType, "app", "3", endpoints(t, "127.0.0.1:3000"))
	until(t, "the next good version", func() bool { return f.address("app") == "127.0.0.1:3000" })
	if n := len(s.refusals(xds.EndpointType)) + len(s.refusals(xds.ClusterType)); n != 2 {
		t.Errorf("%d refusals", n)
	}
}

func TestAnAbsentNameIsKnownAtOnceAndForgottenLater(t *testing.T) {
	s := newADS(t, "127.0.0.1:0")
	f := follow(t, s.address)
	known := func() bool { _, ok := f.p.configuration.plan.Load().Clusters["gone"]; return ok }
	f.Cluster("gone")
	until(t, "the absence", known)
	begun := time.Now()
	until(t, "its end", func() bool { return !known() })
	if took := time.Since(begun); took < absentFor-time.Second {
		t.Errorf("forgotten after %s", took)
	}
	s.set(xds.ClusterType, "gone", "1", edsCluster(t, "1s"))
	f.Cluster("gone")
	until(t, "the cluster", func() bool { return f.p.configuration.plan.Load().Clusters["gone"] != nil })
}

func TestAServerThatComesBackIsToldWhatIsHeld(t *testing.T) {
	s := newADS(t, "127.0.0.1:0")
	s.set(xds.ClusterType, "app", "v7", edsCluster(t, "1s"))
	s.set(xds.EndpointType, "app", "v8", endpoints(t, "127.0.0.1:1000"))
	f := follow(t, s.address)
	f.Cluster("app")
	until(t, "the endpoint", func() bool { return f.address("app") == "127.0.0.1:1000" })
	s.stop()
	until(t, "the loss", func() bool { f.status.mu.Lock(); defer f.status.mu.Unlock(); return !f.status.connected })
	if f.address("app") != "127.0.0.1:1000" {
		t.Error("the configuration went with the server")
	}
	next := newADS(t, s.address)
	next.set(xds.ClusterType, "app", "v7", edsCluster(t, "1s"))
	next.set(xds.EndpointType, "app", "v9", endpoints(t, "127.0.0.1:9000"))
	until(t, "what changed meanwhile", func() bool { return f.address("app") == "127.0.0.1:9000" })
	first := next.asked(xds.ClusterType)[0]
	if !slices.Equal(first.Subscribe, []string{"app"}) || first.InitialVersions["app"] != "v7" {
		t.Errorf("the first request says %+v", first)
	}
}

func TestAProxyDoesNotAskForMoreNamesThanItsBound(t *testing.T) {
	f := newFollower(log.Discard())
	for i := range maxDemanded + 100 {
		f.Listener(fmt.Sprint("name-", i))
	}
	if len(f.roots) != maxDemanded {
		t.Errorf("%d names", len(f.roots))
	}
}

func TestAStaticProxyFollowsItsADSServer(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "app") })}
	served := make(chan error, 1)
	go func() { served <- app.Serve(ln) }()
	defer func() { app.Close(); <-served }()

	s := newADS(t, "127.0.0.1:0")
	s.set(xds.EndpointType, "app", "1", endpoints(t, ln.Addr().String()))
	s.set(xds.RouteType, "routes", "1", static(t, `  listeners:
  - name: l
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          route_config: {name: routes, virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}]}
`).Listeners[0].FilterChains[0].Filters[0].TypedConfig.Message.(*wire.HttpConnectionManager).RouteConfig)
	host, port, _ := net.SplitHostPort(s.address)
	b := new(wire.Bootstrap)
	_, err = wire.ReadYAML([]byte(`node: {id: test, cluster: test}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}
dynamic_resources: {ads_config: {api_type: DELTA_GRPC, grpc_services: [{envoy_grpc: {cluster_name: ads}}]}}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: x
          rds: {route_config_name: routes, config_source: {ads: {}}}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
  clusters:
  - {name: app, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}
  - name: ads
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment: {cluster_name: ads, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: `+host+`, port_value: `+port+`}}}}]}]}
`), b)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan map[string]net.Addr, 1)
	done := make(chan error, 1)
	go func() {
		done <- RunStatic(ctx, b, Options{Log: log.Discard(), Drain: time.Second}, func(a map[string]net.Addr) { ready <- a })
	}()
	select {
	case a := <-ready:
		// The very first request waits for what the server has not sent yet.
		res, err := http.Get("http://" + a["web"].String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != 200 || string(body) != "app" {
			t.Errorf("%s %q", res.Status, body)
		}
	case err := <-done:
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.stop()
}

func TestRestoredResourcesServeWithoutAServer(t *testing.T) {
	dir := t.TempDir()
	cluster, assignment := edsCluster(t, "1s"), endpoints(t, "127.0.0.1:1000")
	saved := []xds.Resource{
		{Name: "app", Version: "1", TypeURL: xds.ClusterType, Body: wire.AppendProto(nil, cluster)},
		{Name: "app", Version: "2", TypeURL: xds.EndpointType, Body: wire.AppendProto(nil, assignment)},
		{Name: "bad", Version: "3", TypeURL: xds.ClusterType, Body: wire.AppendProto(nil, edsCluster(t, "0s"))},
	}
	if err := saveResources(dir, saved); err != nil {
		t.Fatal(err)
	}
	f := newFollower(log.Discard())
	p := newProxy(Options{Log: log.Discard()}, nil, f, "")
	f.configuration = p.configuration
	j := &joined{Sidecar: Sidecar{Options: Options{Log: log.Discard()}, State: dir}, proxy: p, follow: f}
	j.restore()
	if have := (&following{f, p}).address("app"); have != "127.0.0.1:1000" {
		t.Errorf("the endpoint is %q", have)
	}
	if _, known := p.configuration.plan.Load().Clusters["bad"]; known {
		t.Error("a resource that cannot be compiled is in force")
	}
	f.sync() // no listener refers to them any more
	if n := len(p.configuration.plan.Load().Clusters) + len(p.configuration.snapshot()); n != 0 {
		t.Errorf("%d resources stay that nothing refers to", n)
	}
	p.configuration.plan.Load().Retire(plan.Empty())
}

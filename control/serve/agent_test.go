package serve

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

func (m *testMesh) agent(id, proxy string) agentv1.Agent_ConnectClient {
	m.t.Helper()
	stream, err := agentv1.NewAgentClient(m.dial(id)).Connect(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	m.report(stream, &agentv1.Report{Hello: &agentv1.Hello{Proxy: proxy, Version: "1.0", Host: "laptop"}})
	return stream
}

func (m *testMesh) report(stream agentv1.Agent_ConnectClient, r *agentv1.Report) {
	m.t.Helper()
	if err := stream.Send(r); err != nil {
		m.t.Fatal(err)
	}
}

func payRegistration() *agentv1.Registration {
	return &agentv1.Registration{
		Name: "pay-1", Service: "pay", Address: "127.0.0.1", MeshPort: 40001, Healthy: true, Zone: "a",
		Labels: map[string]string{"version": "v1"}, Ports: []*agentv1.Port{{Port: 8080, PlaintextPort: 40002}},
	}
}

const (
	payID = "spiffe://test/ns/shop/sa/pay"
	tokID = "spiffe://test/ns/shop/sa/tok"
)

func TestTheAnnotationLetsAnotherAccountRegister(t *testing.T) {
	m := newMesh(t, meshYAML+`
---
apiVersion: v1
kind: Service
metadata: {name: blue, namespace: shop, annotations: {leno.dev/account: tok}}
spec: {selector: {leno.dev/service: blue}, ports: [{name: http, port: 8080}]}
`, nil)
	reg := payRegistration()
	reg.Name, reg.Service = "blue-1", "blue"
	m.report(m.agent(tokID, "blue-1"), &agentv1.Report{Registration: reg})
	m.await(t, "shop", "blue-1", func(w *v1alpha1.Workload) bool { return w != nil && w.Spec.Account == "tok" })
	reg.Name = "blue-2"
	stream := m.agent("spiffe://test/ns/shop/sa/blue", "blue-2")
	m.report(stream, &agentv1.Report{Registration: reg})
	if _, err := stream.Recv(); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "service blue is of account tok") {
		t.Errorf("error is %v", err)
	}
}

func TestARegistrationIsAWorkloadAsLongAsItsStream(t *testing.T) {
	m := newMesh(t, meshYAML, func(c *Config) { c.Grace = 50 * time.Millisecond })
	stream := m.agent(payID, "pay-proxy")
	m.report(stream, &agentv1.Report{Registration: payRegistration()})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool {
		return w != nil && w.Spec.Account == "pay" && w.Spec.MeshPort == 40001 && w.Labels[ServiceLabel] == "pay" && w.Labels["version"] == "v1" &&
			w.Spec.Ports[0].PlaintextPort == 40002 && w.Spec.Locality.Zone == "a" && *w.Status.Healthy && w.Status.Proxy == "pay-proxy"
	})
	service := m.snapshot.Service("shop", "pay")
	if service == nil || len(service.Workloads) != 1 || service.Ports[0].Number != 8080 {
		t.Fatalf("service is %+v", service)
	}
	c := m.delta(payID)
	c.send(deltaFor("inbound/shop/pay-1"))
	if r := c.recv(); len(r.Resources) != 1 {
		t.Fatalf("response is %v", r)
	}

	unhealthy := payRegistration()
	unhealthy.Healthy, unhealthy.Reason = false, "it does not answer"
	m.report(stream, &agentv1.Report{Registration: unhealthy})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return !*w.Status.Healthy && w.Status.Reason == "it does not answer" })

	draining := payRegistration()
	draining.Draining = true
	m.report(stream, &agentv1.Report{Registration: draining})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return w.Status.Draining })

	m.report(stream, &agentv1.Report{Farewell: &agentv1.Farewell{}})
	m.await(t, "shop", "pay-1", gone)

	// A stream that breaks leaves the workload for the grace period.
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := agentv1.NewAgentClient(m.dial(payID)).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.report(stream, &agentv1.Report{Hello: &agentv1.Hello{Proxy: "pay-proxy"}, Registration: nil})
	m.report(stream, &agentv1.Report{Registration: payRegistration()})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return w != nil })
	cancel()
	m.await(t, "shop", "pay-1", gone)
}

func TestRegistrationsAreRefused(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	owner := m.agent(payID, "pay-proxy")
	m.report(owner, &agentv1.Report{Registration: payRegistration()})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return w != nil })
	tests := []struct {
		name   string
		id     string
		change func(*agentv1.Registration)
		code   codes.Code
		says   string
	}{
		{"a name in use", cartID, func(*agentv1.Registration) {}, codes.FailedPrecondition, "in use by proxy pay-proxy"},
		{"a name in use by another proxy of the account", payID, func(*agentv1.Registration) {}, codes.FailedPrecondition, "in use"},
		{"a user's workload", cartID, func(r *agentv1.Registration) { r.Name, r.Service = "cart-1", "" }, codes.FailedPrecondition, "has not registered"},
		{"another account's service", cartID, func(r *agentv1.Registration) { r.Name = "evil" }, codes.FailedPrecondition, "service pay is of account pay"},
		{"a user's service", tokID, func(r *agentv1.Registration) { r.Name, r.Service = "tok-1", "cart" }, codes.FailedPrecondition,
			"service cart is of account cart, and this proxy has account tok: join with a token for cart, or annotate the Service leno.dev/account: tok"},
		{"a service that is not there yet", tokID, func(r *agentv1.Registration) { r.Name, r.Service = "tok-1", "soon" }, codes.FailedPrecondition, "service soon is of account soon"},
		{"a bad name", payID, func(r *agentv1.Registration) { r.Name = "a/b" }, codes.InvalidArgument, "name"},
		{"no address", payID, func(r *agentv1.Registration) { r.Address = "localhost" }, codes.InvalidArgument, "no IP address"},
		{"every address", payID, func(r *agentv1.Registration) { r.Address = "0.0.0.0" }, codes.InvalidArgument, "no IP address"},
		{"no mesh port", payID, func(r *agentv1.Registration) { r.MeshPort = 0 }, codes.InvalidArgument, "mesh port"},
		{"a port out of range", payID, func(r *agentv1.Registration) { r.Ports[0].Port = 70000 }, codes.InvalidArgument, "port 70000"},
		{"a port twice", payID, func(r *agentv1.Registration) { r.Ports = append(r.Ports, r.Ports[0]) }, codes.InvalidArgument, "twice"},
		{"the server's labels", payID, func(r *agentv1.Registration) { r.Labels = map[string]string{ServiceLabel: "cart"} }, codes.InvalidArgument, "set by the server"},
		{"a bad label", payID, func(r *agentv1.Registration) { r.Labels = map[string]string{"a": "b c"} }, codes.InvalidArgument, "label a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := m.agent(test.id, "other-proxy")
			reg := payRegistration()
			test.change(reg)
			m.report(stream, &agentv1.Report{Registration: reg})
			_, err := stream.Recv()
			if status.Code(err) != test.code || !strings.Contains(err.Error(), test.says) {
				t.Errorf("error is %v", err)
			}
		})
	}
	// None of it touched what is there.
	if w := m.snapshot.Workload("shop", "cart-1"); w == nil || w.Object.Spec.MeshPort != 15008 {
		t.Errorf("the user's workload is %+v", w)
	}
	if w := m.snapshot.Workload("shop", "pay-1"); w == nil || w.Account != "pay" {
		t.Errorf("the owner's workload is %+v", w)
	}
}

func TestALaterStreamOfAProxyTakesOver(t *testing.T) {
	m := newMesh(t, meshYAML, func(c *Config) { c.Grace = time.Millisecond })
	first := m.agent(payID, "pay-proxy")
	m.report(first, &agentv1.Report{Registration: payRegistration()})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return w != nil })
	second := m.agent(payID, "pay-proxy")
	again := payRegistration()
	again.Reason = "second"
	m.report(second, &agentv1.Report{Registration: again})
	if _, err := first.Recv(); status.Code(err) != codes.Aborted {
		t.Errorf("the first stream ended with %v", err)
	}
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return w != nil && w.Status.Reason == "second" })
}

func TestAProxysNameIsNotTakenByAnotherIdentity(t *testing.T) {
	m := newMesh(t, meshYAML, func(c *Config) { c.Grace = time.Hour })
	ctx, cancel := context.WithCancel(t.Context())
	owner, err := agentv1.NewAgentClient(m.dial(payID)).Connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.report(owner, &agentv1.Report{Hello: &agentv1.Hello{Proxy: "pay-1"}})
	m.report(owner, &agentv1.Report{Registration: payRegistration()})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return w != nil })
	refused := func(when string) {
		t.Helper()
		_, err := m.agent(tokID, "pay-1").Recv()
		if status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "the name pay-1 is another identity's; choose another with --name") {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("while it is connected")

	// Nor does its resource stream pass for the owner's.
	c := m.delta(tokID)
	request := deltaFor("cart.shop.mesh.internal:80")
	request.Node = &core.Node{Id: "pay-1"}
	c.send(request)
	c.recv()
	m.awaitProgress(1, func(p *adminv1.WaitResponse) bool {
		return p.Total == 1 && len(p.Waiting) == 1 && strings.HasPrefix(p.Waiting[0], "tok@127.0.0.1:")
	})
	for _, p := range m.server.List() {
		if (p.Name == "pay-1") != (p.Identity == payID) {
			t.Errorf("%s is listed as %s", p.Identity, p.Name)
		}
	}

	cancel()
	m.awaitProgress(0, func(*adminv1.WaitResponse) bool { return len(m.server.registry.orphans()) == 1 })
	refused("while it is leased")

	// The same name in another namespace is another name.
	other := m.agent("spiffe://test/ns/front/sa/pay", "pay-1")
	reg := payRegistration()
	m.report(other, &agentv1.Report{Registration: reg})
	m.await(t, "front", "pay-1", func(w *v1alpha1.Workload) bool { return w != nil })
}

func TestHelloComesFirst(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	stream, err := agentv1.NewAgentClient(m.dial(payID)).Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.report(stream, &agentv1.Report{Registration: payRegistration()})
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument {
		t.Errorf("error is %v", err)
	}
}

func TestDumpAsksTheProxy(t *testing.T) {
	m := newMesh(t, meshYAML, nil)
	if _, err := m.server.Dump(t.Context(), "pay-proxy", "config"); !errors.Is(err, ErrNoProxy) {
		t.Errorf("error is %v", err)
	}
	stream := m.agent(payID, "pay-proxy")
	m.report(stream, &agentv1.Report{Registration: payRegistration(), Metrics: &agentv1.Metrics{ResidentBytes: 7, Edges: []*agentv1.Edge{{Destination: "shop/cart/80", Requests: 1}}}})
	m.await(t, "shop", "pay-1", func(w *v1alpha1.Workload) bool { return w != nil })
	answers := make(chan error, 1)
	go func() {
		for {
			c, err := stream.Recv()
			if err != nil {
				answers <- nil
				return
			}
			answer := &agentv1.Answer{Id: c.Id, Json: []byte(`{"what":"` + c.Dump + `"}`)}
			if c.Dump == "secrets" {
				answer = &agentv1.Answer{Id: c.Id, Error: "there is no such dump"}
			}
			if c.Dump == "silence" {
				continue
			}
			stream.Send(&agentv1.Report{Answer: answer})
		}
	}()
	if dump, err := m.server.Dump(t.Context(), "shop/pay-proxy", "config"); err != nil || string(dump) != `{"what":"config"}` {
		t.Errorf("dump is %s, %v", dump, err)
	}
	if _, err := m.server.Dump(t.Context(), "pay-proxy", "secrets"); err == nil || !strings.Contains(err.Error(), "no such dump") {
		t.Errorf("error is %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := m.server.Dump(ctx, "pay-proxy", "silence"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	p := m.server.List()[0]
	if p.Name != "pay-proxy" || p.Workload != "pay-1" || p.Service != "pay" || p.Address != "127.0.0.1:40001" || p.ResidentBytes != 7 || p.Version != "1.0" || !p.Healthy {
		t.Errorf("proxy is %v", p)
	}
	if _, rows := m.server.cfg.Traffic.Table(); len(rows) != 1 || rows[0].Source != "shop/pay" {
		t.Errorf("traffic is %v", rows)
	}
	done := make(chan error, 1)
	go func() { _, err := m.server.Dump(t.Context(), "pay-proxy", "silence"); done <- err }()
	m.report(stream, &agentv1.Report{Farewell: &agentv1.Farewell{}})
	if err := <-done; !errors.Is(err, ErrNoProxy) {
		t.Errorf("the proxy left and the dump ended with %v", err)
	}
	<-answers
}

func TestStoredRegistrationsGetAGracePeriodAtStart(t *testing.T) {
	stored := &v1alpha1.Workload{Spec: v1alpha1.WorkloadSpec{Account: "pay", Address: "127.0.0.1", MeshPort: 1}}
	stored.Namespace, stored.Name, stored.Annotations = "shop", "old-1", map[string]string{ProxyAnnotation: "old-proxy"}
	m := newMesh(t, meshYAML, func(c *Config) {
		c.Objects.(*fakeObjects).commit(api.Put(stored))
		c.Grace = 20 * time.Millisecond
	})
	m.await(t, "shop", "old-1", gone)
	if m.snapshot.Workload("shop", "cart-1") == nil {
		t.Error("a workload that no proxy has registered is gone too")
	}
}

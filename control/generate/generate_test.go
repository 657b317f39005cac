package generate

import (
	"os"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/anypb"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/xds"
)

func caseInput(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	input, _, _ := strings.Cut(string(data), separator)
	return input
}

// changed lists what is not the same pointer in two sets.
func changed(a, b *Set) []string {
	index := func(s *Set) map[string]*xds.Resource {
		m := make(map[string]*xds.Resource)
		for r := range s.All {
			m[r.TypeURL[strings.LastIndex(r.TypeURL, ".")+1:]+" "+r.Name] = r
		}
		return m
	}
	before, after := index(a), index(b)
	var names []string
	for name, r := range after {
		if before[name] != r {
			names = append(names, name)
		}
	}
	for name := range before {
		if after[name] == nil {
			names = append(names, "-"+name)
		}
	}
	slices.Sort(names)
	return names
}

func TestOnlyWhatDependsOnAChangeIsGenerated(t *testing.T) {
	const other = `
apiVersion: v1
kind: Service
metadata: {name: web, namespace: front}
spec: {selector: {app: web}, ports: [{name: http, port: 80}]}
`
	workload := func(name, account, address string) *v1alpha1.Workload {
		w := &v1alpha1.Workload{Spec: v1alpha1.WorkloadSpec{Account: account, Address: address, MeshPort: 15008}}
		w.Name, w.Namespace, w.Labels = name, "shop", map[string]string{"app": "cart"}
		return w
	}
	draining := workload("cart-1", "cart", "10.0.0.1")
	draining.Labels["version"] = "v1"
	draining.Spec.Locality.Zone = "a"
	draining.Spec.Ports = []v1alpha1.WorkloadPort{{Port: 8080, PlaintextPort: 15006}}
	draining.Status.Draining = true

	tests := []struct {
		name   string
		change []api.Change
		want   []string
	}{
		{"nothing", nil, nil},
		{"a draining workload", []api.Change{api.Put(draining)}, []string{"ClusterLoadAssignment shop/cart/80"}},
		{"a workload of a known account", []api.Change{api.Put(workload("cart-3", "cart", "10.0.0.3"))}, []string{
			"ClusterLoadAssignment shop/cart/80", "Listener inbound/shop/cart-3", "Listener plaintext/shop/cart-3/8080",
		}},
		{"a workload of a new account", []api.Change{api.Put(workload("cart-3", "third", "10.0.0.3"))}, []string{
			"Cluster shop/cart/80", "ClusterLoadAssignment shop/cart/80", "Listener inbound/shop/cart-3", "Listener plaintext/shop/cart-3/8080",
		}},
		{"a route gone", []api.Change{api.Delete(api.Ref{Kind: api.HTTPRoute, Namespace: "shop", Name: "canary"})}, []string{
			"RouteConfiguration shop/cart/80",
		}},
		{"a service gone", []api.Change{api.Delete(api.Ref{Kind: api.Service, Namespace: "front", Name: "web"})}, []string{
			"-Cluster front/web/80", "-ClusterLoadAssignment front/web/80", "-Listener web.front.mesh.internal:80", "-RouteConfiguration front/web/80",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			base := snapshotOf(t, model.Empty(), 1, caseInput(t, "http")+"---"+other)
			g := New()
			before := g.Generate(base)
			// Twice more, so that the memos have aged and been filled again.
			edit := base.Edit()
			edit.Apply(api.Put(workload("passing", "cart", "10.0.0.77")))
			g.Generate(edit.Commit(2))
			before2 := g.Generate(base)
			if c := changed(before, before2); slices.ContainsFunc(c, func(n string) bool { return n != "ClusterLoadAssignment shop/cart/80" }) {
				t.Fatalf("a passing workload left changes: %v", c)
			}
			edit = base.Edit()
			for _, c := range test.change {
				edit.Apply(c)
			}
			if got := changed(before2, g.Generate(edit.Commit(3))); !slices.Equal(got, test.want) {
				t.Errorf("changed %q, want %q", got, test.want)
			}
		})
	}
}

func TestVersionsAreEqualOnAllServers(t *testing.T) {
	snapshot := snapshotOf(t, model.Empty(), 1, caseInput(t, "policies"))
	again := snapshotOf(t, model.Empty(), 9, caseInput(t, "policies"))
	versions := make(map[string]string)
	for r := range New().Generate(snapshot).All {
		versions[r.TypeURL+r.Name] = r.Version
	}
	for r := range New().Generate(again).All {
		if versions[r.TypeURL+r.Name] != r.Version {
			t.Errorf("%s has versions %s and %s", r.Name, versions[r.TypeURL+r.Name], r.Version)
		}
	}
}

func TestEndpointHealthIsTheWorkloadsReport(t *testing.T) {
	no, yes := false, true
	for _, test := range []struct {
		status v1alpha1.WorkloadStatus
		want   core.HealthStatus
	}{
		{v1alpha1.WorkloadStatus{}, core.HealthStatus_UNKNOWN},
		{v1alpha1.WorkloadStatus{Healthy: &yes}, core.HealthStatus_HEALTHY},
		{v1alpha1.WorkloadStatus{Healthy: &no}, core.HealthStatus_UNHEALTHY},
		{v1alpha1.WorkloadStatus{Healthy: &yes, Draining: true}, core.HealthStatus_DRAINING},
	} {
		w := &v1alpha1.Workload{Spec: v1alpha1.WorkloadSpec{Address: "10.0.0.9", MeshPort: 1}, Status: test.status}
		w.Name, w.Namespace, w.Labels = "w", "shop", map[string]string{"app": "cart-v2"}
		edit := snapshotOf(t, model.Empty(), 1, caseInput(t, "http")).Edit()
		edit.Apply(api.Put(w))
		r := New().Generate(edit.Commit(2)).For("any", "one").Resource(xds.EndpointType, "shop/cart-v2/80")
		got := unpack(t, &anypb.Any{TypeUrl: r.TypeURL, Value: r.Body}).(*endpoint.ClusterLoadAssignment)
		if health := got.Endpoints[0].LbEndpoints[0].HealthStatus; health != test.want {
			t.Errorf("%+v is %s, want %s", test.status, health, test.want)
		}
	}
}

func TestAViewShowsOnlyTheIdentitysInboundListeners(t *testing.T) {
	set := New().Generate(snapshotOf(t, model.Empty(), 1, caseInput(t, "http")))
	for _, test := range []struct {
		namespace, account string
		typeURL, name      string
		want               bool
	}{
		{"shop", "cart", xds.ListenerType, "inbound/shop/cart-1", true},
		{"shop", "cart", xds.ListenerType, "plaintext/shop/cart-1/8080", true},
		{"shop", "cart-other", xds.ListenerType, "inbound/shop/cart-1", false},
		{"front", "cart", xds.ListenerType, "inbound/shop/cart-1", false},
		{"shop", "", xds.ListenerType, "inbound/shop/cart-1", false},
		{"front", "web", xds.ListenerType, "cart.shop.mesh.internal:80", true},
		{"front", "web", xds.ListenerType, "cart.shop.example.com:80", false},
		{"front", "web", xds.ListenerType, "cart:80", false},
		{"front", "web", xds.RouteType, "shop/cart/80", true},
		{"front", "web", xds.ClusterType, "shop/cart/80", true},
		{"front", "web", xds.EndpointType, "shop/cart/80", true},
		{"front", "web", xds.EndpointType, "shop/cart/81", false},
		{"front", "web", xds.ClusterType, "shop", false},
		{"shop", "cart", xds.ClusterType, "local/http/8080", true},
		{"front", "web", xds.ClusterType, "local/http/8080", false},
		{"front", "web", xds.ClusterType, "", false},
		{"front", "web", xds.ListenerType, "inbound/", false},
	} {
		view := set.For(test.namespace, test.account)
		if got := view.Resource(test.typeURL, test.name) != nil; got != test.want {
			t.Errorf("%s/%s sees %s: %v, want %v", test.namespace, test.account, test.name, got, test.want)
		}
		if got := slices.Contains(view.Names(test.typeURL), test.name); got != test.want {
			t.Errorf("%s/%s lists %s: %v, want %v", test.namespace, test.account, test.name, got, test.want)
		}
	}
}

func TestReservedNamespacesAreNotServed(t *testing.T) {
	set := New().Generate(snapshotOf(t, model.Empty(), 1, `
apiVersion: v1
kind: Service
metadata: {name: http, namespace: local}
spec: {ports: [{name: http, port: 8080}]}
`))
	for r := range set.All {
		t.Errorf("there is %s", r.Name)
	}
	if errs := set.Errors(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "namespace local") {
		t.Errorf("errors are %v", errs)
	}
}

package model

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

// mesh builds a snapshot from short lines, see objects.
func mesh(t testing.TB, text string) *Snapshot {
	t.Helper()
	return change(t, Empty(), text)
}

func change(t testing.TB, s *Snapshot, text string) *Snapshot {
	t.Helper()
	edit := s.Edit()
	for _, o := range objects(t, text) {
		edit.Apply(api.Put(o))
	}
	return edit.Commit(s.Rev + 1)
}

// objects decodes lines such as
//
//	svc shop/web 80 81/tcp          selects app=web
//	wl shop/web-1 app=web
//	route shop/web web:80 -> web:80 cart:80
//	tcp, grpc                       like route
//	peer shop/x STRICT web          targets a service; without one the namespace
//	authz shop/x ALLOW web to=80    to= limits it to a port
//	mesh a.example STRICT
func objects(t testing.TB, text string) []api.Object {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 0 {
			b.WriteString("---\n" + document(f))
		}
	}
	out, err := api.Decode([]byte(b.String()), "test")
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return out
}

func document(f []string) string {
	namespace, name, _ := strings.Cut(f[1], "/")
	head := func(version, kind, labels string) string {
		return fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {namespace: %s, name: %s, labels: {%s}}\nspec:\n", version, kind, namespace, name, labels)
	}
	switch f[0] {
	case "svc":
		out := head("v1", "Service", "") + "  selector: {app: " + name + "}\n  ports:\n"
		for i, p := range f[2:] {
			number, protocol, _ := strings.Cut(p, "/")
			if protocol == "" {
				protocol = "auto"
			}
			out += fmt.Sprintf("  - {name: %s-%d, port: %s}\n", protocol, i, number)
		}
		return out
	case "wl":
		return head(v1alpha1.APIVersion, "Workload", strings.ReplaceAll(f[2], "=", ": ")) + "  address: 127.0.0.1\n"
	case "route", "grpc", "tcp":
		kind := map[string]string{"route": "HTTPRoute", "grpc": "GRPCRoute", "tcp": "TCPRoute"}[f[0]]
		parent, port, hasPort := strings.Cut(f[2], ":")
		out := head("gateway.networking.k8s.io/v1", kind, "") + "  parentRefs:\n  - {group: \"\", kind: Service, name: " + parent
		if hasPort {
			out += ", port: " + port
		}
		out += "}\n  rules:\n  - backendRefs:\n"
		for _, backend := range f[4:] {
			to, number, _ := strings.Cut(backend, ":")
			where, short, crosses := strings.Cut(to, "/")
			if crosses {
				to = short + ", namespace: " + where
			}
			out += "    - {name: " + to + ", port: " + number + "}\n"
		}
		return out
	case "peer", "authz":
		kind, field := "PeerAuthentication", "mode"
		if f[0] == "authz" {
			kind, field = "AuthorizationPolicy", "action"
		}
		out := head(v1alpha1.APIVersion, kind, "") + "  " + field + ": " + f[2] + "\n"
		for _, target := range f[3:] {
			if port, limited := strings.CutPrefix(target, "to="); limited {
				out += "  rules: [{to: [{ports: [" + port + "]}]}]\n"
			} else if label, value, selects := strings.Cut(target, "="); selects {
				out += "  selector: {matchLabels: {" + label + ": " + value + "}}\n"
			} else if port, mode, level := strings.Cut(target, ":"); level {
				out += "  portLevel: [{port: " + port + ", mode: " + mode + "}]\n"
			} else {
				out += "  targetRefs: [{name: " + target + "}]\n"
			}
		}
		return out
	case "mesh":
		return "apiVersion: " + v1alpha1.APIVersion + "\nkind: Mesh\nmetadata: {name: default}\nspec: {trustDomain: " + f[1] + ", mtlsMode: " + f[2] + "}\n"
	}
	return "unknown test line"
}

const shop = `
	mesh a.example PERMISSIVE
	svc shop/web 80 81/tcp
	svc shop/cart 80
	wl shop/web-1 app=web
	wl shop/web-2 app=web
	wl shop/cart-1 app=cart
	route shop/web web:80 -> web:80 cart:80
	authz shop/all ALLOW
	authz shop/web DENY web
	authz leno-system/mesh AUDIT
	svc other/web 80
`

func TestSnapshotResolvesRelations(t *testing.T) {
	s := mesh(t, shop)
	web := s.Service("shop", "web")
	if len(web.Workloads) != 2 || web.Workloads[0].Name != "web-1" || web.Workloads[1].Name != "web-2" {
		t.Errorf("web selects %v", web.Workloads)
	}
	w := s.Workload("shop", "cart-1")
	if w.Account != "cart" || len(s.ServicesOf(w)) != 1 || s.ServicesOf(w)[0] != s.Service("shop", "cart") {
		t.Errorf("cart-1 has account %s and services %v", w.Account, w.Services)
	}
	routes := s.RoutesFor(web, 80)
	want := [][]Backend{{{Service: Key{"shop", "web"}, Port: 80, Weight: 1}, {Service: Key{"shop", "cart"}, Port: 80, Weight: 1}}}
	if len(routes) != 1 || !cmp.Equal(routes[0].Backends, want) {
		t.Errorf("routes of web:80 are %+v", routes)
	}
	if routes := s.RoutesFor(web, 81); routes != nil {
		t.Errorf("web:81 has routes %v", routes)
	}
	if got := web.Port(80).Protocol; got != ProtocolHTTP {
		t.Errorf("a port with an HTTPRoute speaks %s", got)
	}
	var names []string
	for _, p := range s.PoliciesFor(web, 80) {
		names = append(names, p.Namespace+"/"+p.Name)
	}
	if fmt.Sprint(names) != "[leno-system/mesh shop/all shop/web]" {
		t.Errorf("policies of web are %v", names)
	}
	if n := len(s.PoliciesFor(s.Service("other", "web"), 80)); n != 1 {
		t.Errorf("other/web has %d policies, want the mesh's", n)
	}
	if n := len(s.PoliciesOf(w)); n != 2 {
		t.Errorf("cart-1 has %d policies, want the mesh's and the namespace's", n)
	}
	if s.Service("shop", "none") != nil || s.Workload("none", "x") != nil || s.TrustDomain() != "a.example" {
		t.Error("lookups of what is not there")
	}
}

func TestAMeshWidePolicyAppliesOnceInItsOwnNamespace(t *testing.T) {
	s := mesh(t, "svc leno-system/web 80\nwl leno-system/w app=web\nauthz leno-system/mesh DENY\nauthz leno-system/own DENY web")
	if n := len(s.PoliciesFor(s.Service("leno-system", "web"), 80)); n != 2 {
		t.Errorf("the service has %d policies, want 2", n)
	}
	if n := len(s.PoliciesOf(s.Workload("leno-system", "w"))); n != 2 {
		t.Errorf("the workload has %d policies, want 2", n)
	}
}

func TestCommitKeepsPointersOfWhatDidNotChange(t *testing.T) {
	old := mesh(t, shop)
	web, cart, other := old.Service("shop", "web"), old.Service("shop", "cart"), old.Namespace("other")
	port, route := web.Port(80), old.RoutesFor(web, 80)[0]

	next := change(t, old, "wl shop/web-3 app=web")
	if len(web.Workloads) != 2 {
		t.Error("the old snapshot changed")
	}
	if next.Service("shop", "web") == web || len(next.Service("shop", "web").Workloads) != 3 {
		t.Error("web did not get its workload")
	}
	if next.Service("shop", "web").Port(80) != port || next.RoutesFor(web, 80)[0] != route {
		t.Error("a workload changed what requests are treated by")
	}
	if next.Service("shop", "cart") != cart || next.Namespace("other") != other || next.Workload("shop", "web-1") != old.Workload("shop", "web-1") {
		t.Error("what did not change has other pointers")
	}

	same := change(t, next, "svc shop/cart 80")
	if same.Namespace("shop") != next.Namespace("shop") || same.Rev != next.Rev+1 {
		t.Error("an object that says the same made a new namespace")
	}

	policy := change(t, next, "authz shop/cart DENY cart")
	if policy.Service("shop", "web").Port(80) != port || policy.Service("shop", "cart").Port(80) == cart.Port(80) {
		t.Error("a policy must change its own service's port only")
	}

	wide := change(t, next, "peer leno-system/all STRICT")
	if wide.Namespace("other") == other || wide.Service("other", "web").Port(80).PeerMode != v1alpha1.ModeStrict {
		t.Error("a mesh-wide policy did not reach the other namespaces")
	}
}

func TestRouteOutlivesItsBackend(t *testing.T) {
	s := mesh(t, shop)
	cart := api.Ref{Kind: api.Service, Namespace: "shop", Name: "cart"}
	next, problems := Validate(s, []api.Change{api.Delete(cart)})
	if Refused(problems) || len(problems) != 1 || problems[0].Reason != ReasonBackendNotFound {
		t.Fatalf("problems are %v", problems)
	}
	route := next.RoutesFor(next.Service("shop", "web"), 80)[0]
	if route.Backends[0][0].Reason != "" || route.Backends[0][1].Reason != ReasonBackendNotFound {
		t.Errorf("backends are %+v", route.Backends)
	}
	if len(next.Problems(route.Ref)) != 1 {
		t.Error("the route shows no problem")
	}
	again, _ := Validate(next, []api.Change{api.Put(s.Object(cart))})
	if again.RoutesFor(again.Service("shop", "web"), 80)[0].Backends[0][1].Reason != "" {
		t.Error("the route did not recover")
	}
}

func TestMostSpecificPeerAuthenticationWins(t *testing.T) {
	const base = "svc shop/web 80\nwl shop/web-1 app=web\n"
	for _, test := range []struct {
		name, text        string
		workload, service v1alpha1.Mode
	}{
		{"nothing", "", "PERMISSIVE", "PERMISSIVE"},
		{"mesh", "mesh a.example STRICT", "STRICT", "STRICT"},
		{"leno-system", "mesh a.example STRICT\npeer leno-system/a DISABLE", "DISABLE", "DISABLE"},
		{"namespace", "peer leno-system/a DISABLE\npeer shop/a STRICT", "STRICT", "STRICT"},
		{"service", "peer shop/a STRICT\npeer shop/b DISABLE web", "DISABLE", "DISABLE"},
		{"selector", "peer shop/b DISABLE web\npeer shop/c STRICT app=web", "STRICT", "DISABLE"},
		{"another selector", "peer shop/c STRICT app=cart", "PERMISSIVE", "PERMISSIVE"},
		{"port", "peer shop/a STRICT 80:DISABLE", "DISABLE", "DISABLE"},
		{"another port", "peer shop/a STRICT 81:DISABLE", "STRICT", "STRICT"},
		{"first by name", "peer shop/b DISABLE\npeer shop/a STRICT", "STRICT", "STRICT"},
		{"a target in leno-system", "svc leno-system/x 80\npeer leno-system/a STRICT x", "PERMISSIVE", "PERMISSIVE"},
	} {
		s := mesh(t, base+test.text)
		if got := s.PeerModeFor(s.Workload("shop", "web-1"), 80); got != test.workload {
			t.Errorf("%s: the workload is %s, want %s", test.name, got, test.workload)
		}
		if got := s.Service("shop", "web").Port(80).PeerMode; got != test.service {
			t.Errorf("%s: the service is %s, want %s", test.name, got, test.service)
		}
	}
}

func TestMostSpecificRouteKindWins(t *testing.T) {
	s := mesh(t, "svc shop/web 80\nroute shop/h web -> web:80\ngrpc shop/g web:80 -> web:80\ntcp shop/t web -> web:80")
	port := s.Service("shop", "web").Port(80)
	if len(port.GRPCRoutes) != 1 || port.HTTPRoutes != nil || port.TCPRoutes != nil || port.Protocol != ProtocolGRPC {
		t.Errorf("the port has %+v", port)
	}
}

func TestRoutesComeOldestFirst(t *testing.T) {
	list := objects(t, "svc shop/web 80\nroute shop/a web -> web:80\nroute shop/b web -> web:80\nroute shop/c web -> web:80")
	list[1].SetCreationTimestamp(unix(20))
	list[2].SetCreationTimestamp(unix(10))
	list[3].SetCreationTimestamp(unix(10))
	edit := Empty().Edit()
	for _, o := range list {
		edit.Apply(api.Put(o))
	}
	s := edit.Commit(1)
	var names []string
	for _, r := range s.RoutesFor(s.Service("shop", "web"), 80) {
		names = append(names, r.Ref.Name)
	}
	if !slices.Equal(names, []string{"b", "c", "a"}) {
		t.Errorf("the order is %v", names)
	}
}

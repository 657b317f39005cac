package model

import (
	"slices"
	"strings"
	"testing"

	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

func TestTheOnlyRegisteredPortServesTheOnlyPortOfAService(t *testing.T) {
	ports := func(numbers ...int32) (all []v1alpha1.WorkloadPort) {
		for _, n := range numbers {
			all = append(all, v1alpha1.WorkloadPort{Name: "web", Port: n})
		}
		return all
	}
	for _, c := range []struct {
		name  string
		port  Port
		ports []v1alpha1.WorkloadPort
		proxy string
		want  int32
		ok    bool
	}{
		{"registered with another number", Port{TargetPort: 80, Sole: true}, ports(8081), "p", 8081, true},
		{"registered with several ports, not this one", Port{TargetPort: 80, Sole: true}, ports(8081, 8082), "p", 0, false},
		{"registered with several ports, and this one", Port{TargetPort: 8082, Sole: true}, ports(8081, 8082), "p", 8082, true},
		{"registered without a port", Port{TargetPort: 80, Sole: true}, nil, "p", 0, false},
		{"one of several ports of the Service, not registered", Port{TargetPort: 80}, ports(8081), "p", 0, false},
		{"one of several ports of the Service, registered", Port{TargetPort: 8081}, ports(8081), "p", 8081, true},
		{"written by hand without ports", Port{TargetPort: 80}, nil, "", 80, true},
		{"not registered by a proxy", Port{TargetPort: 80, Sole: true}, ports(8081), "", 80, true},
		{"by name", Port{TargetName: "web", Sole: true}, ports(8081), "p", 8081, true},
		{"by a name, registered without a port", Port{TargetName: "web", Sole: true}, nil, "p", 0, false},
		{"by a name that it has not", Port{TargetName: "grpc", Sole: true}, ports(8081), "p", 0, false},
	} {
		w := &Workload{Object: &v1alpha1.Workload{}}
		w.Object.Spec.Ports, w.Object.Status.Proxy = c.ports, c.proxy
		if got, ok := w.TargetPort(&c.port); got != c.want || ok != c.ok {
			t.Errorf("%s: %d, %v; want %d, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

// TestCallersAndServersReadThePortLevelOfTheSamePort: else callers would send
// plaintext to a port that takes none.
func TestCallersAndServersReadThePortLevelOfTheSamePort(t *testing.T) {
	for _, level := range []string{"80", "8081"} {
		s := mesh(t, "svc shop/web 80\npeer shop/p STRICT web "+level+":DISABLE")
		w := &v1alpha1.Workload{Spec: v1alpha1.WorkloadSpec{Account: "web", Address: "10.0.0.1", MeshPort: 1, Ports: []v1alpha1.WorkloadPort{{Port: 8081}}}}
		w.Namespace, w.Name, w.Status.Proxy = "shop", "w", "w"
		w.Labels = map[string]string{"app": "web", v1alpha1.ServiceLabel: "web"}
		edit := s.Edit()
		edit.Apply(api.Put(w))
		s = edit.Commit(2)
		caller, server := s.Service("shop", "web").Port(80).PeerMode, s.PeerModeFor(s.Workload("shop", "w"), 8081)
		if caller != server || (caller == v1alpha1.ModeDisable) != (level == "8081") {
			t.Errorf("with a level for %s callers take it as %s and the workload as %s", level, caller, server)
		}
	}
}

func TestLabelsThatAProxyChoseDoNotMakeItServe(t *testing.T) {
	for _, test := range []struct {
		name, selector, annotation string
		proxy, service, account    string
		selected                   bool
	}{
		{"its own service", "app: cart", "", "p", "cart", "cart", true},
		{"another service", "app: cart", "", "p", "tok", "tok", false},
		{"no service", "app: cart", "", "p", "", "cart", false},
		{"a selector by the service", "app: cart, leno.dev/service: cart-v1", "", "p", "cart-v1", "cart-v1", true},
		{"the annotation", "app: cart", "tok", "p", "tok", "tok", true},
		{"another's annotation", "app: cart", "web", "p", "tok", "tok", false},
		{"written by hand", "app: cart", "", "", "", "", true},
	} {
		text := "apiVersion: v1\nkind: Service\nmetadata: {name: cart, namespace: shop"
		if test.annotation != "" {
			text += ", annotations: {leno.dev/account: " + test.annotation + "}"
		}
		list, err := api.Decode([]byte(text+"}\nspec: {selector: {"+test.selector+"}, ports: [{port: 80}]}\n"), "test")
		if err != nil {
			t.Fatal(err)
		}
		w := &v1alpha1.Workload{Spec: v1alpha1.WorkloadSpec{Account: test.account, Address: "10.0.0.1", Ports: []v1alpha1.WorkloadPort{{Port: 80}}}}
		w.Namespace, w.Name, w.Labels, w.Status.Proxy = "shop", "w", map[string]string{"app": "cart"}, test.proxy
		if test.service != "" {
			w.Labels[v1alpha1.ServiceLabel] = test.service
		}
		edit := Empty().Edit()
		edit.Apply(api.Put(list[0]))
		edit.Apply(api.Put(w))
		s := edit.Commit(1)
		if got := len(s.Service("shop", "cart").Workloads) == 1 && len(s.Workload("shop", "w").Services) == 1; got != test.selected {
			t.Errorf("%s: selected %v, want %v", test.name, got, test.selected)
		}
		for _, ref := range []api.Ref{api.RefOf(list[0]), api.RefOf(w)} {
			told := slices.ContainsFunc(s.Problems(ref), func(p Problem) bool {
				return p.Severity == Warning && strings.Contains(p.Message, "annotate the Service leno.dev/account: "+test.account)
			})
			if told == test.selected {
				t.Errorf("%s: the problems of %s are %v", test.name, ref, s.Problems(ref))
			}
		}
	}
}

// The core group has two spellings. A DENY that one of them turns into nothing
// would be worse than none.
func TestAPolicyTargetsAServiceInEitherSpellingOfItsGroup(t *testing.T) {
	for group, want := range map[gateway.Group]bool{"": true, "core": true, "apps": false} {
		if got := targets([]v1alpha1.TargetRef{{Group: group, Kind: "Service", Name: "web"}}, "web"); got != want {
			t.Errorf("group %q: %v", group, got)
		}
	}
}

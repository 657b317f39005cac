package model

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

func unix(seconds int64) metav1.Time { return metav1.NewTime(time.Unix(seconds, 0)) }

func TestValidateSeesAllObjectsOfAFile(t *testing.T) {
	const services = "svc shop/web 80\nsvc shop/cart 80\nsvc shop/db 5432/tcp\nwl shop/a app=web\nwl shop/b app=cart\nwl shop/c app=db\n"
	for _, test := range []struct{ name, before, file, want string }{
		{"service and route together", "", services + "route shop/web web:80 -> cart:80", ""},
		{"dangling backend", services, "route shop/web web:80 -> crat:80",
			"error HTTPRoute/shop/web: spec.rules[0].backendRefs[0]: there is no service shop/crat, did you mean cart?; what matches it is answered 500"},
		{"missing backend port", services, "route shop/web web:80 -> cart:81",
			"error HTTPRoute/shop/web: spec.rules[0].backendRefs[0].port: service shop/cart has no port 81; its ports are 80"},
		{"dangling parent", services, "route shop/web wob:80 -> cart:80",
			"error HTTPRoute/shop/web: spec.parentRefs[0]: there is no service shop/wob, did you mean web?"},
		{"missing parent port", services, "route shop/web web:88 -> cart:80",
			"error HTTPRoute/shop/web: spec.parentRefs[0].port: service shop/web has no port 88; its ports are 80"},
		{"backend in another namespace", services + "svc other/x 80\n", "route shop/web web:80 -> other/x:80",
			"error HTTPRoute/shop/web: spec.rules[0].backendRefs[0]: the service other/x is in another namespace, which needs a ReferenceGrant; Leno has none yet"},
		{"HTTP on a TCP port", services, "route shop/db db:5432 -> db:5432",
			"error HTTPRoute/shop/db: spec.parentRefs[0]: port 5432 of service shop/db speaks tcp; an HTTPRoute needs a port that speaks http, http2 or grpc"},
		{"two kinds on a port", services + "grpc shop/g web:80 -> web:80\n", "route shop/h web:80 -> web:80",
			"warning HTTPRoute/shop/h: spec.parentRefs[0]: it is not used on port 80 of service shop/web: GRPCRoute/shop/g is attached there and comes first"},
		{"cycle", services + "route shop/a web:80 -> cart:80\n", "route shop/b cart:80 -> web:80",
			"warning HTTPRoute/shop/a: spec.rules: the routes of services web → cart → web send in a circle; a request is routed once only, where it is sent\n" +
				"warning HTTPRoute/shop/b: spec.rules: the routes of services cart → web → cart send in a circle; a request is routed once only, where it is sent"},
		{"canary of itself", services, "route shop/a web:80 -> web:80 cart:80", ""},
		{"no backends", services, "route shop/a web:80 ->",
			"warning HTTPRoute/shop/a: spec.rules[0]: the rule has no backendRefs: what matches it is answered 500"},
		{"selector without a match", services, "svc shop/idle 80", "warning Service/shop/idle: spec.selector: it selects no workload"},
		{"peer without a target", services, "peer shop/p STRICT none",
			"error PeerAuthentication/shop/p: spec.targetRefs[0]: there is no service shop/none"},
		{"peer without a match", services, "peer shop/p STRICT app=none", "warning PeerAuthentication/shop/p: spec.selector: it selects no workload"},
		{"policy without a target", services, "authz shop/p ALLOW wab",
			"error AuthorizationPolicy/shop/p: spec.targetRefs[0]: there is no service shop/wab, did you mean web?"},
		{"policy for a port that is not there", services, "authz shop/p DENY web to=8080",
			"error AuthorizationPolicy/shop/p: spec.rules[0].to[0].ports[0]: service shop/web has no port 8080; its ports are 80"},
		{"policy for a port of one target", services, "authz shop/p DENY web to=80", ""},
		{"target in another namespace", services, "authz other/p ALLOW web",
			"error AuthorizationPolicy/other/p: spec.targetRefs[0]: there is no service other/web"},
		{"trust domain", "mesh a.example STRICT\n", "mesh b.example STRICT",
			"error Mesh/leno-system/default: spec.trustDomain: the trust domain is a.example and cannot be changed to b.example: every identity is in it"},
		{"mode of the mesh", "mesh a.example STRICT\n", "mesh a.example PERMISSIVE", ""},
		{"old problems of others", services + "authz shop/x ALLOW none\n", "svc shop/web 80 81", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var changes []api.Change
			for _, o := range objects(t, test.file) {
				changes = append(changes, api.Put(o))
			}
			_, problems := Validate(mesh(t, test.before), changes)
			if got := show(problems); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if Refused(problems) != strings.Contains(test.want, "error ") {
				t.Error("Refused does not agree with the problems")
			}
		})
	}
}

func show(problems []Problem) string {
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = map[Severity]string{Warning: "warning ", Error: "error "}[p.Severity] + p.String()
	}
	return strings.Join(lines, "\n")
}

func TestValidateRefusesToDeleteWhatIsNeeded(t *testing.T) {
	s := mesh(t, shop)
	edit := s.Edit()
	edit.Apply(api.Put(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}))
	s = edit.Commit(2)
	for ref, want := range map[api.Ref]string{
		meshRef:                             "error Mesh/leno-system/default: the Mesh holds the trust domain a.example and cannot be deleted",
		{Kind: api.Namespace, Name: "shop"}: "error Namespace/shop: the namespace still has 8 objects, such as AuthorizationPolicy/shop/all; delete them first",
	} {
		if _, problems := Validate(s, []api.Change{api.Delete(ref)}); show(problems) != want {
			t.Errorf("deleting %s: %s, want %s", ref, show(problems), want)
		}
	}
	if _, problems := Validate(s, []api.Change{api.Delete(api.Ref{Kind: api.Service, Namespace: "other", Name: "web"})}); len(problems) > 0 {
		t.Errorf("deleting what nobody needs: %v", problems)
	}
}

func BenchmarkWorkloadChange(b *testing.B) {
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "svc shop/s%d 80\nroute shop/s%d s%d:80 -> s%d:80\n", i, i, i, i)
		for j := range 20 {
			fmt.Fprintf(&text, "wl shop/s%d-%d app=s%d\n", i, j, i)
		}
	}
	s := mesh(b, text.String())
	one, other := objects(b, "wl shop/x app=s0")[0], objects(b, "wl shop/x app=s1")[0]
	for b.Loop() {
		edit := s.Edit()
		edit.Apply(api.Put(one))
		s = edit.Commit(s.Rev + 1)
		one, other = other, one
	}
}

func TestRouteStatusSaysWhyARouteIsNotAccepted(t *testing.T) {
	s := mesh(t, "svc shop/web 80\nwl shop/w app=web\nroute shop/good web:80 -> web:80\nroute shop/dangling web:80 -> none:80\nroute shop/lost none:80 -> web:80")
	for name, want := range map[string]string{
		"good":     "Accepted True Accepted, ResolvedRefs True ResolvedRefs",
		"dangling": "Accepted True Accepted, ResolvedRefs False BackendNotFound",
		"lost":     "Accepted False NoMatchingParent, ResolvedRefs True ResolvedRefs",
	} {
		var got []string
		for _, p := range s.RouteStatus(s.Route(api.Ref{Kind: api.HTTPRoute, Namespace: "shop", Name: name})).Parents {
			for _, c := range p.Conditions {
				got = append(got, fmt.Sprintf("%s %s %s", c.Type, c.Status, c.Reason))
			}
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
}

func TestCheckFindsWorkloadsAtOneAddress(t *testing.T) {
	list := objects(t, "wl shop/b app=web\nwl shop/a app=web\nwl shop/c app=web")
	for i, port := range []int32{15008, 15008, 15009} {
		list[i].(*v1alpha1.Workload).Spec.MeshPort = port
	}
	var changes []api.Change
	for _, o := range list {
		changes = append(changes, api.Put(o))
	}
	_, problems := Validate(Empty(), changes)
	if got := show(problems); got != "warning Workload/shop/b: spec.meshPort: workload shop/a has the same address 127.0.0.1 and mesh port 15008" {
		t.Error(got)
	}
}

package mesh_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"testing"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/test/mesh/meshtest"
)

// spelled sends a request whose target is written as it is given, and returns
// the status of the answer.
func spelled(t *testing.T, address, host, target string) int {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", target, host)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestAPathIsDeniedHoweverItIsSpelled(t *testing.T) {
	m := meshtest.New(t)
	app := m.HTTPApp(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	m.Apply(meshtest.Service("vault", 80, app, "http") + `
apiVersion: mesh.leno.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: vault}
spec:
  targetRefs: [{group: "", kind: Service, name: vault}]
  action: DENY
  rules: [{to: [{paths: [/admin, /admin/*]}]}]
---
apiVersion: mesh.leno.dev/v1alpha1
kind: PeerAuthentication
metadata: {name: loose}
spec: {mode: PERMISSIVE}
`)
	web := m.Join("web", "web-1")
	m.Join("vault", "vault-1", meshtest.WithPort(app))
	m.Registered(2)
	res, err := m.Admin.Get(t.Context(), &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "workload", Namespace: "default", Name: "vault-1"}})
	if err != nil {
		t.Fatal(err)
	}
	object, err := api.DecodeStored([]byte(res.GetObject().GetJson()))
	if err != nil {
		t.Fatal(err)
	}
	plaintext := fmt.Sprintf("127.0.0.1:%d", object.(*v1alpha1.Workload).Spec.Ports[0].PlaintextPort)

	for path, want := range map[string]int{
		"/admin": 403, "//admin": 403, "/./admin": 403, "/x/../admin": 403, "/%61dmin": 403, "/.//admin": 403,
		"/x//../admin": 403, "//admin//keys": 403, "/admin/%6beys": 403, "/admin?x=//": 403,
		"/x%2f..%2fadmin": 400, `/x\..\admin`: 400, "/../admin": 400,
		"/administer": 200, "/": 200, "/x//y": 200,
	} {
		if got := spelled(t, web.Bound.HTTPProxy, "vault", "http://vault"+path); got != want {
			t.Errorf("%s by mutual TLS: %d, want %d", path, got, want)
		}
		if got := spelled(t, plaintext, "vault", path); got != want {
			t.Errorf("%s by plaintext: %d, want %d", path, got, want)
		}
	}
}

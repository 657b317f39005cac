package mesh_test

import (
	"net/http"
	"testing"

	"github.com/leno-mesh/leno/proxy/agent"
	"github.com/leno-mesh/leno/test/mesh/meshtest"
)

func TestOnlyAServicesOwnWorkloadsGetItsCalls(t *testing.T) {
	m := meshtest.New(t)
	app, other := m.HTTPApp(meshtest.Text("cart")), m.HTTPApp(meshtest.Text("stranger"))
	m.Apply(`
apiVersion: v1
kind: Service
metadata: {name: cart}
spec:
  selector: {app: cart}
  ports: [{name: http, port: 80, appProtocol: http}]
`)
	labelled := func(s *agent.Sidecar) { s.Labels["app"] = "cart" }
	web := m.Join("web", "web-1")
	m.Join("cart", "cart-1", meshtest.WithPort(app), labelled)
	m.Join("cart", "cart-job", labelled)                           // serves nothing
	m.Join("other", "other-1", meshtest.WithPort(other), labelled) // of another account
	m.Registered(4)
	for range 50 {
		if status, body := web.Get("http://cart/"); status != http.StatusOK || body != "cart" {
			t.Fatalf("got %d %q", status, body)
		}
	}
}

package ledger

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/proxy/agent"
	"github.com/leno-mesh/leno/test/mesh/meshtest"
)

// TestAPairOfSidecarsLosesNothing sends the mix through two proxies of a mesh:
// the caller's and that of a backend, with mutual TLS between.
func TestAPairOfSidecarsLosesNothing(t *testing.T) {
	n, rate := volume(t, 1000, 200)
	l := New()
	all := backends(t, l)
	w, admin := pair(t, all)
	requests := Mix(n, 3, deadline, "one", "two")
	clean(t, l, requests, run(t, l, w, requests, rate))
	counted(t, requests, admin)
}

// ports are those of a backend's service.
var ports = map[Way]uint16{OverHTTP1: 80, OverHTTP2: 81, OverGRPC: 82, OverTCP: 83}

// pair runs a mesh with a sidecar for each backend and one for the client, and
// returns the client's doors and the admin socket of its sidecar.
func pair(t testing.TB, all []*Backend) (w World, admin string) {
	t.Helper()
	m := meshtest.New(t)
	patient(t, m)
	var services strings.Builder
	for _, b := range all {
		fmt.Fprintf(&services, `
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  selector: {leno.dev/service: %s}
  ports:
`, b.Name, b.Name)
		for _, way := range Ways {
			protocol := map[Way]string{OverHTTP1: "http", OverHTTP2: "kubernetes.io/h2c", OverGRPC: "grpc", OverTCP: "tcp"}[way]
			fmt.Fprintf(&services, "  - {name: %s, port: %d, targetPort: %d, appProtocol: %s}\n", way, ports[way], b.Ports[way], protocol)
		}
		services.WriteString("---")
	}
	m.Apply(services.String())
	dir, err := os.MkdirTemp("", "leno") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	admin = filepath.Join(dir, "admin.sock")
	w = World{}
	options := []meshtest.Option{func(s *agent.Sidecar) { s.Admin = admin }}
	for _, b := range all {
		var served []meshtest.Option
		for _, way := range Ways {
			local := m.FreePort()
			w[Door{b.Name, way}] = local
			options = append(options, meshtest.WithUpstream(b.Name, ports[way], local))
			if way != OverHTTP2 { // which has the port of HTTP/1.1
				served = append(served, meshtest.WithPort(b.Ports[way]))
			}
		}
		m.Join(b.Name, b.Name+"-1", served...)
	}
	m.Join("web", "web-1", options...)
	m.Registered(len(all) + 1)
	return w, admin
}

// patient makes the mesh wait for connections as long as a busy machine needs:
// a caller's tunnel is to be refused by a fault, not by the clock.
func patient(t testing.TB, m *meshtest.Mesh) {
	t.Helper()
	res, err := m.Admin.Get(t.Context(), &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "mesh", Namespace: "leno-system", Name: "default"}})
	if err != nil {
		t.Fatal(err)
	}
	o, err := api.DecodeStored([]byte(res.GetObject().GetJson()))
	if err != nil {
		t.Fatal(err)
	}
	spec := o.(*v1alpha1.Mesh).Spec
	m.Apply(fmt.Sprintf(`
apiVersion: mesh.leno.dev/v1alpha1
kind: Mesh
metadata: {name: default, namespace: leno-system}
spec: {trustDomain: %s, mtlsMode: %s, timeouts: {connect: 30s}}
`, spec.TrustDomain, spec.MTLSMode))
}

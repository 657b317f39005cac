package generate

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/anypb"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/xds"
)

// TestARegisteredWorkloadServesOnlyThePortsItDeclared: the database that happens
// to listen beside a program is not the program's to offer.
func TestARegisteredWorkloadServesOnlyThePortsItDeclared(t *testing.T) {
	const two = `
apiVersion: mesh.leno.dev/v1alpha1
kind: Mesh
metadata: {name: default, namespace: leno-system}
spec: {trustDomain: test.leno.internal, mtlsMode: STRICT}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: shop}
spec: {selector: {leno.dev/service: db}, ports: [{name: tcp-a, port: 5432}, {name: tcp-b, port: 6379}]}
`
	for _, test := range []struct {
		name  string
		ports []v1alpha1.WorkloadPort
		want  []string // Service ports that it is an endpoint of
	}{
		{"no port", nil, nil},
		{"another port", []v1alpha1.WorkloadPort{{Port: 8080}}, nil},
		{"one of them", []v1alpha1.WorkloadPort{{Port: 6379}}, []string{"6379"}},
		{"both", []v1alpha1.WorkloadPort{{Port: 5432}, {Port: 6379}}, []string{"5432", "6379"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &v1alpha1.Workload{Spec: v1alpha1.WorkloadSpec{Account: "db", Address: "10.0.0.1", MeshPort: 15008, Ports: test.ports}}
			w.Name, w.Namespace, w.Labels, w.Status.Proxy = "db-1", "shop", map[string]string{"leno.dev/service": "db"}, "db-1"
			edit := snapshotOf(t, model.Empty(), 1, two).Edit()
			edit.Apply(api.Put(w))
			set := New().Generate(edit.Commit(2))
			view := set.For("shop", "db")
			for _, port := range []string{"5432", "6379"} {
				serves := slices.Contains(test.want, port)
				r := view.Resource(xds.EndpointType, "shop/db/"+port)
				if got := unpack(t, &anypb.Any{TypeUrl: r.TypeURL, Value: r.Body}).(*endpoint.ClusterLoadAssignment); len(got.Endpoints) > 0 != serves {
					t.Errorf("port %s has endpoints %v", port, got.Endpoints)
				}
				if got := view.Resource(xds.ClusterType, "local/tcp/"+port) != nil; got != serves {
					t.Errorf("port %s has a local cluster: %v", port, got)
				}
				if got := view.Resource(xds.ListenerType, "plaintext/shop/db-1/"+port) != nil; got != serves {
					t.Errorf("port %s has a listener for plaintext: %v", port, got)
				}
				inbound, cluster := project(t, view.Resource(xds.ListenerType, "inbound/shop/db-1")), project(t, view.Resource(xds.ClusterType, "shop/db/"+port))
				if got := strings.Contains(inbound, "shop/db/"+port) || strings.Contains(inbound, ":"+port); got != serves {
					t.Errorf("port %s has a chain: %v\n%s", port, got, inbound)
				}
				if got := strings.Contains(cluster, "/sa/db"); got != serves {
					t.Errorf("the workload may answer for port %s: %v\n%s", port, got, cluster)
				}
			}
		})
	}
}

package api

import (
	"testing"
)

const shop = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports:
  - {name: http, port: 80, targetPort: 8080}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules:
  - matches: [{path: {value: /cart}}]
    backendRefs: [{name: web, port: 80}]
    timeouts: {request: 10s}
---
apiVersion: mesh.leno.dev/v1alpha1
kind: Workload
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {address: 127.0.0.1, meshPort: 15008, ports: [{port: 8080, plaintextPort: 9000}]}
`

func TestDecodeReadsEveryDocument(t *testing.T) {
	objects, err := Decode([]byte(shop), "shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := EncodeYAML(objects, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", text)
	again, err := Decode(text, "again.yaml")
	if err != nil || len(again) != 4 {
		t.Fatalf("%d objects, %v", len(again), err)
	}
}

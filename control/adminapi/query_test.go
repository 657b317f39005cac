package adminapi

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

const workload = `apiVersion: mesh.leno.dev/v1alpha1
kind: Workload
metadata:
  name: cart-1
  namespace: shop
  labels: {app: cart}
spec:
  address: 127.0.0.1
  meshPort: 15008
  ports: [{port: 8080}]
`

func TestListKnowsKindsByAllTheirNames(t *testing.T) {
	m := start(t)
	m.apply(t, cart+"---\n"+strings.Replace(cart, "shop", "other", 1))
	for _, kind := range []string{"Service", "services", "SVC"} {
		all, err := m.List(t.Context(), &adminv1.ListRequest{Kind: kind})
		if err != nil || len(all.GetObjects()) != 2 {
			t.Errorf("%s: %v %v", kind, all, err)
		}
	}
	one, err := m.List(t.Context(), &adminv1.ListRequest{Kind: "svc", Namespace: "other"})
	if err != nil || len(one.GetObjects()) != 1 {
		t.Errorf("%v %v", one, err)
	}
	if _, err := m.List(t.Context(), &adminv1.ListRequest{Kind: "httproutes.gateway.networking.k8s.io"}); err != nil {
		t.Error(err)
	}
	_, err = m.List(t.Context(), &adminv1.ListRequest{Kind: "sevice"})
	if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "did you mean service") {
		t.Errorf("%v", err)
	}
}

func TestListSelectsByLabel(t *testing.T) {
	m := start(t)
	m.apply(t, workload+"---\n"+strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(workload, "cart", "web"), "15008", "15009"), "8080", "8081"))
	list, err := m.List(t.Context(), &adminv1.ListRequest{Kind: "workload", Selector: "app=cart"})
	if err != nil || !slices.Equal(names(list.GetObjects()), []string{"cart-1"}) {
		t.Errorf("%v %v", list, err)
	}
	if _, err := m.List(t.Context(), &adminv1.ListRequest{Kind: "workload", Selector: "=="}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("%v", err)
	}
}

func TestDescribeShowsBothEndsOfReferences(t *testing.T) {
	m := start(t)
	selecting := strings.Replace(cart, "spec:\n", "spec:\n  selector: {app: cart}\n", 1)
	m.apply(t, strings.Replace(selecting, "port: 80\n", "port: 80\n    targetPort: 8080\n", 1)+"---\n"+route+"---\n"+workload)
	page, err := m.Describe(t.Context(), &adminv1.DescribeRequest{Reference: &adminv1.Reference{Kind: "service", Namespace: "shop", Name: "cart"}})
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, r := range page.GetReferrers() {
		fields = append(fields, r.GetObject().GetKind()+" "+r.GetField())
	}
	if want := []string{"HTTPRoute spec.parentRefs[0]", "HTTPRoute spec.rules[0].backendRefs[0]"}; !slices.Equal(fields, want) {
		t.Errorf("referrers %v", fields)
	}
	workloads := page.GetService().GetWorkloads()
	if len(workloads) != 1 || !workloads[0].GetMesh() || !workloads[0].GetHealthy() {
		t.Errorf("workloads %v", workloads)
	}
	if routes := page.GetService().GetRoutes(); len(routes) != 1 || routes[0].GetName() != "cart" {
		t.Errorf("routes %v", routes)
	}
	page, err = m.Describe(t.Context(), &adminv1.DescribeRequest{Reference: &adminv1.Reference{Kind: "workload", Namespace: "shop", Name: "cart-1"}})
	if err != nil || len(page.GetReferrers()) != 1 || page.GetReferrers()[0].GetObject().GetKind() != "Service" {
		t.Errorf("%v %v", page, err)
	}
}

func TestWatchSendsWhatIsThereAndThenChanges(t *testing.T) {
	m := start(t)
	m.apply(t, cart)
	stream, err := m.Watch(t.Context(), &adminv1.WatchRequest{Kind: "service", Namespace: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	next := func(want string) {
		t.Helper()
		if !stream.Receive() {
			t.Fatal(stream.Err())
		}
		if got := strings.TrimSpace(stream.Msg().GetEvent() + " " + stream.Msg().GetObject().GetReference().GetName()); got != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	next("added cart")
	next("synced")
	m.apply(t, strings.Replace(cart, "shop", "other", 1))
	m.apply(t, strings.Replace(cart, "name: cart", "name: web", 1))
	next("added web")
	m.apply(t, strings.Replace(cart, "http", "grpc", 1))
	next("modified cart")
	if _, err := m.Delete(t.Context(), &adminv1.DeleteRequest{Documents: document(cart)}); err != nil {
		t.Fatal(err)
	}
	next("deleted cart")
}

func TestWaitEndsWhenEveryProxyHasAnswered(t *testing.T) {
	m := start(t)
	m.apply(t, cart)
	m.proxies.set(&adminv1.WaitResponse{Done: 0, Total: 2, Waiting: []string{"a", "b"}})
	stream, err := m.AdminClient.Wait(t.Context(), &adminv1.WaitRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || stream.Msg().GetFinished() || stream.Msg().GetTotal() != 2 {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	m.proxies.set(&adminv1.WaitResponse{Done: 1, Total: 2, Rejected: []*adminv1.Rejection{{Proxy: "b", Reason: "no"}, {Proxy: "b", Reason: "no again"}}})
	if !stream.Receive() || !stream.Msg().GetFinished() {
		t.Fatalf("%v %v", stream.Msg(), stream.Err())
	}
	if stream.Receive() {
		t.Fatal("more after the last message")
	}
	future, err := m.AdminClient.Wait(t.Context(), &adminv1.WaitRequest{Revision: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer future.Close()
	if future.Receive() || connect.CodeOf(future.Err()) != connect.CodeInvalidArgument {
		t.Errorf("%v", future.Err())
	}
}

func TestWaitIncludesThatTheRevisionIsServed(t *testing.T) {
	m := start(t)
	m.apply(t, cart)
	m.proxies.generated, m.proxies.asked = make(chan struct{}), make(chan struct{})
	answered := make(chan error)
	go func() {
		stream, err := m.AdminClient.Wait(t.Context(), &adminv1.WaitRequest{})
		if err == nil {
			stream.Receive()
			err = stream.Close()
		}
		answered <- err
	}()
	select {
	case <-m.proxies.asked:
	case err := <-answered:
		t.Fatalf("an answer before the revision is served: %v", err)
	}
	close(m.proxies.generated)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestStatusCounts(t *testing.T) {
	m := start(t)
	m.apply(t, cart+"---\n"+workload)
	m.apply(t, route)
	if _, err := m.Delete(t.Context(), &adminv1.DeleteRequest{References: []*adminv1.Reference{{Kind: "svc", Namespace: "shop", Name: "cart"}}}); err != nil {
		t.Fatal(err)
	}
	m.apply(t, strings.Replace(cart, "name: cart", "name: web", 1)) // waits for the snapshot
	status, err := m.Status(t.Context(), &adminv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if status.GetWorkloads() != 1 || status.GetStore().GetObjects() != 3 || status.GetStore().GetRevision() != 4 {
		t.Errorf("%v", status)
	}
	if len(status.GetProblems()) == 0 || status.GetProblems()[0].GetObject().GetKind() != "HTTPRoute" {
		t.Errorf("problems %v", status.GetProblems())
	}
	if got := status.GetProxies()[0].GetName(); got != "dns-1" {
		t.Errorf("the first proxy is %s", got)
	}
}

func TestProxyDumpKnowsItsProxies(t *testing.T) {
	m := start(t)
	for _, name := range []string{"cart-1", "shop/cart-1", "shop/cart/cart-1"} {
		dump, err := m.ProxyDump(t.Context(), &adminv1.ProxyDumpRequest{Proxy: name, What: "certs"})
		if err != nil || dump.GetJson() != `{"what":"certs"}` {
			t.Errorf("%s: %v %v", name, dump, err)
		}
	}
	_, err := m.ProxyDump(t.Context(), &adminv1.ProxyDumpRequest{Proxy: "cart-2", What: "certs"})
	if connect.CodeOf(err) != connect.CodeNotFound || !strings.Contains(err.Error(), "did you mean cart-1?") {
		t.Errorf("%v", err)
	}
	_, err = m.ProxyDump(t.Context(), &adminv1.ProxyDumpRequest{Proxy: "envoy-1", What: "certs"})
	if connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("%v", err)
	}
	_, err = m.ProxyDump(t.Context(), &adminv1.ProxyDumpRequest{Proxy: "web-1", What: "certs"})
	if connect.CodeOf(err) != connect.CodeInternal || !strings.Contains(err.Error(), "the proxy hung up") {
		t.Errorf("%v", err)
	}
	if _, err = m.ProxyDump(t.Context(), &adminv1.ProxyDumpRequest{Proxy: "cart-1", What: "keys"}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("%v", err)
	}
}

func TestTrafficIsOfANamespace(t *testing.T) {
	m := start(t)
	stream, err := m.AdminClient.Traffic(t.Context(), &adminv1.TrafficRequest{Namespace: "shop", Once: true})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || len(stream.Msg().GetRows()) != 1 || stream.Msg().GetWindowMilliseconds() != 10000 {
		t.Errorf("%v %v", stream.Msg(), stream.Err())
	}
}

func TestTokenRequestsAreBounded(t *testing.T) {
	for _, r := range []*adminv1.CreateTokenRequest{
		{},
		{Service: "Cart"},
		{Service: "cart", Namespace: "../x"},
		{Service: "cart", Account: "a/b"},
		{Service: "cart", TtlSeconds: -1},
		{Service: "cart", TtlSeconds: 1 << 62},
		{Service: "cart", Uses: 1 << 31},
	} {
		if got, err := tokenRequest(r); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%v gave %v, %v", r, got, err)
		}
	}
	got, err := tokenRequest(&adminv1.CreateTokenRequest{Service: "cart"})
	if want := (TokenRequest{Namespace: "default", Service: "cart", Account: "cart", TTL: time.Hour, Uses: 1}); err != nil || got != want {
		t.Errorf("%v, %v", got, err)
	}
}

func TestNothingAnswersToGet(t *testing.T) {
	h := New(Config{}).Handler()
	for _, call := range []string{"Apply", "Delete", "CreateToken", "RevokeToken", "Status", "List"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/leno.admin.v1.Admin/"+call+"?encoding=json&message={}", nil))
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("GET of %s gives %d", call, w.Code)
		}
	}
}

func TestStatusKnowsEveryKind(t *testing.T) {
	m := start(t)
	var all []string
	for _, info := range api.Kinds() {
		object := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: cart, namespace: shop}\n", info.APIVersion, info.Kind)
		switch info.Kind {
		case api.Namespace:
			object = strings.Replace(object, ", namespace: shop", "", 1)
		case api.Mesh:
			object = strings.Replace(object, "name: cart, namespace: shop", "name: default, namespace: leno-system", 1) + "spec: {trustDomain: test.leno.internal}\n"
		case api.Service:
			object = cart
		case api.Workload:
			object = workload
		case api.HTTPRoute, api.GRPCRoute, api.TCPRoute:
			object += "spec:\n  parentRefs: [{group: '', kind: Service, name: cart}]\n  rules: [{backendRefs: [{name: cart, port: 80}]}]\n"
		case api.PeerAuthentication:
			object += "spec: {mode: STRICT}\n"
		}
		all = append(all, object)
	}
	m.apply(t, strings.Join(all, "---\n"))
	status, err := m.Status(t.Context(), &adminv1.StatusRequest{})
	if err != nil || int(status.GetStore().GetObjects()) != len(api.Kinds()) {
		t.Errorf("%v %v, want %d objects", status, err, len(api.Kinds()))
	}
}

package adminapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"go.uber.org/goleak"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/control/store"
	"github.com/leno-mesh/leno/control/store/memory"
	"github.com/leno-mesh/leno/lib/cell"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mesh is a control plane without proxies, behind its admin API.
type mesh struct {
	adminv1connect.AdminClient
	store   *memory.Store
	proxies *fakeProxies
	busy    atomic.Int32 // transactions that somebody comes in before
	handler http.Handler
}

func start(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{store: memory.New(), proxies: &fakeProxies{changed: make(chan struct{})}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	snapshots := follow(t, ctx, &running, m.store)
	server := New(Config{
		Version: "v1", StartedAt: time.UnixMilli(1000), Store: &busyStore{Store: m.store, busy: &m.busy},
		StoreInfo: func() (string, int64) { return "mesh.db", 4096 },
		Snapshots: snapshots,
		Trust:     func() *adminv1.Trust { return &adminv1.Trust{Domain: "test.leno.internal"} },
		Proxies:   m.proxies, Traffic: fakeTraffic{}, Tokens: fakeTokens{},
	})
	m.handler = server.Handler()
	path := filepath.Join(t.TempDir(), "admin.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		if err := Serve(ctx, l, server.Handler()); err != nil {
			t.Error(err)
		}
	})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		running.Wait()
		m.store.Close()
	})
	m.AdminClient = adminv1connect.NewAdminClient(&http.Client{Transport: transport}, "http://localhost")
	return m
}

// follow makes snapshots of a store.
func follow(t *testing.T, ctx context.Context, running *sync.WaitGroup, s store.Store) *cell.Cell[model.Snapshot] {
	snapshots := cell.New(model.Empty())
	watch, err := s.Watch(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() {
		for batch := range watch.Batches() {
			edit := snapshots.Load().Edit()
			for _, change := range batch.Changes {
				edit.Apply(change)
			}
			snapshots.Store(edit.Commit(batch.Revision))
		}
	})
	return snapshots
}

// busyStore has another writer that touches an object just before a transaction.
type busyStore struct {
	store.Store
	busy *atomic.Int32
}

func (s *busyStore) Transaction(ops []store.Op) (store.Result, error) {
	if s.busy.Add(-1) >= 0 {
		if o, err := s.Get(ops[0].Ref); err == nil {
			o.SetAnnotations(map[string]string{"seen": fmt.Sprint(s.busy.Load())})
			if _, err := s.Put(o); err != nil {
				return store.Result{}, err
			}
		}
	}
	return s.Store.Transaction(ops)
}

type fakeProxies struct {
	mu       sync.Mutex
	progress *adminv1.WaitResponse
	changed  chan struct{}
	// generated, unless nil, is closed when what is in the store is served.
	// asked hears of everyone who comes before.
	generated chan struct{}
	asked     chan struct{}
}

func (f *fakeProxies) Served() (uint64, <-chan struct{}) {
	if f.generated != nil {
		select {
		case <-f.generated:
		default:
			f.asked <- struct{}{}
			return 0, f.generated
		}
	}
	return math.MaxUint64, nil
}

func (f *fakeProxies) List() []*adminv1.Proxy {
	return []*adminv1.Proxy{
		{Name: "web-1", Namespace: "shop", Service: "web", Connected: true, Mode: "sidecar"},
		{Name: "envoy-1", Namespace: "shop", Connected: true},
		{Name: "cart-1", Namespace: "shop", Identity: "spiffe://test.leno.internal/ns/shop/sa/cart", Service: "cart", Connected: true, Mode: "sidecar"},
		{Name: "dns-1", Namespace: "infra", Service: "dns"},
	}
}

func (f *fakeProxies) Dump(_ context.Context, proxy, what string) ([]byte, error) {
	if !strings.HasSuffix(proxy, "cart-1") {
		return nil, errors.New("the proxy hung up")
	}
	return []byte(`{"what":"` + what + `"}`), nil
}

func (f *fakeProxies) Progress(uint64) (*adminv1.WaitResponse, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.progress == nil {
		return &adminv1.WaitResponse{}, f.changed
	}
	p := f.progress
	return &adminv1.WaitResponse{Done: p.GetDone(), Total: p.GetTotal(), Waiting: p.GetWaiting(), Rejected: p.GetRejected()}, f.changed
}

func (f *fakeProxies) set(p *adminv1.WaitResponse) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.progress = p
	close(f.changed)
	f.changed = make(chan struct{})
}

type fakeTraffic struct{}

func (fakeTraffic) Table() (time.Duration, []*adminv1.TrafficRow) {
	return 10 * time.Second, []*adminv1.TrafficRow{
		{Source: "shop/web", Destination: "shop/cart/80"}, {Source: "infra/probe", Destination: "infra/dns/53"},
	}
}

type fakeTokens struct{}

func (fakeTokens) Create(_ context.Context, r TokenRequest) (string, *adminv1.Token, error) {
	return "leno1.ID.SECRET.ROOT", &adminv1.Token{
		Id: "ID", Namespace: r.Namespace, Service: r.Service, Account: r.Account, UsesLeft: uint32(r.Uses), ExpiresAt: r.TTL.Milliseconds(),
	}, nil
}
func (fakeTokens) List(context.Context) ([]*adminv1.Token, error) { return nil, nil }
func (fakeTokens) Revoke(_ context.Context, id string) error      { return ErrNoToken }

const cart = `apiVersion: v1
kind: Service
metadata:
  name: cart
  namespace: shop
spec:
  ports:
  - port: 80
    appProtocol: http
`

const route = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: cart
  namespace: shop
spec:
  parentRefs:
  - {group: "", kind: Service, name: cart, port: 80}
  rules:
  - backendRefs:
    - name: cart
      port: 80
`

func (m *mesh) apply(t *testing.T, content string) *adminv1.ApplyResponse {
	t.Helper()
	applied, err := m.Apply(t.Context(), &adminv1.ApplyRequest{Documents: document(content)})
	if err != nil {
		t.Fatalf("%v %v", err, problemsIn(err))
	}
	return applied
}

func document(content string) []*adminv1.Document {
	return []*adminv1.Document{{Source: "f.yaml", Content: content}}
}

func actions(results []*adminv1.Result) string {
	var out []string
	for _, r := range results {
		out = append(out, r.GetObject().GetKind()+" "+r.GetAction())
	}
	return strings.Join(out, ", ")
}

func problemsIn(err error) []*adminv1.Problem {
	var remote *connect.Error
	if !asConnect(err, &remote) {
		return nil
	}
	for _, d := range remote.Details() {
		if v, err := d.Value(); err == nil {
			return v.(*adminv1.Problems).GetProblems()
		}
	}
	return nil
}

func asConnect(err error, target **connect.Error) bool {
	remote, ok := err.(*connect.Error)
	*target = remote
	return ok
}

func names(objects []*adminv1.Object) []string {
	var out []string
	for _, o := range objects {
		out = append(out, o.GetReference().GetName())
	}
	slices.Sort(out)
	return out
}

func TestTheAPISpeaksConnectGRPCAndJSONOverTCP(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	m := start(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, Guard(token, m.handler)) }()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	h2c, h1 := &http.Transport{Protocols: protocols}, &http.Transport{}
	t.Cleanup(func() {
		h2c.CloseIdleConnections()
		h1.CloseIdleConnections()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	base := "http://" + l.Addr().String()
	for name, transport := range map[string]http.RoundTripper{"gRPC": h2c, "Connect": h1} {
		options := map[string][]connect.ClientOption{"gRPC": {connect.WithGRPC()}}[name]
		authorized := &http.Client{Transport: withToken{transport, token}}
		status, err := adminv1connect.NewAdminClient(authorized, base, options...).Status(t.Context(), &adminv1.StatusRequest{})
		if err != nil || status.GetVersion() != "v1" {
			t.Errorf("%s: %v %v", name, status, err)
		}
		_, err = adminv1connect.NewAdminClient(&http.Client{Transport: transport}, base, options...).Status(t.Context(), &adminv1.StatusRequest{})
		if connect.CodeOf(err) != connect.CodeUnauthenticated || !strings.Contains(err.Error(), "admin token is needed") {
			t.Errorf("%s without token: %v", name, err)
		}
	}
	r, _ := http.NewRequestWithContext(t.Context(), "POST", base+"/leno.admin.v1.Admin/Status", strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	answer, err := withToken{h1, token}.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != 200 || !strings.Contains(string(body), `"domain":"test.leno.internal"`) {
		t.Errorf("JSON: %s %s", answer.Status, body)
	}
}

type withToken struct {
	next  http.RoundTripper
	token string
}

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+w.token)
	return w.next.RoundTrip(r)
}

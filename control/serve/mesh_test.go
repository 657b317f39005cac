package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/generate"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/control/serve/traffic"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// fakeObjects is a store in memory that makes a new set of each change.
type fakeObjects struct {
	mu        sync.Mutex
	snapshot  *model.Snapshot
	objects   map[api.Ref]api.Object
	generator *generate.Generator
	sets      *cell.Cell[generate.Set]
	changed   *cell.Cell[struct{}]
	puts      int
}

func newObjects(t testing.TB, yaml string) *fakeObjects {
	t.Helper()
	f := &fakeObjects{
		snapshot: model.Empty(), objects: make(map[api.Ref]api.Object), generator: generate.New(),
		sets: &cell.Cell[generate.Set]{}, changed: cell.New(&struct{}{}),
	}
	f.apply(t, yaml)
	return f
}

func (f *fakeObjects) apply(t testing.TB, yaml string) uint64 {
	t.Helper()
	objects, err := api.Decode([]byte(yaml), "test")
	if err != nil {
		t.Fatal(err)
	}
	var changes []api.Change
	for _, o := range objects {
		changes = append(changes, api.Put(o))
	}
	return f.commit(changes...)
}

func (f *fakeObjects) commit(changes ...api.Change) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	rev := f.snapshot.Rev + 1
	edit := f.snapshot.Edit()
	for _, c := range changes {
		if c.Object == nil {
			delete(f.objects, c.Ref)
		} else {
			c.Object.SetResourceVersion(strconv.FormatUint(rev, 10))
			f.objects[c.Ref] = c.Object
		}
		edit.Apply(c)
	}
	f.snapshot = edit.Commit(rev)
	f.sets.Store(f.generator.Generate(f.snapshot))
	f.changed.Store(&struct{}{})
	return rev
}

func (f *fakeObjects) Get(_ context.Context, ref api.Ref) (api.Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.objects[ref], nil
}

func (f *fakeObjects) Put(_ context.Context, o api.Object) error {
	old, _ := f.Get(context.Background(), api.RefOf(o))
	have := ""
	if old != nil {
		have = old.GetResourceVersion()
	}
	if have != o.GetResourceVersion() {
		return errors.New("conflict")
	}
	f.mu.Lock()
	f.puts++
	f.mu.Unlock()
	f.commit(api.Put(o))
	return nil
}

func (f *fakeObjects) Delete(_ context.Context, ref api.Ref) error {
	f.commit(api.Delete(ref))
	return nil
}

func (f *fakeObjects) Workloads(context.Context) ([]*v1alpha1.Workload, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*v1alpha1.Workload
	for _, o := range f.objects {
		if w, ok := o.(*v1alpha1.Workload); ok {
			out = append(out, w)
		}
	}
	return out, nil
}

// await waits until the stored workload is as wanted.
func (f *fakeObjects) await(t *testing.T, namespace, name string, want func(*v1alpha1.Workload) bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		_, changed := f.changed.Next()
		o, _ := f.Get(t.Context(), api.Ref{Kind: api.Workload, Namespace: namespace, Name: name})
		w, _ := o.(*v1alpha1.Workload)
		if want(w) {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("workload %s never became as wanted; it is %+v", name, w)
		}
	}
}

func gone(w *v1alpha1.Workload) bool { return w == nil }

// testMesh is a server on loopback with a certificate authority.
type testMesh struct {
	*fakeObjects
	t       testing.TB
	server  *Server
	address string
	ca      *x509.Certificate
	key     *ecdsa.PrivateKey
	pool    *x509.CertPool
}

func newMesh(t testing.TB, yaml string, change func(*Config)) *testMesh {
	t.Helper()
	m := &testMesh{t: t, fakeObjects: newObjects(t, yaml), pool: x509.NewCertPool()}
	m.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, &m.key.PublicKey, m.key)
	if err != nil {
		t.Fatal(err)
	}
	m.ca, _ = x509.ParseCertificate(der)
	m.pool.AddCert(m.ca)

	cfg := Config{Sets: m.sets, Verify: m.verify, Objects: m.fakeObjects, Traffic: traffic.New(nil)}
	if change != nil {
		change(&cfg)
	}
	if m.server, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	gs := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{m.certificate("spiffe://test/ns/leno-system/sa/leno-server", time.Hour)},
		ClientAuth:   tls.RequestClientCert, MinVersion: tls.VersionTLS13,
	})))
	m.server.Register(gs)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.address = l.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); gs.Serve(l) }()
	t.Cleanup(func() { m.server.Close(); gs.Stop(); <-done })
	return m
}

func (m *testMesh) verify(chain []*x509.Certificate) (spiffe.ID, error) {
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: m.pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return spiffe.ID{}, err
	}
	return spiffe.FromCertificate(chain[0])
}

func (m *testMesh) certificate(id string, life time.Duration) tls.Certificate {
	m.t.Helper()
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	uri, err := url.Parse(id)
	if err != nil {
		m.t.Fatal(err)
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life), URIs: []*url.URL{uri},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, m.ca, &key.PublicKey, m.key)
	if err != nil {
		m.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dial connects as an identity, or without a certificate when it is "".
func (m *testMesh) dial(id string) *grpc.ClientConn { return m.dialFor(id, time.Hour) }

func (m *testMesh) dialFor(id string, life time.Duration) *grpc.ClientConn {
	m.t.Helper()
	cfg := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13} // the server's name is no matter of these tests
	if id != "" {
		cfg.Certificates = []tls.Certificate{m.certificate(id, life)}
	}
	conn, err := grpc.NewClient(m.address, grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { conn.Close() })
	return conn
}

// deltaClient speaks delta ADS by hand.
type deltaClient struct {
	t      testing.TB
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (m *testMesh) delta(id string) *deltaClient {
	m.t.Helper()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(m.dial(id)).DeltaAggregatedResources(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	return &deltaClient{m.t, stream}
}

func (c *deltaClient) send(r *discovery.DeltaDiscoveryRequest) {
	c.t.Helper()
	if err := c.stream.Send(r); err != nil {
		c.t.Fatal(err)
	}
}

func (c *deltaClient) recv() *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	r, err := c.stream.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *deltaClient) ack(r *discovery.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce})
}

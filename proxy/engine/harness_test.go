package engine

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/balance"
	leno "github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/proxy/stats"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds/wire"
)

// The standard library's server waits half a second before it closes a connection
// whose request it did not read.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// rig is an engine with a configuration, on loopback.
type rig struct {
	t         testing.TB
	e         *Engine
	env       *plan.Environment
	plan      *cell.Cell[plan.Plan]
	mu        sync.Mutex
	resources *plan.Resources
}

type rigOption func(*rig)

func withDemand(d Demand, timeout time.Duration) rigOption {
	return func(r *rig) { r.e.Demand, r.e.DemandTimeout = d, timeout }
}

func withIdentity(c *cell.Cell[tls.Identity]) rigOption {
	return func(r *rig) { r.env.Identity = c }
}

// newRig runs an engine on the static resources of a bootstrap.
func newRig(t testing.TB, config string, options ...rigOption) *rig {
	t.Helper()
	r := &rig{t: t, plan: cell.New(plan.Empty()), resources: plan.NewResources()}
	r.e = New(Config{Plan: r.plan, Stats: stats.NewRegistry(0, 0), Log: slog.New(slog.DiscardHandler)})
	r.env = &plan.Environment{ReadFile: os.ReadFile}
	r.env.Transport = func(c *plan.Cluster, ep *balance.Endpoint) leno.Transport { return r.e.Transport(c, ep) }
	for _, o := range options {
		o(r)
	}
	r.change(config)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.e.Run(ctx) })
	t.Cleanup(func() {
		r.e.CloseAll()
		r.eventually("every connection to end", func() bool { return r.e.Connections() == 0 })
		cancel()
		running.Wait()
		last := r.plan.Load()
		last.Retire(plan.Empty())
	})
	return r
}

// change puts the static resources of a bootstrap in force; what it does not
// name stays.
func (r *rig) change(config string) {
	r.t.Helper()
	b := new(wire.Bootstrap)
	if _, err := wire.ReadYAML([]byte("static_resources:\n"+config), b); err != nil {
		r.t.Fatalf("%v\n%s", err, config)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range b.StaticResources.Listeners {
		r.resources.Listeners[l.Name] = l
	}
	for _, c := range b.StaticResources.Clusters {
		r.resources.Clusters[c.Name] = c
	}
	r.publish()
}

func (r *rig) publish() {
	r.t.Helper()
	prev := r.plan.Load()
	next, rejected := r.env.Build(prev, r.resources)
	for _, j := range rejected {
		r.t.Fatal(j)
	}
	r.plan.Store(next)
	prev.Retire(next)
}

// serve accepts connections for a listener and returns where.
func (r *rig) serve(name string) string {
	r.t.Helper()
	ln := listen(r.t)
	var done sync.WaitGroup
	done.Go(func() { _ = r.e.Serve(ln, name) })
	r.t.Cleanup(func() { ln.Close(); done.Wait() })
	return ln.Addr().String()
}

func (r *rig) eventually(what string, check func() bool) {
	r.t.Helper()
	eventually(r.t, what, check)
}

// eventually waits for what other goroutines do.
func eventually(t testing.TB, what string, check func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("waited in vain for " + what)
		}
	}
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// backend is an application over HTTP/1.1 and HTTP/2 in the clear.
func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	ln := listen(t)
	s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ln) })
	t.Cleanup(func() { s.Close(); done.Wait() })
	return ln.Addr().String()
}

// tcpBackend runs handle for each connection, which it closes afterwards.
func tcpBackend(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	ln := listen(t)
	var done sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			done.Go(func() { defer c.Close(); handle(c) })
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for c := range open {
			c.Close()
		}
		mu.Unlock()
		done.Wait()
	})
	return ln.Addr().String()
}

// client returns an HTTP client that speaks version 1 or 2.
func client(t testing.TB, version int) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	tr.Protocols.SetHTTP1(version == 1)
	tr.Protocols.SetUnencryptedHTTP2(version == 2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// answer is a response that was read whole.
type answer struct {
	*http.Response
	body string
}

func do(t testing.TB, c *http.Client, method, url string, body io.Reader, edit ...func(*http.Request)) answer {
	t.Helper()
	a, err := try(c, method, url, body, edit...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func try(c *http.Client, method, url string, body io.Reader, edit ...func(*http.Request)) (answer, error) {
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return answer{}, err
	}
	for _, e := range edit {
		e(req)
	}
	res, err := c.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res, string(b)}, err
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Add(name, value) }
}

// issuer signs certificates for a test.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{cert, key}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a certificate for DNS names, or for a SPIFFE ID.
func (a *issuer) issue(t testing.TB, names ...string) (stdtls.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if u, err := url.Parse(n); err == nil && u.Scheme == "spiffe" {
			template.URIs = append(template.URIs, u)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, key
}

func (a *issuer) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// inline writes PEM for an inline_string.
func inline(blockType string, der []byte) string {
	text := pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})
	return `{inline_string: "` + strings.ReplaceAll(string(text), "\n", `\n`) + `"}`
}

func inlineKey(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return inline("PRIVATE KEY", der)
}

// identity returns an identity of the mesh with its trust.
func (a *issuer) identity(t testing.TB, id string) *tls.Identity {
	t.Helper()
	c, key := a.issue(t, id)
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	n, err := tls.NewIdentity(c.Certificate, key, map[string][]*x509.Certificate{u.Host: {a.cert}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

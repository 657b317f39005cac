// Package meshtest runs both planes in one process, over real sockets on
// loopback: a control plane, sidecars and the applications beside them, for
// tests of the whole. What it starts ends with the test.
package meshtest

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/server"
	"github.com/leno-mesh/leno/proxy/agent"
)

// Mesh is a control plane with its command line's view.
type Mesh struct {
	t      testing.TB
	dir    string
	config server.Config
	server *server.Server
	Admin  adminv1connect.AdminClient
	log    *slog.Logger
}

// New starts a control plane; it ends with the test.
func New(t testing.TB) *Mesh {
	t.Helper()
	dir, err := os.MkdirTemp("", "leno") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &Mesh{t: t, dir: dir, log: testLog(t)}
	m.config = server.Config{Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", AdminSocket: filepath.Join(dir, "admin.sock"), Version: "test", Log: m.log}
	m.Start()
	t.Cleanup(func() { m.Stop() })
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.config.AdminSocket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	m.Admin = adminv1connect.NewAdminClient(&http.Client{Transport: transport}, "http://localhost")
	return m
}

// Start runs the control plane on what it stored, where it was before.
func (m *Mesh) Start() {
	m.t.Helper()
	s, err := server.Start(context.Background(), m.config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.server = s
	m.config.Listen = s.XDSAddress() // the same again after a restart
}

// Stop ends the control plane.
func (m *Mesh) Stop() {
	if m.server != nil {
		if err := m.server.Close(); err != nil {
			m.t.Error(err)
		}
		m.server = nil
	}
}

func testLog(t testing.TB) *slog.Logger {
	if os.Getenv("LENO_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Apply stores documents and returns when every concerned proxy has them.
func (m *Mesh) Apply(yaml string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	res, err := m.Admin.Apply(ctx, &adminv1.ApplyRequest{Documents: []*adminv1.Document{{Source: "test.yaml", Content: yaml}}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Wait(ctx, res.GetRevision())
}

// Wait returns when every concerned proxy has a revision; 0 is the newest.
func (m *Mesh) Wait(ctx context.Context, revision uint64) {
	m.t.Helper()
	progress, err := m.Admin.Wait(ctx, &adminv1.WaitRequest{Revision: revision})
	if err != nil {
		m.t.Fatal(err)
	}
	defer progress.Close()
	var last *adminv1.WaitResponse
	for progress.Receive() {
		last = progress.Msg()
	}
	if err := progress.Err(); err != nil {
		m.t.Fatalf("waiting for revision %d: %v, last %v", revision, err, last)
	}
}

// Workload is an application with its sidecar.
type Workload struct {
	m       *Mesh
	Name    string
	Bound   agent.Bound
	stop    context.CancelFunc
	ended   chan error
	Client  *http.Client // as the application would call others
	Sidecar agent.Sidecar
}

// Option changes a sidecar before it starts.
type Option func(*agent.Sidecar)

// WithPort names a port of the application.
func WithPort(p uint16) Option { return func(s *agent.Sidecar) { s.Ports = append(s.Ports, p) } }

// WithUpstream gives the application a local port for a service.
func WithUpstream(name string, port uint16, local string) Option {
	return func(s *agent.Sidecar) {
		s.Upstreams = append(s.Upstreams, agent.Upstream{Name: name, Port: port, Local: local})
	}
}

// Join starts a sidecar for a workload of a service in namespace default and
// returns when it is ready to carry calls.
func (m *Mesh) Join(service, name string, options ...Option) *Workload {
	m.t.Helper()
	w := m.Prepare(service, name, options...)
	w.Start()
	return w
}

// Prepare is Join without the start. Its sidecar ends with the test.
func (m *Mesh) Prepare(service, name string, options ...Option) *Workload {
	m.t.Helper()
	w := &Workload{m: m, Name: name}
	w.Sidecar = agent.Sidecar{
		Options: agent.Options{Log: m.log.With("proxy", name), Version: "test", Drain: 2 * time.Second},
		Server:  m.server.XDSAddress(), Token: m.token(service), State: filepath.Join(m.dir, name), Namespace: "default", Service: service,
		Workload: name, Address: netip.MustParseAddr("127.0.0.1"), Labels: map[string]string{}, HTTPProxy: "127.0.0.1:0",
	}
	for _, o := range options {
		o(&w.Sidecar)
	}
	m.t.Cleanup(w.Leave)
	return w
}

// token creates a join token for a service.
func (m *Mesh) token(service string) string {
	m.t.Helper()
	res, err := m.Admin.CreateToken(m.t.Context(), &adminv1.CreateTokenRequest{Namespace: "default", Service: service, TtlSeconds: 60, Uses: 1})
	if err != nil {
		m.t.Fatal(err)
	}
	return res.GetToken()
}

// Start runs the sidecar and returns when it is ready to carry calls.
func (w *Workload) Start() {
	w.m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.ended = cancel, make(chan error, 1)
	ready := make(chan agent.Bound, 1)
	go func() { w.ended <- agent.RunSidecar(ctx, w.Sidecar, func(b agent.Bound) { ready <- b }) }()
	select {
	case w.Bound = <-ready:
	case err := <-w.ended:
		w.ended <- err
		w.m.t.Fatalf("sidecar of %s: %v", w.Name, err)
	case <-time.After(10 * time.Second):
		w.m.t.Fatalf("sidecar of %s is not ready after 10 s", w.Name)
	}
	proxy := &url.URL{Scheme: "http", Host: w.Bound.HTTPProxy}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), MaxIdleConnsPerHost: 100}
	w.Client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	w.m.t.Cleanup(transport.CloseIdleConnections)
}

// Leave ends the sidecar in order.
func (w *Workload) Leave() {
	if w.stop == nil {
		return
	}
	w.Client.CloseIdleConnections()
	w.stop()
	w.stop = nil
	select {
	case err := <-w.ended:
		if err != nil {
			w.m.t.Errorf("sidecar of %s: %v", w.Name, err)
		}
	case <-time.After(10 * time.Second):
		w.m.t.Errorf("sidecar of %s has not ended after 10 s", w.Name)
	}
}

// Get asks a URL through the sidecar and returns status and body.
func (w *Workload) Get(url string) (int, string) {
	w.m.t.Helper()
	res, err := w.Client.Get(url)
	if err != nil {
		w.m.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.m.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// Until repeats check until it returns "" or time is up.
func (m *Mesh) Until(what string, check func() string) {
	m.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		problem := check()
		if problem == "" {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: %s", what, problem)
		}
		tick := time.NewTimer(5 * time.Millisecond)
		<-tick.C
	}
}

// Registered waits until the control plane knows n healthy workloads of a
// service and every proxy has them.
func (m *Mesh) Registered(n int) {
	m.t.Helper()
	m.Until(fmt.Sprintf("%d healthy workloads", n), func() string {
		res, err := m.Admin.List(m.t.Context(), &adminv1.ListRequest{Kind: "workload"})
		if err != nil {
			return err.Error()
		}
		healthy := 0
		for _, o := range res.GetObjects() {
			w, err := api.DecodeStored([]byte(o.GetJson()))
			if err != nil {
				return err.Error()
			}
			if w.(*v1alpha1.Workload).Ready() {
				healthy++
			}
		}
		if healthy != n {
			return fmt.Sprintf("%d of %d are healthy", healthy, len(res.GetObjects()))
		}
		return ""
	})
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	m.Wait(ctx, 0)
}

// HTTPApp serves handler on a port of loopback; it ends with the test.
func (m *Mesh) HTTPApp(handler http.HandlerFunc) uint16 {
	m.t.Helper()
	ln := m.listen()
	s := &http.Server{Handler: handler}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ln) })
	m.t.Cleanup(func() { s.Close(); done.Wait() })
	return portOf(ln)
}

// Mortal is an application that can die suddenly.
type Mortal struct {
	Port uint16
	Kill func()
}

// MortalApp is HTTPApp whose sockets Kill closes at once, as a SIGKILL does.
func (m *Mesh) MortalApp(handler http.HandlerFunc) Mortal {
	m.t.Helper()
	ln := m.listen()
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ln) })
	m.t.Cleanup(func() { s.Close(); done.Wait() })
	return Mortal{portOf(ln), func() { s.Close() }}
}

// TCPApp serves each connection by handle.
func (m *Mesh) TCPApp(handle func(net.Conn)) uint16 {
	m.t.Helper()
	ln := m.listen()
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			done.Go(func() { defer c.Close(); handle(c) })
		}
	})
	m.t.Cleanup(func() { ln.Close(); done.Wait() })
	return portOf(ln)
}

func (m *Mesh) listen() net.Listener {
	m.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	return ln
}

func portOf(ln net.Listener) uint16 { return uint16(ln.Addr().(*net.TCPAddr).Port) }

// FreePort returns a port that was free a moment ago.
func (m *Mesh) FreePort() string {
	ln := m.listen()
	defer ln.Close()
	return ln.Addr().String()
}

// Service is YAML of a Service that selects the workloads which registered for
// it.
func Service(name string, port int, target uint16, protocol string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  selector: {leno.dev/service: %s}
  ports: [{name: p, port: %d, targetPort: %d, appProtocol: %s}]
---`, name, name, port, target, protocol)
}

// Text answers every request with s.
func Text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, s) }
}

// Package mesh_test runs both planes in one process, over real sockets on
// loopback: a control plane, sidecars and the applications beside them. Each
// test reads as a story.
package mesh_test

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

	"go.uber.org/goleak"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/server"
	"github.com/leno-mesh/leno/proxy/agent"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// mesh is a control plane with its command line's view.
type mesh struct {
	t      testing.TB
	dir    string
	config server.Config
	server *server.Server
	admin  adminv1connect.AdminClient
	log    *slog.Logger
}

// newMesh starts a control plane; it ends with the test.
func newMesh(t testing.TB) *mesh {
	t.Helper()
	dir, err := os.MkdirTemp("", "leno") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := &mesh{t: t, dir: dir, log: testLog(t)}
	m.config = server.Config{Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", AdminSocket: filepath.Join(dir, "admin.sock"), Version: "test", Log: m.log}
	m.start()
	t.Cleanup(func() { m.stop() })
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.config.AdminSocket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	m.admin = adminv1connect.NewAdminClient(&http.Client{Transport: transport}, "http://localhost")
	return m
}

func (m *mesh) start() {
	m.t.Helper()
	s, err := server.Start(context.Background(), m.config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.server = s
	m.config.Listen = s.XDSAddress() // the same again after a restart
}

func (m *mesh) stop() {
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

// apply stores documents and returns when every concerned proxy has them.
func (m *mesh) apply(yaml string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 10*time.Second)
	defer cancel()
	res, err := m.admin.Apply(ctx, &adminv1.ApplyRequest{Documents: []*adminv1.Document{{Source: "test.yaml", Content: yaml}}})
	if err != nil {
		m.t.Fatal(err)
	}
	m.wait(ctx, res.GetRevision())
}

func (m *mesh) wait(ctx context.Context, revision uint64) {
	m.t.Helper()
	progress, err := m.admin.Wait(ctx, &adminv1.WaitRequest{Revision: revision})
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

// workload is an application with its sidecar.
type workload struct {
	m       *mesh
	name    string
	bound   agent.Bound
	stop    context.CancelFunc
	ended   chan error
	client  *http.Client // as the application would call others
	sidecar agent.Sidecar
}

// option changes a sidecar before it starts.
type option func(*agent.Sidecar)

func withPort(p uint16) option { return func(s *agent.Sidecar) { s.Ports = append(s.Ports, p) } }
func withUpstream(name string, port uint16, local string) option {
	return func(s *agent.Sidecar) {
		s.Upstreams = append(s.Upstreams, agent.Upstream{Name: name, Port: port, Local: local})
	}
}

// join starts a sidecar for a workload of a service in namespace default and
// returns when it is ready to carry calls.
func (m *mesh) join(service, name string, options ...option) *workload {
	m.t.Helper()
	w := m.prepare(service, name, options...)
	w.start()
	return w
}

// prepare is join without the start. Its sidecar ends with the test.
func (m *mesh) prepare(service, name string, options ...option) *workload {
	m.t.Helper()
	w := &workload{m: m, name: name}
	w.sidecar = agent.Sidecar{
		Options: agent.Options{Log: m.log.With("proxy", name), Version: "test", Drain: 2 * time.Second},
		Server:  m.server.XDSAddress(), Token: m.token(service), State: filepath.Join(m.dir, name), Namespace: "default", Service: service,
		Workload: name, Address: netip.MustParseAddr("127.0.0.1"), Labels: map[string]string{}, HTTPProxy: "127.0.0.1:0",
	}
	for _, o := range options {
		o(&w.sidecar)
	}
	m.t.Cleanup(w.leave)
	return w
}

// token creates a join token for a service.
func (m *mesh) token(service string) string {
	m.t.Helper()
	res, err := m.admin.CreateToken(m.t.Context(), &adminv1.CreateTokenRequest{Namespace: "default", Service: service, TtlSeconds: 60, Uses: 1})
	if err != nil {
		m.t.Fatal(err)
	}
	return res.GetToken()
}

func (w *workload) start() {
	w.m.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.ended = cancel, make(chan error, 1)
	ready := make(chan agent.Bound, 1)
	go func() { w.ended <- agent.RunSidecar(ctx, w.sidecar, func(b agent.Bound) { ready <- b }) }()
	select {
	case w.bound = <-ready:
	case err := <-w.ended:
		w.ended <- err
		w.m.t.Fatalf("sidecar of %s: %v", w.name, err)
	case <-time.After(10 * time.Second):
		w.m.t.Fatalf("sidecar of %s is not ready after 10 s", w.name)
	}
	proxy := &url.URL{Scheme: "http", Host: w.bound.HTTPProxy}
	transport := &http.Transport{Proxy: http.ProxyURL(proxy), MaxIdleConnsPerHost: 100}
	w.client = &http.Client{Transport: transport, Timeout: 10 * time.Second}
	w.m.t.Cleanup(transport.CloseIdleConnections)
}

// leave ends the sidecar in order.
func (w *workload) leave() {
	if w.stop == nil {
		return
	}
	w.client.CloseIdleConnections()
	w.stop()
	w.stop = nil
	select {
	case err := <-w.ended:
		if err != nil {
			w.m.t.Errorf("sidecar of %s: %v", w.name, err)
		}
	case <-time.After(10 * time.Second):
		w.m.t.Errorf("sidecar of %s has not ended after 10 s", w.name)
	}
}

// get asks a URL through the sidecar and returns status and body.
func (w *workload) get(url string) (int, string) {
	w.m.t.Helper()
	res, err := w.client.Get(url)
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

// until repeats check until it returns "" or time is up.
func (m *mesh) until(what string, check func() string) {
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

// registered waits until the control plane knows n healthy workloads of a
// service and every proxy has them.
func (m *mesh) registered(n int) {
	m.t.Helper()
	m.until(fmt.Sprintf("%d healthy workloads", n), func() string {
		res, err := m.admin.List(m.t.Context(), &adminv1.ListRequest{Kind: "workload"})
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
	m.wait(ctx, 0)
}

// httpApp serves handler on a port of loopback; it ends with the test.
func (m *mesh) httpApp(handler http.HandlerFunc) uint16 {
	m.t.Helper()
	ln := m.listen()
	s := &http.Server{Handler: handler}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ln) })
	m.t.Cleanup(func() { s.Close(); done.Wait() })
	return portOf(ln)
}

// mortal is an application that can die suddenly.
type mortal struct {
	port uint16
	kill func()
}

// mortalApp is httpApp whose sockets kill closes at once, as a SIGKILL does.
func (m *mesh) mortalApp(handler http.HandlerFunc) mortal {
	m.t.Helper()
	ln := m.listen()
	s := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0)}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ln) })
	m.t.Cleanup(func() { s.Close(); done.Wait() })
	return mortal{portOf(ln), func() { s.Close() }}
}

// tcpApp serves each connection by handle.
func (m *mesh) tcpApp(handle func(net.Conn)) uint16 {
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

func (m *mesh) listen() net.Listener {
	m.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	return ln
}

func portOf(ln net.Listener) uint16 { return uint16(ln.Addr().(*net.TCPAddr).Port) }

// freePort returns a port that was free a moment ago.
func (m *mesh) freePort() string {
	ln := m.listen()
	defer ln.Close()
	return ln.Addr().String()
}

// service is YAML of a Service that selects the workloads which registered for
// it.
func service(name string, port int, target uint16, protocol string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  selector: {leno.dev/service: %s}
  ports: [{name: p, port: %d, targetPort: %d, appProtocol: %s}]
---`, name, name, port, target, protocol)
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, s) }
}

package agent

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/jointoken"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/engine"
	"github.com/leno-mesh/leno/proxy/identity"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds"
	"github.com/leno-mesh/leno/xds/wire"
)

// Sidecar is what a sidecar is told about its application and its mesh.
type Sidecar struct {
	Options
	Server    string // HOST:PORT of the control plane
	Token     string // join token, empty where State holds an identity
	State     string // directory of the identity and the last good resources
	Namespace string
	Account   string // empty: the service
	Service   string // empty: the application only calls others
	Workload  string
	Address   netip.Addr // that others reach the proxy at
	Ports     []uint16   // of the application, on loopback
	Labels    map[string]string
	Upstreams []Upstream
	HTTPProxy string // where to serve HTTP_PROXY, HOST:PORT
	Admin     string // path of the admin socket
	Metrics   string // HOST:PORT for scrapers and probes, empty for none
	Health    string // path of an HTTP health check, empty: the port is listened on
	Zone      string
}

// Upstream is a service of the mesh that the application reaches by a port of
// its own.
type Upstream struct {
	Name  string // SERVICE or SERVICE.NAMESPACE
	Port  uint16
	Local string // HOST:PORT
}

// Bound says where a sidecar serves.
type Bound struct {
	HTTPProxy string
	Mesh      string
	Admin     string
	Workload  string
}

// RunSidecar joins the mesh and serves until ctx ends; then the workload is
// taken out of rotation and what is under way may finish. ready is called when
// the application can make calls.
func RunSidecar(ctx context.Context, s Sidecar, ready func(Bound)) error {
	if s.Token != "" {
		if _, err := jointoken.Parse(s.Token); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(s.State, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	own := &cell.Cell[tls.Identity]{}
	follow := newFollower(s.Log)
	p := newProxy(s.Options, own, follow, "")
	follow.configuration = p.configuration
	enroller := &issuer{proxy: p, server: s.Server, identity: own}
	manager, err := identity.New(identity.Config{Directory: s.State, Token: s.Token, Issuer: enroller, Cell: own, Log: s.Log})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	wait := p.run(running)
	defer func() { stop(); wait() }()
	go func() { _ = manager.Run(running) }()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-enroller.fatal():
		return err
	case <-manager.Ready():
	}
	namespace, account, err := s.checkIdentity(own.Load().ID())
	if err != nil {
		return err
	}
	p.engine.Source = namespace + "/" + account

	j := &joined{Sidecar: s, proxy: p, follow: follow, identity: own, namespace: namespace, account: account}
	bound, err := j.bindAll()
	if err != nil {
		return err
	}
	j.restore()
	j.followServer(running)
	ended := j.report(running)
	if ready != nil {
		ready(bound)
	}
	<-ctx.Done()
	j.leave(ended)
	return nil
}

// checkIdentity demands that the identity is the one that was asked for.
func (s *Sidecar) checkIdentity(id spiffe.ID) (namespace, account string, err error) {
	namespace, account, ok := id.Workload()
	if !ok {
		return "", "", fmt.Errorf("the identity %s is not a workload's", id)
	}
	want := s.Account
	if want == "" {
		want = s.Service
	}
	if namespace != s.Namespace || want != "" && account != want {
		return "", "", fmt.Errorf("the identity is %s, but the workload is to be %s in namespace %s: use another token or state directory", id, want, s.Namespace)
	}
	return namespace, account, nil
}

// joined is a sidecar that has an identity.
type joined struct {
	Sidecar
	proxy              *proxy
	follow             *follower
	identity           *cell.Cell[tls.Identity]
	namespace, account string

	meshPort  uint16
	plaintext []uint16       // beside Ports
	admin     []net.Listener // of the admin interface and of metrics: they outlive the drain
	reporter  *reporter
}

func (j *joined) inboundName() string { return "inbound/" + j.namespace + "/" + j.Workload }

// bindAll binds every socket and begins to serve.
func (j *joined) bindAll() (Bound, error) {
	b := Bound{Workload: j.Workload, Admin: j.Admin}
	e := j.proxy.engine
	before := loadPorts(j.State)
	mesh, err := j.bindAgain(before.mesh)
	if err != nil {
		return b, fmt.Errorf("listen for the mesh: %w", err)
	}
	b.Mesh, j.meshPort = mesh.Addr().String(), port(mesh)
	for _, app := range j.Ports {
		ln, err := j.bindAgain(before.plaintext[app])
		if err != nil {
			return b, fmt.Errorf("listen for plaintext: %w", err)
		}
		j.plaintext = append(j.plaintext, port(ln))
		name := "plaintext/" + j.namespace + "/" + j.Workload + "/" + strconv.Itoa(int(app))
		j.follow.keep(xds.ListenerType, name)
		j.proxy.serve(name, func() error { return e.Serve(ln, name) })
	}
	if err := savePorts(j.State, j.meshPort, j.Ports, j.plaintext); err != nil {
		return b, err
	}
	j.follow.keep(xds.ListenerType, j.inboundName())
	j.proxy.serve(j.inboundName(), func() error { return e.Serve(mesh, j.inboundName()) })
	for _, u := range j.Upstreams {
		name, ok := engine.MeshName(net.JoinHostPort(u.Name, strconv.Itoa(int(u.Port))), j.namespace)
		if !ok {
			return b, fmt.Errorf("upstream %s:%d is no service of the mesh: write SERVICE or SERVICE.NAMESPACE and a port", u.Name, u.Port)
		}
		ln, err := j.proxy.bind(u.Local)
		if err != nil {
			return b, fmt.Errorf("listen for upstream %s: %w", u.Name, err)
		}
		j.follow.keep(xds.ListenerType, name)
		j.proxy.serve(name, func() error { return e.Serve(ln, name) })
	}
	if j.HTTPProxy != "" {
		ln, err := j.proxy.bind(j.HTTPProxy)
		if err != nil {
			return b, fmt.Errorf("listen for HTTP_PROXY: %w", err)
		}
		b.HTTPProxy = ln.Addr().String()
		j.proxy.serve("http-proxy", func() error { return e.ForwardProxy(ln, j.namespace) })
	}
	if j.Admin != "" {
		ln, err := listenAdmin("unix", j.Admin)
		if err != nil {
			return b, fmt.Errorf("listen for the admin interface: %w", err)
		}
		j.admin = append(j.admin, ln)
		j.proxy.serveAdmin(ln, j.proxy.pages(j.notReady, func() { j.proxy.stopAccepting() }, j.certificates))
	}
	if j.Metrics != "" {
		ln, err := listenAdmin("tcp", j.Metrics)
		if err != nil {
			return b, fmt.Errorf("listen for metrics: %w", err)
		}
		j.admin = append(j.admin, ln)
		j.proxy.serveAdmin(ln, scrapePages(j.proxy.pages(j.notReady, nil, nil)))
	}
	return b, nil
}

func port(ln net.Listener) uint16 { return uint16(ln.Addr().(*net.TCPAddr).Port) }

// listenAdmin binds the admin interface; a unix socket is its owner's alone.
func listenAdmin(network, address string) (net.Listener, error) {
	if network == "unix" {
		if err := removeSocket(address); err != nil {
			return nil, err
		}
	}
	ln, err := conn.Listen(network, address)
	if err != nil {
		return nil, err
	}
	if network == "unix" {
		if err := os.Chmod(address, 0o600); err != nil {
			ln.Close()
			return nil, err
		}
	}
	return ln, nil
}

// removeSocket removes what an earlier process left, and nothing but a socket.
func removeSocket(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != os.ModeSocket {
		return fmt.Errorf("%s is there and is no socket; choose another path", path)
	}
	return os.Remove(path)
}

// notReady says why calls cannot be served, "" if they can.
func (j *joined) notReady() string {
	switch {
	case j.proxy.engine.Draining():
		return "DRAINING"
	case j.proxy.configuration.plan.Load().Listeners[j.inboundName()] == nil && j.Service != "":
		return "the control plane has not sent the workload's configuration yet"
	}
	return ""
}

func (j *joined) certificates() []*x509.Certificate {
	id := j.identity.Load()
	if id == nil {
		return nil
	}
	out := []*x509.Certificate{id.Certificate().Leaf}
	for _, domain := range id.TrustDomains() {
		out = append(out, id.Bundle(domain)...)
	}
	return out
}

// restore puts the last good resources in force, until the server says more.
func (j *joined) restore() {
	resources, err := loadResources(j.State)
	if err != nil {
		j.Log.Error("last good configuration not usable", "error", err)
		return
	}
	var events []xds.Event
	for _, r := range resources {
		if !slices.Contains(types, r.TypeURL) {
			continue
		}
		events = append(events, xds.Event{Kind: xds.Changed, Resource: r})
	}
	refused := map[string]bool{}
	for _, r := range j.proxy.configuration.apply(events) {
		refused[r.Name] = true
	}
	for _, ev := range events {
		r := ev.Resource
		if refused[r.Name] {
			continue
		}
		j.follow.restored(r)
		if r.TypeURL == xds.ListenerType && !strings.HasPrefix(r.Name, "inbound/") && !strings.HasPrefix(r.Name, "plaintext/") {
			j.follow.Listener(r.Name)
		}
	}
}

// followServer keeps the configuration current and the disk behind it.
func (j *joined) followServer(ctx context.Context) {
	f := j.follow
	f.transport = serverTransport(j.Server, j.proxy, j.secure)
	f.authority = j.Server
	f.node = &wire.Node{Id: j.Workload, Cluster: j.Service, UserAgentName: "leno-proxy", UserAgentVersion: &j.proxy.version}
	changed := make(chan struct{}, 1)
	f.changed = func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	go f.run(ctx)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
			}
			pause := time.NewTimer(saveAfter)
			select {
			case <-ctx.Done():
			case <-pause.C:
			}
			pause.Stop()
			if err := saveResources(j.State, j.proxy.configuration.snapshot()); err != nil {
				j.Log.Error("last good configuration not saved", "error", err)
			}
		}
	}()
}

// saveAfter gathers changes before they are written to the disk.
const saveAfter = 500 * time.Millisecond

// secure puts mutual TLS with the server on a connection.
func (j *joined) secure(c *conn.Conn, deadline int64) error {
	return handshake(c, deadline, identity.ServerByIdentity(j.identity, nil))
}

// leave takes the workload out of rotation, lets what is under way finish, and
// says farewell.
func (j *joined) leave(ended <-chan struct{}) {
	j.reporter.drain()
	if j.Service != "" {
		// Others learn of it within milliseconds; until they have, they are
		// still served.
		pause := time.NewTimer(min(drainNotice, j.Drain))
		<-pause.C
	}
	j.proxy.drainAll(j.Drain)
	j.reporter.farewell()
	select {
	case <-ended:
	case <-time.After(time.Second):
	}
	for _, ln := range j.admin {
		ln.Close()
	}
}

// drainNotice is how long new requests are served after the control plane was
// told that no more are wanted.
const drainNotice = 300 * time.Millisecond

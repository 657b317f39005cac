//go:build real

package real

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// prefix begins the names of all network namespaces and directories of this
// test; the process that made one follows it.
const prefix = "leno-real-"

// Addresses inside the namespaces of one world.
const (
	addressHub    = "10.203.0.1"
	addressOne    = "10.203.0.11"
	addressTwo    = "10.203.0.12"
	addressClient = "10.203.0.21"
	xdsServer     = addressHub + ":15012"
)

// world is a mesh of its own: a namespace with the control plane and a bridge,
// two namespaces of servers and one of clients.
type world struct {
	*testing.T
	dir                   string // all may read it, nobody owns it
	hub, one, two, client *place
}

// place is a network namespace.
type place struct {
	world         *world
	name, address string
}

func (p *place) file() string { return "/run/netns/" + p.name }

// newWorld makes the namespaces and starts the control plane. All is removed
// and ended with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", fmt.Sprintf("%s%d-", prefix, os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chown(dir, unprivileged, unprivileged); err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, dir: dir}
	w.hub, w.one = w.place("hub", addressHub), w.place("one", addressOne)
	w.two, w.client = w.place("two", addressTwo), w.place("client", addressClient)
	w.hub.ip("link", "add", "bridge", "type", "bridge")
	w.hub.ip("address", "add", addressHub+"/24", "dev", "bridge")
	w.hub.ip("link", "set", "bridge", "up")
	for _, p := range []*place{w.one, w.two, w.client} {
		side := p.name[strings.LastIndexByte(p.name, '-')+1:]
		w.hub.ip("link", "add", side, "type", "veth", "peer", "name", "eth0", "netns", p.name)
		w.hub.ip("link", "set", side, "master", "bridge", "up")
		p.ip("address", "add", p.address+"/24", "dev", "eth0")
		p.ip("link", "set", "eth0", "up")
	}
	w.must("cp", binary("leno"), binary("leno-proxy"), dir)
	w.hub.start("leno up", w.leno(), "up", "--data", dir+"/data", "--listen", xdsServer, "--socket", w.socket(), "--admin", "")
	w.until("the control plane answers", 10*time.Second, func() bool {
		return exec.Command(w.leno(), "--server", w.socket(), "get", "services").Run() == nil
	})
	return w
}

func (w *world) leno() string   { return w.dir + "/leno" }
func (w *world) socket() string { return w.dir + "/admin.sock" }

// place makes a namespace whose name ends in side.
func (w *world) place(side, address string) *place {
	w.Helper()
	p := &place{world: w, name: filepath.Base(w.dir) + "-" + side, address: address}
	w.must("ip", "netns", "add", p.name)
	w.Cleanup(func() { exec.Command("ip", "netns", "del", p.name).Run() })
	p.ip("link", "set", "lo", "up")
	return p
}

func (p *place) ip(args ...string) {
	p.world.Helper()
	p.world.must("nsenter", append([]string{"--net=" + p.file(), "ip"}, args...)...)
}

// must runs a command as root, outside of the namespaces.
func (w *world) must(name string, args ...string) string {
	w.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		w.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// until polls; what it waits for is told by no program.
func (w *world) until(what string, limit time.Duration, done func() bool) {
	w.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		if done() {
			return
		}
		if time.Now().After(end) {
			w.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// apply stores objects and waits until every proxy has acknowledged them.
func (w *world) apply(yaml string) {
	w.Helper()
	cmd := exec.Command(w.leno(), "--server", w.socket(), "apply", "--wait", "-f", "-")
	cmd.Stdin = strings.NewReader(yaml)
	if out, err := cmd.CombinedOutput(); err != nil {
		w.Fatalf("leno apply: %v\n%s\n%s", err, out, yaml)
	}
}

// service declares a Service whose ports, NUMBER or NUMBER/PROTOCOL, lead to the
// same ports of its workloads.
func (w *world) service(name string, ports ...string) {
	w.Helper()
	yaml := fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s}
spec:
  selector: {leno.dev/service: %[1]s}
  ports:
`, name)
	for _, p := range ports {
		number, protocol, said := strings.Cut(p, "/")
		if said {
			protocol = ", appProtocol: " + protocol
		}
		yaml += fmt.Sprintf("  - {name: port-%s, port: %[1]s%s}\n", number, protocol)
	}
	w.apply(yaml)
}

// withoutTLS runs f while clients of a service use no TLS.
func (w *world) withoutTLS(service string, f func()) {
	w.Helper()
	w.mode(service, "DISABLE")
	f()
	w.mode(service, "STRICT")
}

// mode says whether a service takes mutual TLS, plaintext or both.
func (w *world) mode(service, mode string) {
	w.Helper()
	w.apply(fmt.Sprintf(`
apiVersion: mesh.leno.dev/v1alpha1
kind: PeerAuthentication
metadata: {name: %s}
spec:
  targetRefs: [{kind: Service, name: %[1]s}]
  mode: %s
`, service, mode))
}

// token makes a file with a join token.
func (w *world) token(service string) string {
	w.Helper()
	file := filepath.Join(w.dir, "token-"+service+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	token, err := exec.Command(w.leno(), "--server", w.socket(), "token", "create", "--service", service).Output()
	if err != nil {
		w.Fatalf("leno token create: %v", err)
	}
	if err := os.WriteFile(file, token, 0o600); err != nil {
		w.Fatal(err)
	}
	if err := os.Chown(file, unprivileged, unprivileged); err != nil {
		w.Fatal(err)
	}
	return file
}

// runArguments is leno run for a workload of a service, up to its command.
func (p *place) runArguments(service string, more ...string) []string {
	p.world.Helper()
	return append([]string{p.world.leno(), "run", "--service", service, "--server", xdsServer, "--address", p.address,
		"--token-file", p.world.token(service)}, more...)
}

// serve starts a server program as a workload of a service. ports are
// separated by commas.
func (p *place) serve(service, ports string, command ...string) *program {
	p.world.Helper()
	args := p.runArguments(service, "--name", p.workload(service))
	for port := range strings.SplitSeq(ports, ",") {
		args = append(args, "--port", port)
	}
	return p.start(service, append(append(args, "--"), command...)...)
}

func (p *place) workload(service string) string {
	return service + p.name[strings.LastIndexByte(p.name, '-'):]
}

// healthy waits until exactly these workloads of a service are in rotation.
func (w *world) healthy(service string, places ...*place) {
	w.Helper()
	var last []string
	done := false
	defer func() {
		if !done {
			w.Logf("workloads of %s: %s", service, strings.Join(last, ", "))
		}
	}()
	w.until(fmt.Sprintf("%d workloads of %s are healthy", len(places), service), 20*time.Second, func() bool {
		out, err := exec.Command(w.leno(), "--server", w.socket(), "get", "workloads", "-o", "json").Output()
		var list struct {
			Items []struct {
				Metadata struct {
					Name   string
					Labels map[string]string
				}
				Status struct{ Healthy, Draining bool }
			}
		}
		if err != nil || json.Unmarshal(out, &list) != nil {
			return false
		}
		var names []string
		last = nil
		for _, item := range list.Items {
			if item.Metadata.Labels["leno.dev/service"] != service {
				continue
			}
			last = append(last, fmt.Sprintf("%s %+v", item.Metadata.Name, item.Status))
			if item.Status.Healthy && !item.Status.Draining {
				names = append(names, item.Metadata.Name)
			}
		}
		var want []string
		for _, p := range places {
			want = append(want, p.workload(service))
		}
		slices.Sort(names)
		slices.Sort(want)
		return slices.Equal(names, want)
	})
	done = true
}

// caller starts a workload that only calls: it keeps a sidecar with upstreams
// for the programs that the test runs beside it. It returns HTTP_PROXY.
func (p *place) caller(upstreams ...string) (proxy string) {
	p.world.Helper()
	var more []string
	for _, u := range upstreams {
		more = append(more, "--upstream", u)
	}
	program := p.start("client", append(p.runArguments("client", more...), "--", "sh", "-c", "echo PROXY $http_proxy; exec sleep infinity")...)
	p.world.until("the client's sidecar is ready", 20*time.Second, func() bool {
		for line := range strings.Lines(program.log.String()) {
			if url, ok := strings.CutPrefix(strings.TrimSpace(line), "PROXY "); ok {
				proxy = url
			}
		}
		return proxy != ""
	})
	return proxy
}

// removeStale removes the namespaces and directories of runs that were killed;
// their programs have died with them.
func removeStale() {
	namespaces, _ := filepath.Glob("/run/netns/" + prefix + "*")
	directories, _ := filepath.Glob("/tmp/" + prefix + "*")
	for _, path := range append(namespaces, directories...) {
		pid, _, _ := strings.Cut(filepath.Base(path)[len(prefix):], "-")
		_, err := os.Readlink("/proc/" + pid + "/exe") // a zombie has none
		switch {
		case err == nil:
		case strings.HasPrefix(path, "/tmp/"):
			os.RemoveAll(path)
		default:
			exec.Command("ip", "netns", "del", filepath.Base(path)).Run()
		}
	}
}

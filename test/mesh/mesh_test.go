// Package mesh_test tells what a mesh does as stories, with both planes in one
// process.
package mesh_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/test/mesh/meshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAServiceIsFoundEncryptedAndNamed(t *testing.T) {
	m := meshtest.New(t)
	app := m.HTTPApp(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Host, r.URL.Path, r.Header.Get("X-Forwarded-Client-Cert"))
	})
	m.Apply(meshtest.Service("cart", 80, app, "http"))
	web := m.Join("web", "web-1")
	m.Join("cart", "cart-1", meshtest.WithPort(app))
	m.Registered(2)

	status, body := web.Get("http://cart/things")
	if status != http.StatusOK || !strings.HasPrefix(body, "cart /things Hash=") || !strings.Contains(body, "/ns/default/sa/web") {
		t.Errorf("got %d %q", status, body)
	}
}

func TestAServerThatSpeaksFirstNeedsNoConfiguration(t *testing.T) {
	m := meshtest.New(t)
	app := m.TCPApp(func(c net.Conn) {
		fmt.Fprint(c, "220 ready\r\n")
		_, _ = io.Copy(c, c)
	})
	m.Apply(meshtest.Service("mail", 25, app, "tcp"))
	local := m.FreePort()
	m.Join("web", "web-1", meshtest.WithUpstream("mail", 25, local))
	m.Join("mail", "mail-1", meshtest.WithPort(app))
	m.Registered(2)

	c, err := net.Dial("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || line != "220 ready\r\n" {
		t.Fatalf("greeting %q, %v", line, err)
	}
	fmt.Fprint(c, "echo\n")
	if line, err := r.ReadString('\n'); err != nil || line != "echo\n" {
		t.Fatalf("echo %q, %v", line, err)
	}
}

func TestTrafficShiftsBetweenVersionsWithoutLoss(t *testing.T) {
	m := meshtest.New(t)
	one, two := m.HTTPApp(meshtest.Text("v1")), m.HTTPApp(meshtest.Text("v2"))
	m.Apply(meshtest.Service("shop", 80, one, "http") + meshtest.Service("shop-v1", 80, one, "http") + meshtest.Service("shop-v2", 80, two, "http") + split(100, 0))
	web := m.Join("web", "web-1")
	m.Join("shop-v1", "one", meshtest.WithPort(one))
	m.Join("shop-v2", "two", meshtest.WithPort(two))
	m.Registered(3)

	count := func() map[string]int {
		got := map[string]int{}
		for range 200 {
			status, body := web.Get("http://shop/")
			if status != http.StatusOK {
				t.Fatalf("got %d %q", status, body)
			}
			got[body]++
		}
		return got
	}
	if got := count(); got["v1"] != 200 {
		t.Errorf("with 100/0: %v", got)
	}
	m.Apply(split(50, 50))
	if got := count(); got["v1"] < 60 || got["v2"] < 60 {
		t.Errorf("with 50/50: %v", got)
	}
	m.Apply(split(0, 100))
	if got := count(); got["v2"] != 200 {
		t.Errorf("with 0/100: %v", got)
	}
}

func split(v1, v2 int) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: shop, port: 80}]
  rules:
  - backendRefs: [{name: shop-v1, port: 80, weight: %d}, {name: shop-v2, port: 80, weight: %d}]
`, v1, v2)
}

func TestACallerIsDeniedAndAllowedAgain(t *testing.T) {
	m := meshtest.New(t)
	app := m.HTTPApp(meshtest.Text("secret"))
	m.Apply(meshtest.Service("vault", 80, app, "http"))
	web, thief := m.Join("web", "web-1"), m.Join("thief", "thief-1")
	m.Join("vault", "vault-1", meshtest.WithPort(app))
	m.Registered(3)

	m.Apply(`
apiVersion: mesh.leno.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: vault}
spec:
  targetRefs: [{group: "", kind: Service, name: vault}]
  action: ALLOW
  rules: [{from: [{accounts: [default/web]}]}]
`)
	if status, body := web.Get("http://vault/"); status != http.StatusOK {
		t.Errorf("web: %d %q", status, body)
	}
	status, body := thief.Get("http://vault/")
	if status != http.StatusForbidden || !strings.Contains(body, "policy") {
		t.Errorf("thief: %d %q", status, body)
	}
}

func TestAReplicaThatDiesLosesNothingIdempotent(t *testing.T) {
	m := meshtest.New(t)
	survivor := m.HTTPApp(meshtest.Text("alive"))
	victim := m.MortalApp(meshtest.Text("mortal"))
	m.Apply(meshtest.Service("pair", 80, 80, "http"))
	web := m.Join("web", "web-1")
	m.Join("pair", "one", meshtest.WithPort(survivor))
	m.Join("pair", "two", meshtest.WithPort(victim.Port))
	m.Registered(3)

	var lost, answered atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 8 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				res, err := web.Client.Get("http://pair/")
				if err != nil {
					lost.Add(1)
					t.Error(err)
					return
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil || res.StatusCode != http.StatusOK {
					lost.Add(1)
					t.Errorf("%s %q %v", res.Status, body, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	m.Until("some answers", func() string {
		if answered.Load() < 300 {
			return "not yet"
		}
		return ""
	})
	victim.Kill()
	before := answered.Load()
	m.Until("answers after the death", func() string {
		if lost.Load() == 0 && answered.Load() < before+500 {
			return "not yet"
		}
		return ""
	})
	close(stop)
	load.Wait()
}

func TestAProxyGoesOnWithoutItsControlPlaneAndRestartsWithoutIt(t *testing.T) {
	m := meshtest.New(t)
	app := m.HTTPApp(meshtest.Text("here"))
	m.Apply(meshtest.Service("cart", 80, app, "http"))
	web := m.Join("web", "web-1")
	cart := m.Join("cart", "cart-1", meshtest.WithPort(app))
	m.Registered(2)
	if status, _ := web.Get("http://cart/"); status != http.StatusOK {
		t.Fatalf("with the control plane: %d", status)
	}
	m.Until("the configuration is on disk", func() string {
		for _, w := range []*meshtest.Workload{web, cart} {
			b, err := os.ReadFile(filepath.Join(w.Sidecar.State, "resources"))
			if err != nil || len(b) < 500 {
				return fmt.Sprintf("%s: %d bytes, %v", w.Name, len(b), err)
			}
		}
		return ""
	})
	m.Stop()
	if status, _ := web.Get("http://cart/"); status != http.StatusOK {
		t.Errorf("without the control plane: %d", status)
	}
	web.Leave()
	web.Start()
	if status, body := web.Get("http://cart/"); status != http.StatusOK {
		t.Errorf("restarted without the control plane: %d %q", status, body)
	}
	cart.Leave()
	cart.Start() // on the ports that it had: nobody could be told of others
	if status, body := web.Get("http://cart/"); status != http.StatusOK {
		t.Errorf("the other side restarted without the control plane: %d %q", status, body)
	}
	m.Start()
	m.Registered(2)
	if status, _ := web.Get("http://cart/"); status != http.StatusOK {
		t.Errorf("with the control plane back: %d", status)
	}
}

func TestPlaintextIsTakenOnlyWhereItIsPermitted(t *testing.T) {
	m := meshtest.New(t)
	app := m.HTTPApp(meshtest.Text("plain"))
	m.Apply(meshtest.Service("cart", 80, app, "http"))
	m.Join("cart", "cart-1", meshtest.WithPort(app))
	m.Registered(1)
	res, err := m.Admin.Get(t.Context(), &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "workload", Namespace: "default", Name: "cart-1"}})
	if err != nil {
		t.Fatal(err)
	}
	object, err := api.DecodeStored([]byte(res.GetObject().GetJson()))
	if err != nil {
		t.Fatal(err)
	}
	plaintext := fmt.Sprintf("http://127.0.0.1:%d/", object.(*v1alpha1.Workload).Spec.Ports[0].PlaintextPort)
	if res, err := http.Get(plaintext); err == nil {
		res.Body.Close()
		t.Errorf("STRICT answered %s", res.Status)
	}
	m.Apply(`
apiVersion: mesh.leno.dev/v1alpha1
kind: PeerAuthentication
metadata: {name: loose}
spec: {mode: PERMISSIVE}
`)
	out, err := http.Get(plaintext)
	if err != nil {
		t.Fatal(err)
	}
	out.Body.Close()
	if out.StatusCode != http.StatusOK {
		t.Errorf("PERMISSIVE answered %s", out.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAnOpenStreamDoesNotOutliveItsPolicy(t *testing.T) {
	m := meshtest.New(t)
	app := m.TCPApp(func(c net.Conn) { _, _ = io.Copy(c, c) })
	m.Apply(meshtest.Service("echo", 7, app, "tcp"))
	local := m.FreePort()
	m.Join("web", "web-1", meshtest.WithUpstream("echo", 7, local))
	m.Join("echo", "echo-1", meshtest.WithPort(app))
	m.Registered(2)
	c, err := net.Dial("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	fmt.Fprint(c, "one\n")
	if line, err := r.ReadString('\n'); err != nil || line != "one\n" {
		t.Fatalf("before the policy: %q, %v", line, err)
	}
	m.Apply(`
apiVersion: mesh.leno.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: echo}
spec:
  targetRefs: [{group: "", kind: Service, name: echo}]
  action: DENY
  rules: [{from: [{accounts: [default/web]}]}]
`)
	if line, err := r.ReadString('\n'); err == nil {
		t.Errorf("the stream lives on: %q", line)
	}
}

func TestAnUpgradeDoesNotOutliveItsPolicy(t *testing.T) {
	m := meshtest.New(t)
	app := m.TCPApp(func(c net.Conn) {
		r := bufio.NewReader(c)
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		fmt.Fprint(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
		_, _ = io.Copy(c, r)
	})
	m.Apply(meshtest.Service("chat", 80, app, "http"))
	local := m.FreePort()
	m.Join("web", "web-1", meshtest.WithUpstream("chat", 80, local))
	m.Join("chat", "chat-1", meshtest.WithPort(app))
	m.Registered(2)
	c, err := net.Dial("tcp", local)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", res, err)
	}
	fmt.Fprint(c, "one\n")
	if line, err := r.ReadString('\n'); err != nil || line != "one\n" {
		t.Fatalf("before the policy: %q, %v", line, err)
	}
	m.Apply(`
apiVersion: mesh.leno.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: chat}
spec:
  targetRefs: [{group: "", kind: Service, name: chat}]
  action: DENY
  rules: [{from: [{accounts: [default/web]}]}]
`)
	if line, err := r.ReadString('\n'); err == nil {
		t.Errorf("the stream lives on: %q", line)
	}
}

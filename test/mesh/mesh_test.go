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

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

func TestAServiceIsFoundEncryptedAndNamed(t *testing.T) {
	m := newMesh(t)
	app := m.httpApp(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Host, r.URL.Path, r.Header.Get("X-Forwarded-Client-Cert"))
	})
	m.apply(service("cart", 80, app, "http"))
	web := m.join("web", "web-1")
	m.join("cart", "cart-1", withPort(app))
	m.registered(2)

	status, body := web.get("http://cart/things")
	if status != http.StatusOK || !strings.HasPrefix(body, "cart /things Hash=") || !strings.Contains(body, "/ns/default/sa/web") {
		t.Errorf("got %d %q", status, body)
	}
}

func TestAServerThatSpeaksFirstNeedsNoConfiguration(t *testing.T) {
	m := newMesh(t)
	app := m.tcpApp(func(c net.Conn) {
		fmt.Fprint(c, "220 ready\r\n")
		_, _ = io.Copy(c, c)
	})
	m.apply(service("mail", 25, app, "tcp"))
	local := m.freePort()
	m.join("web", "web-1", withUpstream("mail", 25, local))
	m.join("mail", "mail-1", withPort(app))
	m.registered(2)

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
	m := newMesh(t)
	one, two := m.httpApp(text("v1")), m.httpApp(text("v2"))
	m.apply(service("shop", 80, one, "http") + service("shop-v1", 80, one, "http") + service("shop-v2", 80, two, "http") + split(100, 0))
	web := m.join("web", "web-1")
	m.join("shop-v1", "one", withPort(one))
	m.join("shop-v2", "two", withPort(two))
	m.registered(3)

	count := func() map[string]int {
		got := map[string]int{}
		for range 200 {
			status, body := web.get("http://shop/")
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
	m.apply(split(50, 50))
	if got := count(); got["v1"] < 60 || got["v2"] < 60 {
		t.Errorf("with 50/50: %v", got)
	}
	m.apply(split(0, 100))
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
	m := newMesh(t)
	app := m.httpApp(text("secret"))
	m.apply(service("vault", 80, app, "http"))
	web, thief := m.join("web", "web-1"), m.join("thief", "thief-1")
	m.join("vault", "vault-1", withPort(app))
	m.registered(3)

	m.apply(`
apiVersion: mesh.leno.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: vault}
spec:
  targetRefs: [{group: "", kind: Service, name: vault}]
  action: ALLOW
  rules: [{from: [{accounts: [default/web]}]}]
`)
	if status, body := web.get("http://vault/"); status != http.StatusOK {
		t.Errorf("web: %d %q", status, body)
	}
	status, body := thief.get("http://vault/")
	if status != http.StatusForbidden || !strings.Contains(body, "policy") {
		t.Errorf("thief: %d %q", status, body)
	}
}

func TestAReplicaThatDiesLosesNothingIdempotent(t *testing.T) {
	m := newMesh(t)
	survivor := m.httpApp(text("alive"))
	victim := m.mortalApp(text("mortal"))
	m.apply(service("pair", 80, 80, "http"))
	web := m.join("web", "web-1")
	m.join("pair", "one", withPort(survivor))
	m.join("pair", "two", withPort(victim.port))
	m.registered(3)

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
				res, err := web.client.Get("http://pair/")
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
	m.until("some answers", func() string {
		if answered.Load() < 300 {
			return "not yet"
		}
		return ""
	})
	victim.kill()
	before := answered.Load()
	m.until("answers after the death", func() string {
		if lost.Load() == 0 && answered.Load() < before+500 {
			return "not yet"
		}
		return ""
	})
	close(stop)
	load.Wait()
}

func TestAProxyGoesOnWithoutItsControlPlaneAndRestartsWithoutIt(t *testing.T) {
	m := newMesh(t)
	app := m.httpApp(text("here"))
	m.apply(service("cart", 80, app, "http"))
	web := m.join("web", "web-1")
	cart := m.join("cart", "cart-1", withPort(app))
	m.registered(2)
	if status, _ := web.get("http://cart/"); status != http.StatusOK {
		t.Fatalf("with the control plane: %d", status)
	}
	m.until("the configuration is on disk", func() string {
		for _, w := range []*workload{web, cart} {
			b, err := os.ReadFile(filepath.Join(w.sidecar.State, "resources"))
			if err != nil || len(b) < 500 {
				return fmt.Sprintf("%s: %d bytes, %v", w.name, len(b), err)
			}
		}
		return ""
	})
	m.stop()
	if status, _ := web.get("http://cart/"); status != http.StatusOK {
		t.Errorf("without the control plane: %d", status)
	}
	web.leave()
	web.start()
	if status, body := web.get("http://cart/"); status != http.StatusOK {
		t.Errorf("restarted without the control plane: %d %q", status, body)
	}
	m.start()
	m.registered(2)
	if status, _ := web.get("http://cart/"); status != http.StatusOK {
		t.Errorf("with the control plane back: %d", status)
	}
}

func TestPlaintextIsTakenOnlyWhereItIsPermitted(t *testing.T) {
	m := newMesh(t)
	app := m.httpApp(text("plain"))
	m.apply(service("cart", 80, app, "http"))
	m.join("cart", "cart-1", withPort(app))
	m.registered(1)
	res, err := m.admin.Get(t.Context(), &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "workload", Namespace: "default", Name: "cart-1"}})
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
	m.apply(`
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

package mesh_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
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

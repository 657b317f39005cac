package engine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
)

// echo sends back what it gets and ends when the client does.
func echo(c net.Conn) {
	_, _ = io.Copy(c, c)
	_ = c.(*net.TCPConn).CloseWrite()
}

// greeter speaks first.
func greeter(c net.Conn) {
	_, _ = io.WriteString(c, "220 ready\n")
	echo(c)
}

func TestBytesAreCarriedBothWaysWithHalfClose(t *testing.T) {
	r := newRig(t, tcpListener("bytes", "", "cluster: app")+clusters(cluster("app", "", tcpBackend(t, echo))))
	c := dial(t, r.serve("bytes"))
	payload := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
	go func() {
		_, _ = c.Write(payload)
		_ = c.CloseWrite()
	}()
	back, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(back, payload) {
		t.Errorf("%d bytes of %d back, %v", len(back), len(payload), err)
	}
	r.eventually("the connection to end", func() bool { return r.e.Connections() == 0 })
}

func TestASilentTCPConnectionLives(t *testing.T) {
	r := newRig(t, tcpListener("bytes", "", "cluster: app")+clusters(cluster("app", "", tcpBackend(t, greeter))))
	c := dial(t, r.serve("bytes"))
	lines := bufio.NewReader(c)
	if line, err := lines.ReadString('\n'); err != nil || line != "220 ready\n" {
		t.Fatalf("%q %v", line, err)
	}
	for range 3 { // the sweeper's clock long after the time to say something
		r.e.live.sweep(clock.Now() + int64(time.Hour))
	}
	_, _ = io.WriteString(c, "still here\n")
	if line, err := lines.ReadString('\n'); err != nil || line != "still here\n" {
		t.Errorf("%q %v", line, err)
	}
}

func TestAnIdleTCPConnectionEndsWhereTheConfigurationSaysSo(t *testing.T) {
	r := newRig(t, tcpListener("bytes", "", "cluster: app\nidle_timeout: 0.5s")+clusters(cluster("app", "", tcpBackend(t, echo))))
	c := dial(t, r.serve("bytes"))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("bytes out of nothing")
	}
	r.eventually("the connection to end", func() bool { return r.e.Connections() == 0 })
}

func TestAClientThatSaysNothingIsSweptBeforeAProtocolIsKnown(t *testing.T) {
	r := newRig(t, web(to("app"))+clusters(cluster("app", "")))
	c := dial(t, r.serve("web"))
	r.eventually("the connection", func() bool { return r.e.Connections() == 1 })
	r.e.live.sweep(clock.Now() + int64(2*headTimeout))
	_, _ = io.ReadAll(c)
	r.eventually("its end", func() bool { return r.e.Connections() == 0 })
}

func TestATCPClientIsResetWhereNobodyListens(t *testing.T) {
	dead := listen(t)
	dead.Close()
	r := newRig(t, tcpListener("bytes", "", "cluster: app")+clusters(cluster("app", "", dead.Addr().String())))
	expectReset(t, r.serve("bytes"))
}

func expectReset(t testing.TB, address string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return // the reset came before the kernel had told of the connection
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(c); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no reset: %q %v", b, err)
	}
}

func TestTCPTriesOtherEndpoints(t *testing.T) {
	dead := listen(t)
	dead.Close()
	r := newRig(t, tcpListener("bytes", "", "cluster: app\nmax_connect_attempts: 3")+
		clusters(cluster("app", "lb_policy: ROUND_ROBIN", dead.Addr().String(), tcpBackend(t, greeter))))
	address := r.serve("bytes")
	for range 10 {
		c := dial(t, address)
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "220 ready\n" {
			t.Fatalf("%q %v", line, err)
		}
		c.Close()
	}
}

func TestATunnelThatWasNotGrantedIsOpenedElsewhere(t *testing.T) {
	routes := `- match: {connect_matcher: {}}
  route: {cluster: app, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
`
	far := newRig(t, webWith("codec_type: HTTP2", routes)+clusters(cluster("app", "", tcpBackend(t, greeter))))
	dying := tcpBackend(t, func(c net.Conn) { // ends with the request in its hands
		_, _ = c.Read(make([]byte, 4096))
	})
	near := newRig(t, tcpListener("bytes", "", "cluster: peer\nmax_connect_attempts: 2\ntunneling_config: {hostname: \"app.example:80\"}")+
		clusters(cluster("peer", "lb_policy: ROUND_ROBIN\n"+speaksH2, dying, far.serve("web"))))
	address := near.serve("bytes")
	for range 4 {
		c := dial(t, address)
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || line != "220 ready\n" {
			t.Fatalf("%q %v", line, err)
		}
		c.Close()
	}
}

// tunnelRig carries bytes in CONNECT streams over HTTP/2 from one engine's
// listener to the other's, which terminates them.
func tunnelRig(t *testing.T, app string) (address string, near, far *rig) {
	far = newRig(t, webWith("codec_type: HTTP2", `- match: {connect_matcher: {}}
  route: {cluster: app, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
`)+clusters(cluster("app", "", app)))
	near = newRig(t, tcpListener("bytes", "", "cluster: peer\ntunneling_config: {hostname: \"app.example:80\"}")+
		clusters(cluster("peer", speaksH2, far.serve("web"))))
	return near.serve("bytes"), near, far
}

func TestTunnelsCarryBytesServerFirstAndHalfClosed(t *testing.T) {
	address, near, far := tunnelRig(t, tcpBackend(t, greeter))
	for range 3 {
		c := dial(t, address)
		lines := bufio.NewReader(c)
		if line, err := lines.ReadString('\n'); err != nil || line != "220 ready\n" {
			t.Fatalf("%q %v", line, err)
		}
		payload := strings.Repeat("x", 3<<20)
		go func() {
			_, _ = io.WriteString(c, payload)
			_ = c.CloseWrite()
		}()
		back, err := io.ReadAll(lines)
		if err != nil || string(back) != payload {
			t.Errorf("%d bytes back, %v", len(back), err)
		}
		c.Close()
	}
	near.eventually("tunnels to end", func() bool { return near.e.Connections() == 0 })
	far.eventually("the app's share to be counted", func() bool {
		for _, e := range far.e.Stats.Deltas() {
			if e.Destination == "app" && e.Protocol == "tcp" && e.Requests == 3 {
				return true
			}
		}
		return false
	})
}

func TestASilentTunnelLives(t *testing.T) {
	address, near, far := tunnelRig(t, tcpBackend(t, greeter))
	plain := newRig(t, web(`- match: {connect_matcher: {}}
  route: {cluster: app, timeout: 0s, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}
`)+clusters(cluster("app", "", tcpBackend(t, greeter))))
	overHTTP1 := dial(t, plain.serve("web"))
	_, _ = io.WriteString(overHTTP1, "CONNECT app.example:80 HTTP/1.1\r\nhost: app.example:80\r\n\r\n")
	direct := bufio.NewReader(overHTTP1)
	if res, err := http.ReadResponse(direct, &http.Request{Method: "CONNECT"}); err != nil || res.StatusCode != 200 {
		t.Fatalf("%v %v", res, err)
	}
	overHTTP2 := dial(t, address)
	for c, lines := range map[net.Conn]*bufio.Reader{overHTTP1: direct, overHTTP2: bufio.NewReader(overHTTP2)} {
		if line, err := lines.ReadString('\n'); err != nil || line != "220 ready\n" {
			t.Fatalf("%q %v", line, err)
		}
		for hour := range 3 {
			now := clock.Now() + int64(hour+1)*int64(time.Hour)
			for _, e := range []*Engine{plain.e, near.e, far.e} {
				e.live.sweep(now)
				e.sweepTransports(now)
			}
		}
		_, _ = io.WriteString(c, "still here\n")
		if line, err := lines.ReadString('\n'); err != nil || line != "still here\n" {
			t.Errorf("%q %v", line, err)
		}
	}
}

func TestATunnelThatIsCutLooksCut(t *testing.T) {
	address, _, far := tunnelRig(t, tcpBackend(t, greeter))
	c := dial(t, address)
	lines := bufio.NewReader(c)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	far.e.CloseAll()
	if b, err := io.ReadAll(lines); err == nil {
		t.Errorf("an orderly end after %q", b)
	}
}

func TestConnectIsServedOnlyWhereARouteSaysSo(t *testing.T) {
	routes := `- match: {connect_matcher: {}}
  route: {cluster: app}
`
	r := newRig(t, web(routes)+clusters(cluster("app", "", tcpBackend(t, echo))))
	c := dial(t, r.serve("web"))
	_, _ = io.WriteString(c, "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 501 {
		t.Errorf("%v %v", res, err)
	}
}

func TestUpgradesBecomeTunnels(t *testing.T) {
	// A WebSocket-like application: 101, then an echo.
	app := tcpBackend(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil || req.Header.Get("upgrade") != "chat" {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nhello\n")
		_, _ = io.Copy(c, in)
		_ = c.(*net.TCPConn).CloseWrite()
	})
	for _, manager := range []string{"upgrade_configs: [{upgrade_type: chat}]", ""} {
		r := newRig(t, webWith(manager, "- match: {prefix: /}\n  route: {cluster: app, timeout: 0.2s}\n")+clusters(cluster("app", "", app)))
		c := dial(t, r.serve("web"))
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n")
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		if manager == "" {
			if res.StatusCode != 400 {
				t.Errorf("an upgrade that is not listed went on: %s", res.Status)
			}
			continue
		}
		if res.StatusCode != 101 {
			t.Fatal(res.Status)
		}
		if line, err := in.ReadString('\n'); err != nil || line != "hello\n" {
			t.Fatalf("%q %v", line, err)
		}
		// The route's timeout ends with the answer's head.
		r.e.deadlines.sweep(clock.Now() + int64(time.Hour))
		_, _ = io.WriteString(c, "ping\n")
		_ = c.CloseWrite()
		if b, err := io.ReadAll(in); err != nil || string(b) != "ping\n" {
			t.Errorf("%q %v", b, err)
		}
	}
}

// detecting is a listener that tells HTTP from other bytes.
func detecting(httpCluster, tcpCluster string) string {
	const match = "filter_chain_match: {application_protocols: [http/1.1, h2c]}"
	return `  listeners:
  - name: any
    listener_filters:
    - name: http
      typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector}
    filter_chains:
    - name: requests
` + httpChain(match, "", to(httpCluster)) + "    - name: bytes\n" + tcpChain("", "cluster: "+tcpCluster)
}

func TestProtocolsAreDetectedWhoeverSpeaksFirst(t *testing.T) {
	app := backend(t, mirror)
	t.Run("HTTP", func(t *testing.T) {
		r := newRig(t, detecting("web", "raw")+clusters(cluster("web", "", app), cluster("raw", "", silent(t))))
		base := "http://" + r.serve("any")
		for _, version := range []int{1, 2} {
			if a := do(t, client(t, version), "GET", base+"/path", nil); a.Header.Get("x-path") != "/path" {
				t.Errorf("h%d: %s %v", version, a.Status, a.Header)
			}
		}
	})
	t.Run("other bytes", func(t *testing.T) {
		r := newRig(t, detecting("web", "raw")+clusters(cluster("web", "", app), cluster("raw", "", tcpBackend(t, echo))))
		for _, text := range []string{"\x00\x01binary", "ping\n", "G", "\r\n"} {
			c := dial(t, r.serve("any"))
			_, _ = io.WriteString(c, text)
			if text == "G" {
				_, _ = io.WriteString(c, "\x00") // it began like a method
			}
			_ = c.CloseWrite()
			b, err := io.ReadAll(c)
			if text == "G" {
				continue // either reading is allowed; it must end
			}
			if err != nil || string(b) != text {
				t.Errorf("%q: %q %v", text, b, err)
			}
		}
	})
	t.Run("server first", func(t *testing.T) {
		r := newRig(t, detecting("web", "raw")+clusters(cluster("web", "", app), cluster("raw", "", tcpBackend(t, greeter))))
		c := dial(t, r.serve("any"))
		lines := bufio.NewReader(c)
		if line, err := lines.ReadString('\n'); err != nil || line != "220 ready\n" {
			t.Fatalf("%q %v", line, err)
		}
		_, _ = io.WriteString(c, "GET / is mail here\n")
		if line, err := lines.ReadString('\n'); err != nil || line != "GET / is mail here\n" {
			t.Errorf("%q %v", line, err)
		}
	})
	t.Run("both silent, then the client leaves", func(t *testing.T) {
		r := newRig(t, detecting("web", "raw")+clusters(cluster("web", "", app), cluster("raw", "", tcpBackend(t, echo))))
		c := dial(t, r.serve("any"))
		_ = c.CloseWrite()
		if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
			t.Errorf("%q %v", b, err)
		}
	})
	t.Run("server gone", func(t *testing.T) {
		dead := listen(t)
		dead.Close()
		r := newRig(t, detecting("web", "raw")+clusters(cluster("web", "", app), cluster("raw", "", dead.Addr().String())))
		expectReset(t, r.serve("any"))
	})
}

func TestForwardProxyFindsServicesByName(t *testing.T) {
	raw := tcpBackend(t, greeter)
	r := newRig(t, httpListener("cart.shop.mesh.internal:80", "", "", to("cart"))+
		strings.TrimPrefix(tcpListener("db.shop.mesh.internal:5432", "", "cluster: db"), "  listeners:\n")+
		clusters(cluster("cart", "", backend(t, mirror)), cluster("db", "", raw)))
	ln := listen(t)
	done := make(chan error, 1)
	go func() { done <- r.e.ForwardProxy(ln, "shop") }()
	t.Cleanup(func() { ln.Close(); <-done })
	address := ln.Addr().String()
	outside := backend(t, mirror)

	get := func(authority string) (int, string) {
		c := dial(t, address)
		defer c.Close()
		_, _ = fmt.Fprintf(c, "GET http://%s/x HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n\r\n", authority, authority)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, res.Header.Get("x-path") + string(b)
	}
	for _, authority := range []string{"cart", "cart:80", "cart.shop", "CART.shop.mesh.internal", "cart.shop.mesh.internal:80", outside} {
		if status, path := get(authority); status != 200 || path != "/x" {
			t.Errorf("%s: %d %q", authority, status, path)
		}
	}
	if status, body := get("gone"); status != 503 || body != "the mesh has no service gone.shop.mesh.internal:80\n" {
		t.Errorf("gone: %d %q", status, body)
	}
	if status, _ := get("db:5432"); status != 502 {
		t.Errorf("HTTP to a TCP service: %d", status)
	}
	for _, authority := range []string{"db:5432", "db.shop:5432", raw} {
		c := dial(t, address)
		_, _ = fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nhost: %s\r\n\r\n", authority, authority)
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, &http.Request{Method: "CONNECT"})
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%s: %v %v", authority, res, err)
		}
		if line, err := in.ReadString('\n'); err != nil || line != "220 ready\n" {
			t.Errorf("%s: %q %v", authority, line, err)
		}
		_ = c.CloseWrite()
		if b, err := io.ReadAll(in); err != nil || len(b) > 0 {
			t.Errorf("%s: %q %v", authority, b, err)
		}
		c.Close()
	}
}

func TestMeshNames(t *testing.T) {
	for authority, want := range map[string]string{
		"cart": "cart.shop.mesh.internal:80", "cart:8080": "cart.shop.mesh.internal:8080", "cart.other": "cart.other.mesh.internal:80",
		"cart.other.mesh.internal:1": "cart.other.mesh.internal:1", "Cart.": "cart.shop.mesh.internal:80", "example.com": "example.com.mesh.internal:80",
		"127.0.0.1": "", "127.0.0.1:80": "", "[::1]:80": "", "www.example.com": "", "": "", ".shop": "", "cart:0": "", "cart:70000": "", "cart:x": "", ":80": "",
	} {
		if name, ok := MeshName(authority, "shop"); name != want || ok != (want != "") {
			t.Errorf("%q: %q %t, want %q", authority, name, ok, want)
		}
	}
}

func TestProtocolsAreToldByTheirFirstBytes(t *testing.T) {
	for first, want := range map[string]protocol{
		"":                                   protocolOther,
		"GET / HTTP/1.1\r\nhost: a\r\n\r\n":  protocolHTTP1,
		"OPTIONS * HTTP/1.0\r\n":             protocolHTTP1,
		"GET /a-path-that-goes-on":           protocolHTTP1,
		"GE":                                 protocolHTTP1,
		"PROPPATCH /x HTTP/1.1\n":            protocolHTTP1,
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":   protocolH2C,
		"PRI * H":                            protocolH2C,
		"GET key\r\n":                        protocolOther, // Redis
		"SET key value\r\n":                  protocolOther,
		"*1\r\n$4\r\nPING\r\n":               protocolOther,
		"NICK somebody\r\nUSER a 0 * :b\r\n": protocolOther, // IRC
		"CONNECT\naccept-version:1.2\n\n":    protocolOther, // STOMP
		"AMQP\x00\x00\x09\x01":               protocolOther,
		"OK done":                            protocolOther,
		"get key\r\n":                        protocolOther,
		"\x16\x03\x01\x02\x00":               protocolOther,
	} {
		if got := protocolOf([]byte(first)); got != want {
			t.Errorf("%q is %q, want %q", first, protocolNames[got], protocolNames[want])
		}
	}
}

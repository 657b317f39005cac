package engine

import (
	stdtls "crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/lib/cell"
)

// tlsFields is a chain's transport socket.
func tlsFields(t testing.TB, ca *issuer, names []string, alpn string, clients bool) string {
	c, key := ca.issue(t, names...)
	verify := ""
	if clients {
		verify = "\n      validation_context: {trusted_ca: " + inline("CERTIFICATE", ca.cert.Raw) + "}"
	}
	return fmt.Sprintf(`transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
    require_client_certificate: %t
    common_tls_context:
      alpn_protocols: %s
      tls_certificates:
      - certificate_chain: %s
        private_key: %s%s
`, clients, alpn, inline("CERTIFICATE", c.Certificate[0]), inlineKey(t, key), verify)
}

func tlsClient(t testing.TB, config *stdtls.Config, http2 bool) *http.Client {
	tr := &http.Transport{TLSClientConfig: config, Protocols: new(http.Protocols)}
	tr.Protocols.SetHTTP1(!http2)
	tr.Protocols.SetHTTP2(http2)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestTLSEndsHereAndBeginsTowardsTheEndpoint(t *testing.T) {
	ca := newIssuer(t)
	own, ownKey := ca.issue(t, "proxy.example")
	appCert, _ := ca.issue(t, "app.example")
	app := listen(t)
	s := &http.Server{Handler: http.HandlerFunc(mirror), TLSConfig: &stdtls.Config{
		Certificates: []stdtls.Certificate{appCert}, ClientAuth: stdtls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	}}
	done := make(chan error, 1)
	go func() { done <- s.ServeTLS(app, "", "") }()
	t.Cleanup(func() { s.Close(); <-done })
	upstream := fmt.Sprintf(`transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    sni: app.example
    common_tls_context:
      tls_certificates: [{certificate_chain: %s, private_key: %s}]
      validation_context:
        trusted_ca: %s
        match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: %%s}}]
`, inline("CERTIFICATE", own.Certificate[0]), inlineKey(t, ownKey), inline("CERTIFICATE", ca.cert.Raw))
	for _, up := range []int{1, 2} {
		fields := ""
		if up == 2 {
			fields = speaksH2
		}
		r := newRig(t, httpListener("web", tlsFields(t, ca, []string{"front.example"}, "[h2, http/1.1]", false), "", "- match: {path: /wrong}\n  route: {cluster: wrong}\n"+to("app"))+
			clusters(cluster("app", fields+fmt.Sprintf(upstream, "app.example"), app.Addr().String()), cluster("wrong", fields+fmt.Sprintf(upstream, "other.example"), app.Addr().String())))
		base := "https://" + r.serve("web")
		for _, http2 := range []bool{false, true} {
			c := tlsClient(t, &stdtls.Config{RootCAs: ca.pool(), ServerName: "front.example"}, http2)
			a := do(t, c, "POST", base+"/", strings.NewReader("body"))
			if a.body != "body" || a.TLS == nil || strings.Join(a.Header["X-Had-X-Forwarded-Proto"], "") != "https" || (a.ProtoMajor == 2) != http2 {
				t.Errorf("%s %q %v", a.Proto, a.body, a.Header)
			}
			if a := do(t, c, "GET", base+"/wrong", nil); a.StatusCode != 503 || a.Header.Get("x-leno-fault") != "tls_failed" {
				t.Errorf("an endpoint with another name: %s %v", a.Status, a.Header)
			}
		}
		if c, err := net.Dial("tcp", strings.TrimPrefix(base, "https://")); err == nil {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
			if b, _ := io.ReadAll(c); len(b) > 0 {
				t.Errorf("plaintext was answered %q", b)
			}
			c.Close()
		}
	}
}

func TestChainsAreChosenByServerNameAndProtocol(t *testing.T) {
	ca := newIssuer(t)
	chain := func(name, match, alpn, answer string) string {
		return "    - name: " + name + "\n" + httpChain("filter_chain_match: "+match+"\n"+tlsFields(t, ca, []string{"*.example", "a.example"}, alpn, false), "",
			"- match: {prefix: /}\n  direct_response: {status: 200, body: {inline_string: "+answer+"}}\n")
	}
	r := newRig(t, "  listeners:\n  - name: web\n    filter_chains:\n"+
		chain("exact", "{server_names: [a.example]}", "[http/1.1]", "exact")+
		chain("wild", "{server_names: [\"*.example\"]}", "[http/1.1]", "wild")+
		chain("special", "{server_names: [\"*.example\"], application_protocols: [special]}", "[special, http/1.1]", "special"))
	address := r.serve("web")
	ask := func(name string, alpn ...string) string {
		c, err := stdtls.Dial("tcp", address, &stdtls.Config{RootCAs: ca.pool(), ServerName: name, NextProtos: alpn})
		if err != nil {
			return "refused"
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
		b, _ := io.ReadAll(c)
		_, body, _ := strings.Cut(string(b), "\r\n\r\n")
		return body
	}
	for _, test := range []struct {
		name string
		alpn []string
		want string
	}{
		{"a.example", nil, "exact"}, {"A.example", nil, "exact"}, {"b.example", nil, "wild"}, {"b.example", []string{"http/1.1"}, "wild"},
		{"b.example", []string{"special"}, "special"},
		// The chain is that of the offer, whatever was agreed on afterwards.
		{"b.example", []string{"special", "http/1.1"}, "special"}, {"b.example", []string{"http/1.1", "special"}, "special"},
		{"other.test", nil, "refused"},
	} {
		if have := ask(test.name, test.alpn...); have != test.want {
			t.Errorf("%s %v: %q, want %q", test.name, test.alpn, have, test.want)
		}
	}
}

const meshTLS = `transport_socket:
  name: tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.%s
    %s
    common_tls_context:
      alpn_protocols: [h2, http/1.1]
      tls_certificate_sds_secret_configs: [{name: default, sds_config: {ads: {}}}]
      combined_validation_context:
        default_validation_context: {%s}
        validation_context_sds_secret_config: {name: ROOTCA, sds_config: {ads: {}}}
`

func rbacRules(action, principal string) string {
	return "rules: {action: " + action + ", policies: {it: {permissions: [{any: true}], principals: [" + principal + "]}}}"
}

func TestIdentitiesDecideWhoMayCall(t *testing.T) {
	ca := newIssuer(t)
	const caller1, thief = "spiffe://test.mesh/ns/shop/sa/web", "spiffe://test.mesh/ns/shop/sa/thief"
	server := cell.New(ca.identity(t, "spiffe://test.mesh/ns/shop/sa/cart"))
	serverTLS := fmt.Sprintf(meshTLS, "DownstreamTlsContext", "require_client_certificate: true", "")
	clientTLS := fmt.Sprintf(meshTLS, "UpstreamTlsContext", "sni: cart", `match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: "spiffe://test.mesh/ns/shop/sa/cart"}}]`)
	allowWeb := rbacRules("ALLOW", `{authenticated: {principal_name: {exact: "`+caller1+`"}}}`)
	httpRBAC := "forward_client_cert_details: SANITIZE_SET\nset_current_client_cert_details: {uri: true}\nhttp_filters:\n- name: rbac\n  typed_config:\n    \"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC\n    " + allowWeb
	tcpRBAC := "  listeners:\n  - name: bytes\n    filter_chains:\n    - name: all\n" + indent(6, serverTLS) + "      filters:\n      - name: rbac\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC\n          stat_prefix: x\n          " + allowWeb + `
      - name: tcp
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: raw}
`
	var dialed = make(chan struct{}, 10)
	raw := tcpBackend(t, func(c net.Conn) { dialed <- struct{}{}; greeter(c) })
	callee := newRig(t, httpListener("web", serverTLS, httpRBAC, to("app"))+strings.TrimPrefix(tcpRBAC, "  listeners:\n")+
		clusters(cluster("app", "", backend(t, mirror)), cluster("raw", "", raw)), withIdentity(server))
	webAddress, bytesAddress := callee.serve("web"), callee.serve("bytes")

	for id, allowed := range map[string]bool{caller1: true, thief: false} {
		caller := newRig(t, web(to("cart"))+strings.TrimPrefix(tcpListener("bytes", "", "cluster: raw"), "  listeners:\n")+
			clusters(cluster("cart", speaksH2+clientTLS, webAddress), cluster("raw", clientTLS, bytesAddress)), withIdentity(cell.New(ca.identity(t, id))))
		a := do(t, client(t, 1), "GET", "http://"+caller.serve("web")+"/", nil, header("x-forwarded-client-cert", "URI=forged"))
		xfcc := strings.Join(a.Header["X-Had-X-Forwarded-Client-Cert"], "|")
		if allowed && (a.StatusCode != 200 || !strings.HasSuffix(xfcc, ";URI="+id) || strings.Contains(xfcc, "forged")) {
			t.Errorf("%s: %s, XFCC %q", id, a.Status, xfcc)
		}
		if !allowed && (a.StatusCode != 403 || xfcc != "") {
			t.Errorf("%s: %s, XFCC %q", id, a.Status, xfcc)
		}
		greeting := make([]byte, 10)
		c, err := net.Dial("tcp", caller.serve("bytes"))
		if err == nil {
			_, err = io.ReadFull(c, greeting)
			c.Close()
		}
		if allowed != (err == nil) {
			t.Errorf("%s: bytes: %q %v", id, greeting, err)
		}
		select {
		case <-dialed:
			if !allowed {
				t.Errorf("%s: the application was dialed", id)
			}
		default:
			if allowed {
				t.Errorf("%s: the application was not dialed", id)
			}
		}
	}
	denied := false
	for _, d := range callee.e.Stats.Deltas() {
		if d.Source == "shop/thief" && d.MTLS {
			for _, f := range d.Faults {
				denied = denied || strings.Contains(f.Key, "denied")
			}
		}
	}
	if !denied {
		t.Errorf("the refusal is not counted: %+v", callee.e.Stats.Deltas())
	}
	// Without a certificate of the mesh nobody comes in.
	if c, err := stdtls.Dial("tcp", webAddress, &stdtls.Config{RootCAs: ca.pool(), InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}); err == nil {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("an anonymous client was answered %q", b)
		}
		c.Close()
	}
}

//go:build conformance

// Package conformance_test runs suites that others wrote against leno-proxy as
// a process: make conformance.
package conformance_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// program returns a suite's binary, which the make target has installed.
func program(t *testing.T, variable string) string {
	t.Helper()
	p := os.Getenv(variable)
	if p == "" {
		t.Fatalf("%s is not set: run make conformance", variable)
	}
	return p
}

// proxy starts leno-proxy on a bootstrap; it ends with the test.
func proxy(t *testing.T, bootstrap, address string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "bootstrap.yaml")
	if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program(t, "LENO_PROXY"), "-c", file, "-drain-timeout", "100ms")
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("leno-proxy: %v\n%s", err, &log)
		}
	})
	for range 200 {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
			return
		}
		tick := time.NewTimer(10 * time.Millisecond)
		<-tick.C
	}
	t.Fatalf("leno-proxy does not listen\n%s", &log)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// backend answers everything over HTTP/1.1.
func backend(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 200))
	})}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { s.Close() })
	return ln.Addr().String()
}

func bootstrap(listen, backend, transport string) string {
	host, port, _ := net.SplitHostPort(listen)
	backHost, backPort, _ := net.SplitHostPort(backend)
	return fmt.Sprintf(`
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: %s, port_value: %s}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          codec_type: HTTP2
          route_config:
            virtual_hosts:
            - {name: all, domains: ["*"], routes: [{match: {prefix: "/"}, route: {cluster: app}}]}
          http_filters:
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
%s
  clusters:
  - name: app
    load_assignment:
      cluster_name: app
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, host, port, transport, backHost, backPort)
}

var tally = regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`)

func h2spec(t *testing.T, address string, flags ...string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	out, _ := exec.Command(program(t, "H2SPEC"), append([]string{"-h", host, "-p", port, "-o", "5"}, flags...)...).CombinedOutput()
	m := tally.FindStringSubmatch(string(out))
	if m == nil {
		t.Fatalf("h2spec says nothing that can be counted:\n%s", out)
	}
	t.Log(m[0])
	if m[1] != m[2] {
		_, failures, _ := strings.Cut(string(out), "Failures:")
		t.Errorf("%s failed:\n%s", m[4], failures)
	}
}

func TestH2specInCleartext(t *testing.T) {
	listen := freeAddress(t)
	proxy(t, bootstrap(listen, backend(t), ""), listen)
	h2spec(t, listen)
}

func TestH2specOverTLS(t *testing.T) {
	cert, key := certificate(t)
	listen := freeAddress(t)
	proxy(t, bootstrap(listen, backend(t), fmt.Sprintf(`      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            alpn_protocols: [h2]
            tls_certificates: [{certificate_chain: {filename: %s}, private_key: {filename: %s}}]
`, cert, key)), listen)
	h2spec(t, listen, "-t", "-k")
}

// certificate writes a self-signed certificate and its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

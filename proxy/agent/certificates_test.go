package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/xds/wire"
)

func TestTheCertificatesOfAStaticBootstrapAreShown(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"shop.example"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, secret := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, b := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, secret: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := new(wire.Bootstrap)
	_, err = wire.ReadYAML(fmt.Appendf(nil, `
static_resources:
  listeners:
  - name: front
    filter_chains:
    - filters:
      - {name: tcp, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, cluster: app}}
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context: {tls_certificates: [{certificate_chain: {filename: %s}, private_key: {filename: %s}}]}
`, cert, secret), b)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(Options{Log: log.Discard()}, nil, nil, "")
	if err := staticResources(b, p.configuration.resources); err != nil {
		t.Fatal(err)
	}
	built, rejected := p.configuration.env.Build(plan.Empty(), p.configuration.resources)
	if len(rejected) > 0 {
		t.Fatal(rejected)
	}
	p.configuration.plan.Store(built)
	if got := string(certificatesJSON(nil, p.configuration.certificates())); !strings.Contains(got, `"dns":"shop.example"`) || strings.Contains(got, "PRIVATE") {
		t.Errorf("/certs shows %s", got)
	}
}

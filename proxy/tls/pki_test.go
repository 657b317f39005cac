package tls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/conn"
)

// authority is a root that signs whatever a test asks for.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// leaf returns a well-formed SVID template for the URI.
func leaf(uris ...string) *x509.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, s := range uris {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		template.URIs = append(template.URIs, u)
	}
	return template
}

func (a *authority) sign(t testing.TB, template *x509.Certificate, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// certificate returns a signed certificate with its key, however hostile.
func (a *authority) certificate(t testing.TB, template *x509.Certificate) stdtls.Certificate {
	t.Helper()
	key := newKey(t)
	return stdtls.Certificate{Certificate: [][]byte{a.sign(t, template, key.Public())}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// identity returns an identity that trusts a for the given trust domain.
func (a *authority) identity(t testing.TB, uri, domain string) *Identity {
	t.Helper()
	c := a.certificate(t, leaf(uri))
	n, err := NewIdentity(c.Certificate, c.PrivateKey.(crypto.Signer), map[string][]*x509.Certificate{domain: {a.cert}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (a *authority) cell(t testing.TB, uri, domain string) *cell.Cell[Identity] {
	return cell.New(a.identity(t, uri, domain))
}

// pair returns the two ends of a loopback connection.
func pair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

type ends struct {
	client, server       *conn.Conn
	clientErr, serverErr error
}

// shake runs both sides and carries one byte each way, so that TLS 1.3's late
// refusals are seen and tickets are read.
func shake(t testing.TB, c *Client, s *Server) ends {
	t.Helper()
	nc, ns := pair(t)
	bufs := &buf.Pool{}
	e := ends{client: conn.New(nc, bufs), server: conn.New(ns, bufs)}
	deadline := time.Now().Add(20 * time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if e.serverErr = s.Handshake(e.server, deadline); e.serverErr != nil {
			e.server.Close()
			return
		}
		if _, err := e.server.Write([]byte("s")); err == nil {
			_ = e.server.Fill()
		}
	}()
	if e.clientErr = c.Handshake(e.client, deadline); e.clientErr != nil {
		e.client.Close()
	} else if err := e.client.Fill(); err == nil {
		_, _ = e.client.Write([]byte("c"))
	}
	<-done
	return e
}

func mustServer(t testing.TB, f ServerConfig) *Server {
	t.Helper()
	s, err := NewServer(f)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustClient(t testing.TB, f ClientConfig) *Client {
	t.Helper()
	c, err := NewClient(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

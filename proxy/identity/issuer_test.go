package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"net/url"
	"sync"
	"testing"
	"time"
)

const (
	webURI    = "spiffe://a.test/ns/shop/sa/web"
	serverURI = "spiffe://a.test/ns/leno-system/sa/leno-server"
	life      = 24 * time.Hour
)

// issuer signs what it is asked to, as the test sets it.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey

	mu   sync.Mutex // guards the rest
	uri  string
	life time.Duration
	down bool

	tokens []string // of each call
	at     []time.Time
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
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
	return &issuer{cert: cert, key: key, uri: webURI, life: life}
}

func (i *issuer) sign(public crypto.PublicKey) ([]byte, error) {
	u, err := url.Parse(i.uri)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(i.life), URIs: []*url.URL{u},
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, i.cert, public, i.key)
}

func (i *issuer) Issue(_ context.Context, token string, der []byte) (Issued, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tokens, i.at = append(i.tokens, token), append(i.at, time.Now())
	if i.down {
		return Issued{}, errors.New("the server cannot be reached")
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return Issued{}, err
	}
	if err := csr.CheckSignature(); err != nil {
		return Issued{}, err
	}
	leaf, err := i.sign(csr.PublicKey)
	if err != nil {
		return Issued{}, err
	}
	return Issued{Chain: [][]byte{leaf}, Roots: [][]byte{i.cert.Raw}, RenewAt: time.Now().Add(i.life * 2 / 3)}, nil
}

// change sets what the issuer does from now on.
func (i *issuer) change(set func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	set()
}

package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/leno-mesh/leno/lib/jointoken"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// clock is moved by the test.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) advance(d time.Duration) { c.ahead.Add(int64(d)) }

func newAuthority(t *testing.T, config Config) *Authority {
	t.Helper()
	if config.Directory == "" {
		config.Directory = filepath.Join(t.TempDir(), "ca")
	}
	a, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func csr(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	u, _ := url.Parse("spiffe://evil.test/ns/leno-system/sa/leno-server")
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin"}, DNSNames: []string{"evil.test"}, URIs: []*url.URL{u},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func p256(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func workload(t *testing.T, a *Authority, account string) spiffe.ID {
	t.Helper()
	id, err := spiffe.Workload(a.TrustDomain(), "shop", account)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func chainOf(t *testing.T, issued Issued) []*x509.Certificate {
	t.Helper()
	var chain []*x509.Certificate
	for _, der := range issued.Chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, c)
	}
	return chain
}

func TestIssuedCertificatesAreSVIDsAndTheRequestsNamesAreIgnored(t *testing.T) {
	a := newAuthority(t, Config{})
	key := p256(t)
	issued, err := a.Issue(Request{ID: workload(t, a, "web"), CSR: csr(t, key), Attested: "test"})
	if err != nil {
		t.Fatal(err)
	}
	leaf := chainOf(t, issued)[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != issued.ID.String() || len(leaf.DNSNames) != 0 || leaf.Subject.CommonName != "" {
		t.Errorf("names: %v %v %v", leaf.URIs, leaf.DNSNames, leaf.Subject)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || len(leaf.ExtKeyUsage) != 2 || leaf.SerialNumber.BitLen() < 128 {
		t.Errorf("CA %v, usage %v %v, serial %d bits", leaf.IsCA, leaf.KeyUsage, leaf.ExtKeyUsage, leaf.SerialNumber.BitLen())
	}
	life := time.Until(leaf.NotAfter)
	if until := time.Until(issued.RenewAt); until < life*59/100 || until > life*74/100 {
		t.Errorf("renewal after %v of %v", until, life)
	}
	domain := spiffeid.RequireTrustDomainFromString(a.TrustDomain())
	id, _, err := x509svid.Verify(chainOf(t, issued), x509bundle.FromX509Authorities(domain, a.Roots()))
	if err != nil || id.String() != issued.ID.String() {
		t.Errorf("go-spiffe: %s, %v", id, err)
	}
	if id, err := a.VerifyPeer(chainOf(t, issued)); err != nil || id != issued.ID {
		t.Errorf("VerifyPeer: %s, %v", id, err)
	}
	if other := newAuthority(t, Config{TrustDomain: a.TrustDomain()}); other != nil {
		if _, err := other.VerifyPeer(chainOf(t, issued)); err == nil {
			t.Error("another root of the same trust domain vouches for it")
		}
	}
	log, err := os.ReadFile(filepath.Join(a.dir, logFile))
	if err != nil || !bytes.Contains(log, []byte(issued.Serial)) || bytes.Count(log, []byte("\n")) != 1 {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	a := newAuthority(t, Config{})
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	p521, _ := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	p224, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	rsa2048, _ := rsa.GenerateKey(rand.Reader, 2048)
	good := csr(t, p256(t))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	renamed := bytes.Replace(good, []byte("admin"), []byte("other"), 1)
	for name, c := range map[string]struct {
		csr []byte
		ok  bool
	}{
		"P-256": {good, true}, "P-384": {csr(t, p384), true}, "Ed25519": {csr(t, edwards), true}, "RSA 2048": {csr(t, rsa2048), true},
		"P-224": {csr(t, p224), false}, "P-521": {csr(t, p521), false},
		"empty": {nil, false}, "garbage": {[]byte("csr"), false}, "cut off": {good[:len(good)-1], false},
		"with a tail": {append(bytes.Clone(good), 0), false}, "too long": {make([]byte, MaxCSR+1), false},
		"wrong signature": {flipped, false}, "changed after signing": {renamed, false},
	} {
		if _, err := a.Issue(Request{ID: workload(t, a, "web"), CSR: c.csr}); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, _ := spiffe.Parse("spiffe://other.test/ns/shop/sa/web")
	bare, _ := spiffe.Parse("spiffe://" + a.TrustDomain() + "/web")
	for name, r := range map[string]Request{
		"nobody": {}, "another trust domain": {ID: other}, "no workload": {ID: bare}, "the server": {ID: a.ServerID()},
		"too long a life":  {ID: workload(t, a, "web"), Lifetime: MaxLifetime + 1},
		"too short a life": {ID: workload(t, a, "web"), Lifetime: time.Millisecond},
		"a negative life":  {ID: workload(t, a, "web"), Lifetime: -time.Hour},
	} {
		r.CSR = good
		if _, err := a.Issue(r); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
}

func TestTheIssuerIsReplacedAtHalfItsLifeAndOldLeavesStayValid(t *testing.T) {
	c := &clock{}
	dir := filepath.Join(t.TempDir(), "ca")
	a := newAuthority(t, Config{Directory: dir, Now: c.now})
	first := a.issuer.cert
	c.advance(issuerLife/2 - time.Hour)
	old, err := a.Issue(Request{ID: workload(t, a, "web"), CSR: csr(t, p256(t))})
	if err != nil || !a.issuer.cert.Equal(first) {
		t.Fatalf("replaced too early, or %v", err)
	}
	c.advance(time.Hour)
	fresh, err := a.Issue(Request{ID: workload(t, a, "web"), CSR: csr(t, p256(t))})
	if err != nil || a.issuer.cert.Equal(first) {
		t.Fatalf("not replaced, or %v", err)
	}
	for _, issued := range []Issued{old, fresh} {
		if _, err := a.VerifyPeer(chainOf(t, issued)); err != nil {
			t.Error(err)
		}
	}
	again := newAuthority(t, Config{Directory: dir, Now: c.now})
	if !again.issuer.cert.Equal(a.issuer.cert) || again.TrustDomain() != a.TrustDomain() {
		t.Error("a restart forgot the issuer")
	}
	c.advance(rootLife)
	if _, err := a.Issue(Request{ID: workload(t, a, "web"), CSR: csr(t, p256(t))}); err == nil {
		t.Error("an expired root signed")
	}
}

func TestDamagedFilesAreNamedAndNeverReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	a := newAuthority(t, Config{Directory: dir})
	foreign := newAuthority(t, Config{TrustDomain: a.TrustDomain()})
	root, _ := os.ReadFile(filepath.Join(dir, rootFile))
	issuer, _ := os.ReadFile(filepath.Join(dir, issuerFile))
	otherRoot, _ := os.ReadFile(filepath.Join(foreign.dir, rootFile))
	otherIssuer, _ := os.ReadFile(filepath.Join(foreign.dir, issuerFile))
	key := bytes.Index(root, []byte("-----BEGIN PRIVATE"))
	otherKey := bytes.Index(otherRoot, []byte("-----BEGIN PRIVATE"))
	for name, c := range map[string]struct {
		file string
		data []byte
		mode os.FileMode
	}{
		"root empty":            {rootFile, nil, 0o600},
		"root cut off":          {rootFile, root[:len(root)-40], 0o600},
		"root without key":      {rootFile, root[:key], 0o600},
		"root without cert":     {rootFile, root[key:], 0o600},
		"root with another key": {rootFile, append(bytes.Clone(root[:key]), otherRoot[otherKey:]...), 0o600},
		"root readable":         {rootFile, root, 0o644},
		"root swapped":          {rootFile, otherRoot, 0o600},
		"root is an issuer":     {rootFile, issuer, 0o600},
		"issuer empty":          {issuerFile, nil, 0o600},
		"issuer of another":     {issuerFile, otherIssuer, 0o600},
		"issuer cut off":        {issuerFile, issuer[:100], 0o600},
		"issuer readable":       {issuerFile, issuer, 0o640},
	} {
		for file, data := range map[string][]byte{rootFile: root, issuerFile: issuer} {
			if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
				t.Fatal(err)
			}
			_ = os.Chmod(filepath.Join(dir, file), 0o600)
		}
		path := filepath.Join(dir, c.file)
		_ = os.WriteFile(path, c.data, 0o600)
		_ = os.Chmod(path, c.mode)
		if _, err := Open(Config{Directory: dir}); err == nil || !strings.Contains(err.Error(), ".pem") {
			t.Errorf("%s: %v", name, err)
		}
		if kept, _ := os.ReadFile(path); !bytes.Equal(kept, c.data) {
			t.Errorf("%s: the file was replaced", name)
		}
	}
	_ = os.Remove(filepath.Join(dir, rootFile))
	if _, err := Open(Config{Directory: dir}); err == nil {
		t.Error("a lost root was replaced")
	}
	if _, err := Open(Config{Directory: foreign.dir, TrustDomain: "other.test"}); err == nil {
		t.Error("the trust domain was changed")
	}
}

func newEnrolment(t *testing.T, c *clock) *Enrolment {
	t.Helper()
	return NewEnrolment(EnrolmentConfig{Authority: newAuthority(t, Config{Now: c.now}), Tokens: &MemoryTokens{}})
}

func refusedBy(t *testing.T, err error, code Code, words string) {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Code != code || !strings.Contains(r.Reason, words) {
		t.Errorf("%v, want %q", err, words)
	}
}

func TestTokensJoinOnceAndRenewalKeepsTheIdentity(t *testing.T) {
	c := &clock{}
	e := newEnrolment(t, c)
	token, _, err := e.CreateToken(TokenSpec{Namespace: "shop", Service: "web"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Issue(nil, token.Reveal(), []byte("bad"))
	refusedBy(t, err, Malformed, "parsed") // and spends nothing
	issued, err := e.Issue(nil, token.Reveal(), csr(t, p256(t)))
	if err != nil || issued.ID != workload(t, e.authority, "web") {
		t.Fatalf("%s, %v", issued.ID, err)
	}
	_, err = e.Issue(nil, token.Reveal(), csr(t, p256(t)))
	refusedBy(t, err, Unproven, "used already")
	renewed, err := e.Issue(chainOf(t, issued), "", csr(t, p256(t)))
	if err != nil || renewed.ID != issued.ID {
		t.Fatalf("%s, %v", renewed.ID, err)
	}
	_, err = e.Issue(nil, "", csr(t, p256(t)))
	refusedBy(t, err, Unproven, "neither")
	c.advance(DefaultLifetime + time.Minute)
	_, err = e.Issue(chainOf(t, renewed), "", csr(t, p256(t)))
	refusedBy(t, err, Unproven, "expired")
	_, err = e.Issue(chainOf(t, Issued{Chain: [][]byte{e.authority.issuer.cert.Raw}}), "", csr(t, p256(t)))
	refusedBy(t, err, Unproven, "cannot be renewed")
}

func TestTokensThatProveNothingAreRefused(t *testing.T) {
	c := &clock{}
	e := newEnrolment(t, c)
	token, record, err := e.CreateToken(TokenSpec{Namespace: "shop", Service: "web", Uses: 2})
	if err != nil {
		t.Fatal(err)
	}
	part := strings.Split(token.Reveal(), ".")
	wrong := strings.Split(jointoken.New(token.Root()).Reveal(), ".")
	part[2], wrong[1] = wrong[2], part[1]
	_, err = e.Issue(nil, strings.Join(part, "."), csr(t, p256(t)))
	refusedBy(t, err, Unproven, "secret is wrong")
	_, err = e.Issue(nil, jointoken.New(token.Root()).Reveal(), csr(t, p256(t)))
	refusedBy(t, err, Unproven, "no such join token")
	_, err = e.Issue(nil, "leno1.x", csr(t, p256(t)))
	refusedBy(t, err, Malformed, "parse join token")
	c.advance(DefaultTokenTTL)
	_, err = e.Issue(nil, token.Reveal(), csr(t, p256(t)))
	refusedBy(t, err, Unproven, "expired at")
	_, err = e.Issue(nil, strings.Join(part, "."), csr(t, p256(t)))
	refusedBy(t, err, Unproven, "secret is wrong") // the expiry is not told
	if err := e.RevokeToken(record.ID); err != nil {
		t.Fatal(err)
	}
	_, err = e.Issue(nil, token.Reveal(), csr(t, p256(t)))
	refusedBy(t, err, Unproven, "revoked")
	for name, spec := range map[string]TokenSpec{
		"nothing": {}, "no namespace": {Service: "web"}, "a path": {Namespace: "a/b", Service: "web"},
		"the server": {Namespace: jointoken.ServerNamespace, Service: "x", Account: jointoken.ServerAccount},
		"negative":   {Namespace: "shop", Service: "web", Uses: -1}, "for ever": {Namespace: "shop", Service: "web", TTL: MaxTokenTTL + 1},
	} {
		if _, _, err := e.CreateToken(spec); err == nil {
			t.Errorf("a token for %s was made", name)
		}
	}
}

func TestOfManyWhoUseATokenOneWins(t *testing.T) {
	e := newEnrolment(t, &clock{})
	token, _, err := e.CreateToken(TokenSpec{Namespace: "shop", Service: "web"})
	if err != nil {
		t.Fatal(err)
	}
	request := csr(t, p256(t))
	var won atomic.Int32
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			if _, err := e.Issue(nil, token.Reveal(), request); err == nil {
				won.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 {
		t.Errorf("%d joined by one use", won.Load())
	}
}

func TestIssuingIsBounded(t *testing.T) {
	c := &clock{}
	now := time.Now()
	e := NewEnrolment(EnrolmentConfig{
		Authority: newAuthority(t, Config{Now: func() time.Time { return now.Add(time.Duration(c.ahead.Load())) }}),
		Tokens:    &MemoryTokens{}, PerSecond: 1, Burst: 2,
	})
	token, _, err := e.CreateToken(TokenSpec{Namespace: "shop", Service: "web", Uses: 10})
	if err != nil {
		t.Fatal(err)
	}
	request := csr(t, p256(t))
	var issued Issued
	for range 2 {
		if issued, err = e.Issue(nil, token.Reveal(), request); err != nil {
			t.Fatal(err)
		}
	}
	_, err = e.Issue(nil, token.Reveal(), request)
	refusedBy(t, err, Overloaded, "try again later")
	if _, err := e.Issue(chainOf(t, issued), "", request); err != nil {
		t.Errorf("joins starved a renewal: %v", err)
	}
	c.advance(time.Second)
	if _, err := e.Issue(nil, token.Reveal(), request); err != nil {
		t.Error(err)
	}
}

func TestTheServersCertificateRenewsItself(t *testing.T) {
	c := &clock{}
	a := newAuthority(t, Config{Now: c.now})
	s, err := a.ServerCertificate("leno.example", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	first, _ := s.Certificate()
	if same, _ := s.Certificate(); same != first {
		t.Error("each call makes a certificate")
	}
	if first.Leaf.DNSNames[0] != "leno.example" || len(first.Leaf.IPAddresses) != 1 || first.Leaf.URIs[0].String() != a.ServerID().String() {
		t.Errorf("%v %v %v", first.Leaf.DNSNames, first.Leaf.IPAddresses, first.Leaf.URIs)
	}
	if last := first.Certificate[len(first.Certificate)-1]; !bytes.Equal(last, a.root.cert.Raw) {
		t.Error("the chain does not end in the root")
	}
	c.advance(20 * time.Hour)
	if fresh, err := s.Certificate(); err != nil || fresh == first {
		t.Errorf("not renewed, %v", err)
	}
}

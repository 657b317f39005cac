// Package ca is the mesh's certificate authority: a root, an issuer below it
// that is replaced at half its life, the X.509-SVIDs and server certificates
// that it signs, and the rules by which a caller proves who it is (Enrolment).
// It knows no transport and no store.
package ca

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/durable"
	"github.com/leno-mesh/leno/lib/jointoken"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// Config says where the authority lives.
type Config struct {
	// Directory holds root.pem, issuer.pem (each a certificate and its key) and
	// issued.jsonl. It is made if it is missing, for its owner alone.
	Directory string
	// TrustDomain is the mesh's. Empty means that of the root, and for a new
	// root a random one below leno.internal. It cannot be changed afterwards.
	TrustDomain string
	// RootCertFile and RootKeyFile are PEM files of a root made elsewhere; both
	// or none. The directory then holds no root.
	RootCertFile, RootKeyFile string
	// AlsoTrustFile holds further roots in PEM that proxies are to trust, for
	// the time in which one root replaces another.
	AlsoTrustFile string
	// Now is the wall clock, nil for time.Now.
	Now func() time.Time
}

const (
	rootFile   = "root.pem"
	issuerFile = "issuer.pem"
	logFile    = "issued.jsonl"

	rootLife   = 10 * 365 * 24 * time.Hour
	issuerLife = 365 * 24 * time.Hour
	// backdate forgives clocks that are behind.
	backdate = time.Minute
)

// signer is a CA certificate with its key.
type signer struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// Authority signs certificates. It is safe for concurrent use.
type Authority struct {
	domain string
	dir    string
	root   signer
	roots  []*x509.Certificate // the bundle, the own root first
	pool   *x509.CertPool
	server spiffe.ID
	now    func() time.Time

	mu     sync.Mutex // guards issuer and the log
	issuer signer
	log    *issueLog
}

// Open loads the authority, or makes a new one in a directory without any. A
// file that is damaged or does not fit the others is an error that names it;
// nothing is ever replaced because it cannot be read.
func Open(config Config) (*Authority, error) {
	a, err := open(config)
	if err != nil {
		return nil, fmt.Errorf("open certificate authority: %w", err)
	}
	return a, nil
}

func open(config Config) (*Authority, error) {
	a := &Authority{dir: config.Directory, now: config.Now}
	if a.now == nil {
		a.now = time.Now
	}
	if config.TrustDomain != "" {
		if err := spiffe.CheckTrustDomain(config.TrustDomain); err != nil {
			return nil, err
		}
	}
	if err := durable.Directory(a.dir); err != nil {
		return nil, err
	}
	if err := a.openRoot(config); err != nil {
		return nil, err
	}
	var err error
	if a.server, err = spiffe.Workload(a.domain, jointoken.ServerNamespace, jointoken.ServerAccount); err != nil {
		return nil, err
	}
	if err := a.openBundle(config.AlsoTrustFile); err != nil {
		return nil, err
	}
	if err := a.openIssuer(); err != nil {
		return nil, err
	}
	if a.log, err = openLog(filepath.Join(a.dir, logFile)); err != nil {
		return nil, err
	}
	return a, nil
}

// Close closes the log. Nothing can be issued afterwards.
func (a *Authority) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.log.close()
}

func (a *Authority) openRoot(config Config) error {
	path := filepath.Join(a.dir, rootFile)
	given := config.RootCertFile != "" || config.RootKeyFile != ""
	var err error
	switch {
	case given && (config.RootCertFile == "" || config.RootKeyFile == ""):
		return errors.New("a root from files takes both its certificate and its key")
	case given:
		if _, err := os.Stat(path); err == nil {
			return fmt.Errorf("a root is given by files but %s exists too: decide for one of them", path)
		}
		path = config.RootCertFile
		a.root, err = readSignerFiles(config.RootCertFile, config.RootKeyFile)
	default:
		a.root, err = readSigner(path)
		if durable.IsMissing(err) {
			return a.createRoot(path, config.TrustDomain)
		}
	}
	if err != nil {
		return err
	}
	if err := checkSigner(a.root.cert, a.now()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if a.root.cert.MaxPathLen == 0 && a.root.cert.MaxPathLenZero {
		return fmt.Errorf("%s: the root allows no issuer below it (path length 0)", path)
	}
	a.domain, err = trustDomainOf(a.root.cert)
	switch {
	case err != nil && given && len(a.root.cert.URIs) == 0:
		// A root of an organisation need not name a trust domain.
		if config.TrustDomain == "" {
			return fmt.Errorf("%s: the root names no trust domain: give one", path)
		}
		a.domain = config.TrustDomain
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case config.TrustDomain != "" && config.TrustDomain != a.domain:
		return fmt.Errorf("%s: the root is of the trust domain %s, not of %s; a mesh cannot change its trust domain", path, a.domain, config.TrustDomain)
	}
	return nil
}

func (a *Authority) createRoot(path, domain string) error {
	// An issuer without its root is a loss, not a beginning.
	if _, err := os.Stat(filepath.Join(a.dir, issuerFile)); err == nil {
		return fmt.Errorf("%s is missing although %s exists: restore it from a backup, or remove both to begin a new mesh", path, issuerFile)
	}
	if domain == "" {
		var b [5]byte
		rand.Read(b[:]) // never fails
		domain = strings.ToLower(base32.StdEncoding.EncodeToString(b[:])) + ".leno.internal"
	}
	root, err := makeSigner(signer{}, domain, "Leno root", rootLife, 1, a.now())
	if err != nil {
		return fmt.Errorf("make root: %w", err)
	}
	if err := writeSigner(path, root); err != nil {
		return err
	}
	a.root, a.domain = root, domain
	return nil
}

func (a *Authority) openBundle(path string) error {
	a.roots = []*x509.Certificate{a.root.cert}
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read further roots: %w", err)
		}
		more, err := parseCertificates(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, c := range more {
			if !c.IsCA {
				return fmt.Errorf("%s: %q is not a CA", path, c.Subject)
			}
			if !c.Equal(a.root.cert) {
				a.roots = append(a.roots, c)
			}
		}
	}
	a.pool = x509.NewCertPool()
	for _, c := range a.roots {
		a.pool.AddCert(c)
	}
	return nil
}

func (a *Authority) openIssuer() error {
	path := filepath.Join(a.dir, issuerFile)
	issuer, err := readSigner(path)
	if durable.IsMissing(err) {
		return a.rotateLocked()
	}
	if err != nil {
		return err
	}
	if err := issuer.cert.CheckSignatureFrom(a.root.cert); err != nil {
		return fmt.Errorf("%s: the issuer was not signed by the root: %w; remove the file to have a new issuer made", path, err)
	}
	domain, err := trustDomainOf(issuer.cert)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if domain != a.domain {
		return fmt.Errorf("%s: the issuer is of the trust domain %s, not of %s", path, domain, a.domain)
	}
	a.issuer = issuer
	return a.freshenLocked()
}

// freshenLocked replaces the issuer at half its life. Certificates of the old
// one stay valid: they carry it in their chain.
func (a *Authority) freshenLocked() error {
	c := a.issuer.cert
	if a.now().Before(c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 2)) {
		return nil
	}
	err := a.rotateLocked()
	if err != nil && a.now().Before(c.NotAfter) {
		return nil // the old one still serves, the next call tries again
	}
	return err
}

func (a *Authority) rotateLocked() error {
	if err := checkSigner(a.root.cert, a.now()); err != nil {
		return fmt.Errorf("make issuer: the root: %w", err)
	}
	issuer, err := makeSigner(a.root, a.domain, "Leno issuer", issuerLife, 0, a.now())
	if err != nil {
		return fmt.Errorf("make issuer: %w", err)
	}
	if err := writeSigner(filepath.Join(a.dir, issuerFile), issuer); err != nil {
		return err
	}
	a.issuer = issuer
	return nil
}

// RotateIssuer replaces the issuer now.
func (a *Authority) RotateIssuer() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rotateLocked()
}

// TrustDomain returns the mesh's trust domain.
func (a *Authority) TrustDomain() string { return a.domain }

// ServerID returns the identity of the mesh's servers.
func (a *Authority) ServerID() spiffe.ID { return a.server }

// Roots returns the trust bundle, the signing root first; it must not be changed.
func (a *Authority) Roots() []*x509.Certificate { return a.roots }

// RootHash returns the SHA-256 of the signing root, as join tokens carry it.
func (a *Authority) RootHash() [sha256.Size]byte { return sha256.Sum256(a.root.cert.Raw) }

// IssuerExpiry returns when the current issuer's certificate ends. It is
// replaced long before.
func (a *Authority) IssuerExpiry() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.issuer.cert.NotAfter
}

// VerifyPeer returns the identity that the certificates of a TLS connection
// (leaf first) prove: a workload of this trust domain, valid now.
func (a *Authority) VerifyPeer(chain []*x509.Certificate) (spiffe.ID, error) {
	if len(chain) == 0 {
		return spiffe.ID{}, errors.New("verify peer: it sent no certificate")
	}
	id, err := spiffe.FromCertificate(chain[0])
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("verify peer: %w", err)
	}
	if id.TrustDomain() != a.domain {
		return spiffe.ID{}, fmt.Errorf("verify peer: %s is not of the trust domain %s", id, a.domain)
	}
	if chain[0].KeyUsage&x509.KeyUsageDigitalSignature == 0 || len(chain[0].ExtKeyUsage) == 0 {
		return spiffe.ID{}, fmt.Errorf("verify peer: the certificate of %s lacks its key usages", id)
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:min(len(chain), 8)] {
		between.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: a.pool, Intermediates: between, CurrentTime: a.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return spiffe.ID{}, fmt.Errorf("verify peer %s: %w", id, err)
	}
	return id, nil
}

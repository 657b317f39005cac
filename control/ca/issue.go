package ca

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"time"

	"github.com/leno-mesh/leno/lib/spiffe"
)

// Bounds of what is signed.
const (
	DefaultLifetime = 24 * time.Hour
	MaxLifetime     = 30 * 24 * time.Hour
	MaxCSR          = 8 << 10 // bytes
)

// Request asks for an SVID.
type Request struct {
	// ID is who the caller has proved to be.
	ID spiffe.ID
	// CSR is a PKCS#10 request in DER. Only its key counts.
	CSR []byte
	// Lifetime is wanted; 0 is DefaultLifetime. The issuer's end bounds it.
	Lifetime time.Duration
	// Attested says for the log how ID was proved.
	Attested string
}

// Issued is a signed certificate.
type Issued struct {
	ID spiffe.ID
	// Chain is in DER, leaf first, then the issuer.
	Chain [][]byte
	// Roots is the trust bundle in DER.
	Roots [][]byte
	// RenewAt is when to ask again, about two thirds into the life.
	RenewAt  time.Time
	NotAfter time.Time
	// Serial is the leaf's serial number in hexadecimal.
	Serial string
}

// Issue signs the CSR's key for the ID. A certificate that cannot be logged is
// not handed out.
func (a *Authority) Issue(r Request) (Issued, error) {
	public, err := checkCSR(r.CSR)
	if err != nil {
		return Issued{}, fmt.Errorf("issue certificate: %w", err)
	}
	if _, _, ok := r.ID.Workload(); !ok || r.ID.TrustDomain() != a.domain {
		return Issued{}, fmt.Errorf("issue certificate: %q is no workload of the trust domain %s", r.ID, a.domain)
	}
	if r.ID == a.server {
		return Issued{}, errors.New("issue certificate: the server's identity is not issued on request")
	}
	if r.Lifetime == 0 {
		r.Lifetime = DefaultLifetime
	}
	if r.Lifetime < time.Second || r.Lifetime > MaxLifetime {
		return Issued{}, fmt.Errorf("issue certificate: a lifetime of %v is not between 1 s and %v", r.Lifetime, MaxLifetime)
	}
	issued, err := a.sign(&x509.Certificate{}, r.ID, public, r.Lifetime, r.Attested)
	if err != nil {
		return Issued{}, fmt.Errorf("issue certificate: %w", err)
	}
	return issued, nil
}

// sign fills in the template, which may have further names, signs and logs it.
func (a *Authority) sign(template *x509.Certificate, id spiffe.ID, public any, life time.Duration, attested string) (Issued, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.freshenLocked(); err != nil {
		return Issued{}, err
	}
	now := a.now()
	template.SerialNumber = newSerial()
	template.URIs = []*url.URL{{Scheme: "spiffe", Host: id.TrustDomain(), Path: id.Path()}}
	template.NotBefore, template.NotAfter = now.Add(-backdate), now.Add(life).Truncate(time.Second)
	if template.NotAfter.After(a.issuer.cert.NotAfter) {
		template.NotAfter = a.issuer.cert.NotAfter
	}
	if !template.NotAfter.After(now) {
		return Issued{}, errors.New("the issuer has expired")
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.issuer.cert, public, a.issuer.key)
	if err != nil {
		return Issued{}, err
	}
	issued := Issued{
		ID: id, Chain: [][]byte{der, a.issuer.cert.Raw},
		RenewAt: renewAt(template.SerialNumber, now, template.NotAfter), NotAfter: template.NotAfter,
		Serial: template.SerialNumber.Text(16),
	}
	for _, c := range a.roots {
		issued.Roots = append(issued.Roots, c.Raw)
	}
	err = a.log.append(entry{
		Time: now.UTC(), Serial: issued.Serial, ID: id.String(), NotAfter: issued.NotAfter.UTC(), Attested: attested,
	})
	if err != nil {
		return Issued{}, err
	}
	return issued, nil
}

// renewAt is between 0.60 and 0.73 of the life. The serial number, which is
// random, spreads certificates that were issued together.
func renewAt(serial *big.Int, from, to time.Time) time.Time {
	b := serial.FillBytes(make([]byte, 20))
	jitter := float64(binary.BigEndian.Uint32(b[16:])) / (1 << 32)
	return from.Add(time.Duration(float64(to.Sub(from)) * (0.60 + 0.13*jitter)))
}

// checkCSR returns the key of a CSR whose signature proves its possession.
func checkCSR(der []byte) (any, error) {
	if len(der) == 0 {
		return nil, errors.New("the certificate request is empty")
	}
	if len(der) > MaxCSR {
		return nil, fmt.Errorf("the certificate request has %d bytes, at most %d are allowed", len(der), MaxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, errors.New("the certificate request cannot be parsed")
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return nil, errors.New("the certificate request's key is on a curve other than P-256 and P-384")
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 || n > 8192 {
			return nil, fmt.Errorf("the certificate request's RSA key has %d bits, 2048 to 8192 are allowed", n)
		}
	default:
		return nil, errors.New("the certificate request's key is neither ECDSA, Ed25519 nor RSA")
	}
	switch csr.SignatureAlgorithm {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
		x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
		x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
	default:
		return nil, fmt.Errorf("the certificate request is signed by %v, which is not accepted", csr.SignatureAlgorithm)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, errors.New("the certificate request's signature is wrong")
	}
	return csr.PublicKey, nil
}

// serverNames sorts names into DNS names and addresses.
func serverNames(names []string) (dns []string, ips []net.IP) {
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, n)
		}
	}
	return dns, ips
}

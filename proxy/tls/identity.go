// Package tls performs the handshakes of connections: mutual TLS 1.3 between
// SPIFFE identities in the mesh, ordinary TLS from files or inline PEM where a
// static configuration asks for it. What it cannot verify it refuses.
//
// A configuration is compiled once for each version of an identity and reached
// without a lock. Session tickets and the cache of sessions belong to that
// compiled version, so that no session outlives the certificate or the trust
// that it was made under; and a resumed session is verified like a new one.
package tls

import (
	"crypto"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/leno-mesh/leno/lib/spiffe"
)

// Identity is a workload's X.509-SVID with the trust bundles that it verifies
// peers by. It is immutable and travels in a cell.Cell.
type Identity struct {
	id          spiffe.ID
	certificate stdtls.Certificate
	bundles     map[string][]*x509.Certificate
	pools       map[string]*x509.CertPool
	version     string
}

// NewIdentity checks that the chain (DER, leaf first, without the root) is an
// SVID of key that a root of its own trust domain vouches for. Whether it is
// valid now is not looked at: Validity tells.
func NewIdentity(chain [][]byte, key crypto.Signer, bundles map[string][]*x509.Certificate) (*Identity, error) {
	if len(chain) == 0 {
		return nil, errors.New("make identity: the certificate chain is empty")
	}
	certs := make([]*x509.Certificate, len(chain))
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("make identity: parse certificate %d of the chain: %w", i+1, err)
		}
		certs[i] = c
	}
	leaf := certs[0]
	public, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(key.Public()) {
		return nil, errors.New("make identity: the private key does not belong to the certificate")
	}
	n := &Identity{
		certificate: stdtls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf},
		bundles:     maps.Clone(bundles),
		pools:       make(map[string]*x509.CertPool, len(bundles)),
	}
	hash := sha256.New()
	for _, der := range chain {
		hash.Write(der)
	}
	for _, domain := range slices.Sorted(maps.Keys(bundles)) {
		hash.Write([]byte(domain))
		pool := x509.NewCertPool()
		for _, root := range bundles[domain] {
			hash.Write(root.Raw)
			pool.AddCert(root)
		}
		n.pools[domain] = pool
	}
	n.version = hex.EncodeToString(hash.Sum(nil)[:8])

	// At its last moment the chain has to be whole; before its first second a
	// clock that is behind would refuse what is about to become valid.
	id, err := n.verify(certs, x509.ExtKeyUsageClientAuth, leaf.NotAfter)
	if err == nil {
		_, err = n.verify(certs, x509.ExtKeyUsageServerAuth, leaf.NotAfter)
	}
	if err != nil {
		return nil, fmt.Errorf("make identity: %w", err)
	}
	n.id = id
	return n, nil
}

// ID returns whom the identity names.
func (n *Identity) ID() spiffe.ID { return n.id }

// Certificate returns the chain with its key; it must not be changed.
func (n *Identity) Certificate() stdtls.Certificate { return n.certificate }

// Validity returns when the certificate begins and ceases to be valid.
func (n *Identity) Validity() (notBefore, notAfter time.Time) {
	return n.certificate.Leaf.NotBefore, n.certificate.Leaf.NotAfter
}

// Bundle returns the roots of a trust domain; they must not be changed.
func (n *Identity) Bundle(trustDomain string) []*x509.Certificate { return n.bundles[trustDomain] }

// TrustDomains returns the names of the bundles, sorted.
func (n *Identity) TrustDomains() []string { return slices.Sorted(maps.Keys(n.bundles)) }

// Version is a short hash of the chain and the bundles, for people and logs.
func (n *Identity) Version() string { return n.version }

// VerifyPeer returns the ID of a peer's chain (leaf first) if the bundle of its
// trust domain vouches for it at the given time in the given role.
func (n *Identity) VerifyPeer(chain []*x509.Certificate, role x509.ExtKeyUsage, at time.Time) (spiffe.ID, error) {
	return n.verify(chain, role, at)
}

func (n *Identity) verify(chain []*x509.Certificate, role x509.ExtKeyUsage, at time.Time) (spiffe.ID, error) {
	if len(chain) == 0 {
		return spiffe.ID{}, refusal("the peer sent no certificate")
	}
	id, err := spiffe.FromCertificate(chain[0])
	if err != nil {
		return spiffe.ID{}, refusal("the peer's certificate is no SPIFFE identity: " + err.Error())
	}
	leaf := chain[0]
	if leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0 {
		return spiffe.ID{}, refusal("the peer's certificate may not sign handshakes: key usage digitalSignature is missing")
	}
	if len(leaf.ExtKeyUsage) == 0 {
		// RFC 5280 reads an absent one as any; an SVID has to say it.
		return spiffe.ID{}, refusal("the peer's certificate names no extended key usage")
	}
	pool, ok := n.pools[id.TrustDomain()]
	if !ok {
		return spiffe.ID{}, refusal(fmt.Sprintf("there is no trust bundle for the peer %s", id))
	}
	if err := verifyChain(chain, pool, role, at); err != nil {
		return spiffe.ID{}, err
	}
	return id, nil
}

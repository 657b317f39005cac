package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/http"
)

// refusal is a handshake that this side refuses, as one sentence.
type refusal string

func (r refusal) Error() string { return string(r) }

// maxChain bounds the certificates of a peer, its leaf included.
const maxChain = 8

// verifyChain checks that a root of the pool vouches for the leaf in its role.
func verifyChain(chain []*x509.Certificate, roots *x509.CertPool, role x509.ExtKeyUsage, at time.Time) error {
	leaf := chain[0]
	if len(chain) > maxChain {
		return refusal(fmt.Sprintf("the peer sent %d certificates, at most %d are allowed", len(chain), maxChain))
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{role},
	})
	if err != nil {
		return refusal(chainReason(leaf, role, at, err))
	}
	return nil
}

func chainReason(leaf *x509.Certificate, role x509.ExtKeyUsage, at time.Time, err error) string {
	var invalid x509.CertificateInvalidError
	switch {
	case at.After(leaf.NotAfter):
		return "the peer's certificate expired at " + leaf.NotAfter.UTC().Format(time.RFC3339)
	case at.Before(leaf.NotBefore):
		return "the peer's certificate is not valid before " + leaf.NotBefore.UTC().Format(time.RFC3339) + "; compare the clocks"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		if role == x509.ExtKeyUsageClientAuth {
			return "the peer's certificate may not be used by a client"
		}
		return "the peer's certificate may not be used by a server"
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return "no trusted root vouches for the peer's certificate"
	}
	return "the peer's certificate is not valid: " + err.Error()
}

// checker is what a compiled configuration demands of the peer.
type checker struct {
	identity *Identity // mesh; nil in static mode
	expected []spiffe.ID

	roots   *x509.CertPool // static mode
	allowed []Matcher      // empty: any name that the roots vouch for

	role     x509.ExtKeyUsage
	optional bool // a peer may send no certificate
	now      func() time.Time
}

// check is run on every handshake, resumed ones included.
func (k *checker) check(chain []*x509.Certificate) error {
	if len(chain) == 0 {
		if k.optional {
			return nil
		}
		return refusal("the peer sent no certificate")
	}
	if k.identity == nil {
		if err := verifyChain(chain, k.roots, k.role, k.now()); err != nil {
			return err
		}
		if len(k.allowed) > 0 && !matchAny(k.allowed, chain[0]) {
			return refusal("no name in the peer's certificate is allowed")
		}
		return nil
	}
	id, err := k.identity.verify(chain, k.role, k.now())
	if err != nil {
		return err
	}
	if k.expected == nil {
		return nil
	}
	for _, e := range k.expected {
		if e == id {
			return nil
		}
	}
	return refusal(fmt.Sprintf("the peer is %s, which is not expected here", id))
}

// peerID returns the identity of a chain that check accepted. In static mode a
// certificate without one names nobody.
func peerID(state *stdtls.ConnectionState) spiffe.ID {
	if len(state.PeerCertificates) == 0 {
		return spiffe.ID{}
	}
	id, err := spiffe.FromCertificate(state.PeerCertificates[0])
	if err != nil {
		return spiffe.ID{}
	}
	return id
}

// fault gives a failed handshake its kind and its sentence.
func fault(side http.Side, err error) *http.Error {
	f := &http.Error{Side: side, Kind: http.KindTLS, Unsent: side == http.Upstream, Reason: "the TLS handshake failed", Err: err}
	var no refusal
	var alert stdtls.AlertError
	switch {
	case errors.As(err, &no):
		f.Reason, f.Err = string(no), nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.Kind, f.Reason = http.KindTimeout, "the TLS handshake did not end in time"
	case errors.As(err, new(stdtls.RecordHeaderError)):
		f.Reason = "the peer does not speak TLS"
	case errors.As(err, &alert):
		f.Reason = "the peer refused the TLS handshake"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		f.Reason = "the peer closed the connection during the TLS handshake"
	}
	return f
}

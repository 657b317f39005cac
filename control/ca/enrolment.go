package ca

import (
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/jointoken"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// Code is what a Refusal means to a transport.
type Code uint8

// The codes.
const (
	Malformed  Code = iota + 1 // the request can never succeed
	Unproven                   // the caller did not prove who it is
	Overloaded                 // the caller may try again later
)

// Refusal is a request that is answered by no, for a reason that the caller may
// know. Every other error is the server's own.
type Refusal struct {
	Code   Code
	Reason string // one sentence, without secrets
}

func (r *Refusal) Error() string { return r.Reason }

// EnrolmentConfig says by which rules certificates are given out.
type EnrolmentConfig struct {
	Authority *Authority
	Tokens    TokenStore
	// Lifetime of SVIDs, 0 for DefaultLifetime.
	Lifetime time.Duration
	// PerSecond and Burst bound joins and, apart from them, renewals, so that
	// neither starves the other; 0 is 200 and 1000. Only callers that proved
	// who they are count.
	PerSecond, Burst int
}

// Enrolment decides who gets which certificate. It is safe for concurrent use.
type Enrolment struct {
	authority *Authority
	tokens    TokenStore
	lifetime  time.Duration
	joins     bucket
	renewals  bucket
}

// NewEnrolment returns the service's logic.
func NewEnrolment(config EnrolmentConfig) *Enrolment {
	if config.PerSecond == 0 {
		config.PerSecond = 200
	}
	if config.Burst == 0 {
		config.Burst = 1000
	}
	rate, size := float64(config.PerSecond), float64(config.Burst)
	return &Enrolment{
		authority: config.Authority, tokens: config.Tokens, lifetime: config.Lifetime,
		joins:    bucket{rate: rate, size: size, tokens: size},
		renewals: bucket{rate: rate, size: size, tokens: size},
	}
}

// Issue answers a request for a certificate. The identity is the join token's
// or, if token is empty, that of the peer's certificates (leaf first), which
// have to be those of the caller's TLS connection.
func (e *Enrolment) Issue(peer []*x509.Certificate, token string, csr []byte) (Issued, error) {
	if token != "" {
		return e.join(token, csr)
	}
	return e.renew(peer, csr)
}

func (e *Enrolment) join(text string, csr []byte) (Issued, error) {
	token, err := jointoken.Parse(text)
	if err != nil {
		return Issued{}, &Refusal{Malformed, err.Error()}
	}
	if _, err := e.examine(token); err != nil {
		return Issued{}, err
	}
	if err := e.admit(&e.joins, csr); err != nil {
		return Issued{}, err
	}
	// Nothing that the caller could get wrong comes after the use is taken.
	record, err := e.consume(token)
	if err != nil {
		return Issued{}, err
	}
	id, err := spiffe.Workload(e.authority.domain, record.Namespace, record.Account)
	if err != nil {
		return Issued{}, fmt.Errorf("read join token %s: %w", record.ID, err)
	}
	return e.authority.Issue(Request{ID: id, CSR: csr, Lifetime: e.lifetime, Attested: "join token " + record.ID})
}

func (e *Enrolment) renew(peer []*x509.Certificate, csr []byte) (Issued, error) {
	if len(peer) == 0 {
		return Issued{}, &Refusal{Unproven, "the caller shows neither a join token nor a certificate to renew"}
	}
	id, err := e.authority.VerifyPeer(peer)
	if err != nil {
		return Issued{}, &Refusal{Unproven, "the certificate cannot be renewed: " + err.Error()}
	}
	if _, _, ok := id.Workload(); !ok || id == e.authority.server {
		return Issued{}, &Refusal{Unproven, fmt.Sprintf("certificates of %s are not renewed here", id)}
	}
	if err := e.admit(&e.renewals, csr); err != nil {
		return Issued{}, err
	}
	return e.authority.Issue(Request{
		ID: id, CSR: csr, Lifetime: e.lifetime, Attested: "renewal of " + peer[0].SerialNumber.Text(16),
	})
}

// admit checks what a caller who proved who it is asks for.
func (e *Enrolment) admit(b *bucket, csr []byte) error {
	if !b.take(e.authority.now()) {
		return &Refusal{Overloaded, "the server issues as many certificates as it may: try again later"}
	}
	if _, err := checkCSR(csr); err != nil {
		return &Refusal{Malformed, err.Error()}
	}
	return nil
}

// bucket is a token bucket.
type bucket struct {
	rate, size float64 // a second; never change

	mu     sync.Mutex
	tokens float64
	last   time.Time
}

func (b *bucket) take(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.last); !b.last.IsZero() && passed > 0 {
		b.tokens = min(b.size, b.tokens+passed.Seconds()*b.rate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

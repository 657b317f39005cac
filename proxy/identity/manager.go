// Package identity gives a proxy its X.509-SVID and keeps it fresh: it makes
// the keys, asks an Issuer for certificates, publishes them, renews them in
// time and keeps the newest on disk, so that a restarted proxy works without a
// server.
package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/backoff"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/durable"
	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/tls"
)

// Issuer is the server as the manager sees it. With a token it is reached by
// ServerVerifier(token), without by ServerByIdentity.
type Issuer interface {
	Issue(ctx context.Context, token string, csr []byte) (Issued, error)
}

// Issued is what an Issuer answers.
type Issued struct {
	Chain   [][]byte // DER, leaf first, without the root
	Roots   [][]byte // the trust bundle in DER
	RenewAt time.Time
}

// Config says where a proxy's identity comes from.
type Config struct {
	// Directory keeps the identity; it is made for its owner alone.
	Directory string
	// Token is the join token, empty where an identity is on disk. A valid
	// identity on disk is preferred, so that a restart spends no token.
	Token string
	// Issuer signs.
	Issuer Issuer
	// Cell receives each new identity.
	Cell *cell.Cell[tls.Identity]
	// Retry spaces attempts that failed; its zero value is 1 s to 30 s.
	Retry backoff.Policy
	// Timeout bounds one attempt, 0 is 15 s.
	Timeout time.Duration
	// Log may be nil.
	Log log.Logger
	// Now is the wall clock and Random of [0, 1); nil are the usual ones.
	Now    func() time.Time
	Random func() float64
}

// Status is what a manager knows of itself.
type Status struct {
	ID       string    // empty while there is no identity
	NotAfter time.Time // of the current certificate
	RenewAt  time.Time // when it is replaced
	Failures int       // since the last success
	Problem  string    // what went wrong last, empty after a success
}

// Manager holds one proxy's identity.
type Manager struct {
	config  Config
	ready   chan struct{} // closed when the first identity is published
	renewAt time.Time     // of the goroutine in Run

	mu     sync.Mutex // guards status
	status Status
}

// New loads the identity on disk and publishes it if it is valid. A damaged
// file is an error, and so is an identity that has expired, or none at all,
// where there is no token to get another by.
func New(config Config) (*Manager, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Random == nil {
		config.Random = rand.Float64
	}
	if config.Log == nil {
		config.Log = log.Discard()
	}
	if config.Timeout == 0 {
		config.Timeout = 15 * time.Second
	}
	m := &Manager{config: config, ready: make(chan struct{})}
	if err := m.restore(); err != nil {
		return nil, fmt.Errorf("load identity: %w", err)
	}
	return m, nil
}

func (m *Manager) restore() error {
	if err := durable.Directory(m.config.Directory); err != nil {
		return err
	}
	s, err := load(m.config.Directory)
	if err != nil {
		return err
	}
	if s == nil {
		if m.config.Token == "" {
			return fmt.Errorf("there is none in %s and no join token to get one by: create one with leno token create", m.config.Directory)
		}
		return nil
	}
	n, err := s.identity()
	if err != nil {
		return fmt.Errorf("the one in %s is damaged: %w; remove it and give a join token to enrol again", m.config.Directory, err)
	}
	notBefore, notAfter := n.Validity()
	if now := m.config.Now(); now.After(notAfter) {
		problem := fmt.Sprintf("the certificate of %s in %s expired at %s", n.ID(), m.config.Directory, notAfter.UTC().Format(time.RFC3339))
		if m.config.Token == "" {
			return errors.New(problem + ": give a join token to enrol again")
		}
		m.config.Log.Warn(problem + "; enrolling again by the join token")
		return nil
	} else if now.Before(notBefore) {
		return fmt.Errorf("the certificate of %s is not valid before %s: compare this machine's clock", n.ID(), notBefore.UTC().Format(time.RFC3339))
	}
	m.publish(n, s.renewAt)
	return nil
}

// identity checks that the parts belong together.
func (s *state) identity() (*tls.Identity, error) {
	roots := make([]*x509.Certificate, len(s.roots))
	for i, der := range s.roots {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parse root %d: %w", i+1, err)
		}
		if !c.IsCA {
			return nil, fmt.Errorf("root %d is not a CA", i+1)
		}
		roots[i] = c
	}
	if len(s.chain) == 0 {
		return nil, errors.New("there is no certificate")
	}
	leaf, err := x509.ParseCertificate(s.chain[0])
	if err != nil {
		return nil, fmt.Errorf("parse certificate: %w", err)
	}
	if len(leaf.URIs) != 1 {
		return nil, fmt.Errorf("the certificate has %d URI names, exactly one is required", len(leaf.URIs))
	}
	return tls.NewIdentity(s.chain, s.key, map[string][]*x509.Certificate{leaf.URIs[0].Host: roots})
}

// Ready is closed when the cell holds an identity.
func (m *Manager) Ready() <-chan struct{} { return m.ready }

// Status returns what is known now.
func (m *Manager) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

// longestSleep is how long Run sleeps at the most: timers stand still while a
// machine is suspended, certificates do not.
const longestSleep = 10 * time.Minute

// Run enrols, where there is no identity yet, and renews until ctx ends, which
// is its only end.
func (m *Manager) Run(ctx context.Context) error {
	for failures := 0; ; {
		wait := m.renewAt.Sub(m.config.Now())
		if wait <= 0 {
			err := m.attempt(ctx)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err == nil:
				failures = 0
				continue
			}
			m.fail(err)
			wait = m.config.Retry.Next(failures, m.config.Random())
			failures++
		}
		if err := sleep(ctx, min(wait, longestSleep)); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// attempt gets one certificate for a new key and publishes it.
func (m *Manager) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, m.config.Timeout)
	defer cancel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(cryptorand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	token, err := m.credential()
	if err != nil {
		return err
	}
	issued, err := m.config.Issuer.Issue(ctx, token, csr)
	if err != nil {
		return err
	}
	return m.accept(key, issued)
}

// credential returns the token, or "" to renew by the current certificate.
func (m *Manager) credential() (string, error) {
	current := m.config.Cell.Load()
	if current == nil {
		return m.config.Token, nil
	}
	_, notAfter := current.Validity()
	if m.config.Now().Before(notAfter) {
		return "", nil
	}
	if m.config.Token == "" {
		return "", fmt.Errorf("the certificate of %s expired at %s before it was renewed: give a join token to enrol again", current.ID(), notAfter.UTC().Format(time.RFC3339))
	}
	return m.config.Token, nil
}

func (m *Manager) accept(key crypto.Signer, issued Issued) error {
	s := &state{key: key, chain: issued.Chain, roots: issued.Roots}
	n, err := s.identity()
	if err != nil {
		return fmt.Errorf("check the issued certificate: %w", err)
	}
	if old := m.config.Cell.Load(); old != nil && old.ID() != n.ID() {
		return fmt.Errorf("the server issued a certificate for %s instead of %s; it was not taken", n.ID(), old.ID())
	}
	notBefore, notAfter := n.Validity()
	now := m.config.Now()
	if now.Before(notBefore) || !now.Before(notAfter) {
		return fmt.Errorf("the issued certificate is valid from %s to %s, which is not now: compare the clocks", notBefore.UTC().Format(time.RFC3339), notAfter.UTC().Format(time.RFC3339))
	}
	s.renewAt = schedule(now, notAfter, issued.RenewAt, m.config.Random())
	// A disk that is full must not end the mesh for this proxy: the identity
	// serves from memory, and the disk is tried again with the next one.
	err = s.save(m.config.Directory)
	m.publish(n, s.renewAt)
	if err != nil {
		m.problem("the identity is in use but could not be saved: " + err.Error())
	}
	return nil
}

// schedule returns when to renew: at the server's time if it lies within the
// life, else after two thirds of it, and up to a tenth of the rest later.
func schedule(now, notAfter, renewAt time.Time, random float64) time.Time {
	if !renewAt.After(now) || !renewAt.Before(notAfter) {
		renewAt = now.Add(notAfter.Sub(now) * 2 / 3)
	}
	return renewAt.Add(time.Duration(random * float64(notAfter.Sub(renewAt)) / 10))
}

func (m *Manager) publish(n *tls.Identity, renewAt time.Time) {
	first := m.config.Cell.Load() == nil
	m.renewAt = renewAt
	_, notAfter := n.Validity()
	m.mu.Lock()
	m.status = Status{ID: n.ID().String(), NotAfter: notAfter, RenewAt: renewAt}
	m.mu.Unlock()
	m.config.Cell.Store(n)
	if first {
		close(m.ready)
	}
	m.config.Log.Info("identity is ready", "id", n.ID().String(), "version", n.Version(), "not_after", notAfter, "renew_at", renewAt)
}

func (m *Manager) fail(err error) {
	m.mu.Lock()
	m.status.Failures++
	m.mu.Unlock()
	m.problem("no certificate was obtained: " + err.Error())
}

func (m *Manager) problem(sentence string) {
	m.mu.Lock()
	m.status.Problem = sentence
	failures := m.status.Failures
	m.mu.Unlock()
	m.config.Log.Warn(sentence, "failures", failures)
}

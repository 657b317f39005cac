package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"time"
)

// ServerCertificate is the certificate of the control plane's own listener. It
// renews itself when it is asked for. It is safe for concurrent use.
type ServerCertificate struct {
	authority *Authority
	names     []string // DNS names and IP addresses

	mu      sync.Mutex // guards the rest
	current *tls.Certificate
	renewAt time.Time
}

// ServerCertificate makes a certificate for the server's identity that also
// carries DNS names and IP addresses.
func (a *Authority) ServerCertificate(names ...string) (*ServerCertificate, error) {
	s := &ServerCertificate{authority: a, names: names}
	if _, err := s.Certificate(); err != nil {
		return nil, err
	}
	return s, nil
}

// Certificate returns the current certificate. Its chain ends in the root, so
// that a client that knows nothing but the root's hash can verify it.
func (s *ServerCertificate) Certificate() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.authority.now()
	if s.current != nil && now.Before(s.renewAt) {
		return s.current, nil
	}
	fresh, at, err := s.issue()
	if err != nil {
		if s.current != nil && now.Before(s.current.Leaf.NotAfter) {
			return s.current, nil // the next call tries again
		}
		return nil, fmt.Errorf("make server certificate: %w", err)
	}
	s.current, s.renewAt = fresh, at
	return fresh, nil
}

func (s *ServerCertificate) issue() (*tls.Certificate, time.Time, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, time.Time{}, err
	}
	template := &x509.Certificate{}
	template.DNSNames, template.IPAddresses = serverNames(s.names)
	a := s.authority
	issued, err := a.sign(template, a.server, key.Public(), DefaultLifetime, "server")
	if err != nil {
		return nil, time.Time{}, err
	}
	leaf, err := x509.ParseCertificate(issued.Chain[0])
	if err != nil {
		return nil, time.Time{}, err
	}
	chain := append(issued.Chain, a.root.cert.Raw)
	return &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}, issued.RenewAt, nil
}

// TLS returns the configuration of the listener on 15012. A client may come
// without a certificate, to enrol; one that sends a certificate has to be of
// this mesh, and VerifyPeer then says who it is.
func (s *ServerCertificate) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		Time:       s.authority.now,
		ClientAuth: tls.RequestClientCert,
		ClientCAs:  s.authority.pool,
		// Agents connect once and stay; without tickets there is no session that
		// could outlive its trust.
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.Certificate()
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			_, err := s.authority.VerifyPeer(state.PeerCertificates)
			return err
		},
	}
}

package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/identity"
	proxytls "github.com/leno-mesh/leno/proxy/tls"
)

// wired is the enrolment behind a real TLS connection for each call.
type wired struct {
	enrolment *Enrolment
	server    *tls.Config
	own       *cell.Cell[proxytls.Identity]
}

func (w *wired) Issue(_ context.Context, token string, csr []byte) (identity.Issued, error) {
	config := identity.ServerByIdentity(w.own, nil)
	if token != "" {
		var err error
		if config, err = identity.ServerVerifier(token, nil); err != nil {
			return identity.Issued{}, err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return identity.Issued{}, err
	}
	defer l.Close()
	peer := make(chan []*x509.Certificate, 1)
	go func() {
		defer close(peer)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		t := tls.Server(c, w.server)
		if t.Handshake() == nil {
			peer <- t.ConnectionState().PeerCertificates
		}
	}()
	c, err := tls.Dial("tcp", l.Addr().String(), config)
	if err != nil {
		return identity.Issued{}, err
	}
	defer c.Close()
	issued, err := w.enrolment.Issue(<-peer, token, csr)
	return identity.Issued{Chain: issued.Chain, Roots: issued.Roots, RenewAt: issued.RenewAt}, err
}

func TestAProxyEnrolsAndRenewsOverTLS(t *testing.T) {
	a := newAuthority(t, Config{})
	s, err := a.ServerCertificate("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	// Certificates that live for 3 s are renewed after about 2.
	e := NewEnrolment(EnrolmentConfig{Authority: a, Tokens: &MemoryTokens{}, Lifetime: 3 * time.Second})
	token, _, err := e.CreateToken(TokenSpec{Namespace: "shop", Service: "web"})
	if err != nil {
		t.Fatal(err)
	}
	own := &cell.Cell[proxytls.Identity]{}
	m, err := identity.New(identity.Config{
		Directory: filepath.Join(t.TempDir(), "state"), Token: token.Reveal(), Cell: own,
		Issuer: &wired{enrolment: e, server: s.TLS(), own: own},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	<-m.Ready()
	first, changed := own.Next()
	if err := a.RotateIssuer(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-ctx.Done():
		t.Fatalf("not renewed: %+v", m.Status())
	}
	if second := own.Load(); second.ID() != first.ID() || second.Version() == first.Version() {
		t.Errorf("%s %s became %s %s", first.ID(), first.Version(), second.ID(), second.Version())
	}
	cancel()
	<-done
}

package identity

import (
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/jointoken"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/tls"
)

// ServerVerifier returns the TLS configuration for the first contact with a
// server: its chain has to end in the root whose SHA-256 the join token holds,
// and its leaf has to be the server of whatever trust domain that is. Nothing
// else is trusted, neither names nor the system's roots.
func ServerVerifier(token string, now func() time.Time) (*stdtls.Config, error) {
	t, err := jointoken.Parse(token)
	if err != nil {
		return nil, err
	}
	config := serverConfig(now)
	config.VerifyConnection = func(state stdtls.ConnectionState) error {
		if err := verifyPinned(state.PeerCertificates, t.Root(), config.Time()); err != nil {
			return &UntrustedError{err}
		}
		return nil
	}
	return config, nil
}

// UntrustedError says that a server is not the one that made the join token:
// contacting it again would not help.
type UntrustedError struct{ err error }

func (e *UntrustedError) Error() string { return e.err.Error() }

func (e *UntrustedError) Unwrap() error { return e.err }

// ServerByIdentity returns the TLS configuration for every later contact: both
// sides prove themselves by the newest identity in the cell and its bundle.
func ServerByIdentity(from *cell.Cell[tls.Identity], now func() time.Time) *stdtls.Config {
	config := serverConfig(now)
	config.GetClientCertificate = func(*stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) {
		own := from.Load()
		if own == nil {
			return nil, errors.New("this proxy has no identity yet")
		}
		c := own.Certificate()
		return &c, nil
	}
	config.VerifyConnection = func(state stdtls.ConnectionState) error {
		own := from.Load()
		if own == nil {
			return errors.New("this proxy has no identity yet")
		}
		id, err := own.VerifyPeer(state.PeerCertificates, x509.ExtKeyUsageServerAuth, config.Time())
		if err != nil {
			return err
		}
		return checkServer(id, own.ID().TrustDomain())
	}
	return config
}

func serverConfig(now func() time.Time) *stdtls.Config {
	if now == nil {
		now = time.Now
	}
	return &stdtls.Config{
		Time:       now,
		MinVersion: stdtls.VersionTLS13,
		NextProtos: []string{"h2"},
		RootCAs:    x509.NewCertPool(), // never nil, which would mean the system's
		// VerifyConnection verifies in place of crypto/tls, which would want a
		// host name and a root that is known beforehand.
		InsecureSkipVerify: true,
	}
}

func checkServer(id spiffe.ID, domain string) error {
	want, err := spiffe.Workload(domain, jointoken.ServerNamespace, jointoken.ServerAccount)
	if err != nil {
		return err
	}
	if id != want {
		return fmt.Errorf("the server proved to be %s instead of %s", id, want)
	}
	return nil
}

func verifyPinned(chain []*x509.Certificate, root [sha256.Size]byte, at time.Time) error {
	if len(chain) < 2 || len(chain) > 8 {
		return fmt.Errorf("the server sent %d certificates, 2 to 8 are expected", len(chain))
	}
	id, err := spiffe.FromCertificate(chain[0])
	if err != nil {
		return fmt.Errorf("the server's certificate is no SPIFFE identity: %w", err)
	}
	if len(chain[0].ExtKeyUsage) == 0 {
		return errors.New("the server's certificate names no extended key usage")
	}
	pinned, between := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, c := range chain[1:] {
		if sha256.Sum256(c.Raw) == root {
			pinned.AddCert(c)
			found = true
		} else {
			between.AddCert(c)
		}
	}
	if !found {
		return errors.New("the server is of another mesh than the join token: its chain does not end in the token's root")
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: pinned, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verify server: %w", err)
	}
	return checkServer(id, id.TrustDomain())
}

package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// ClientAuth says whether clients have to prove who they are.
type ClientAuth uint8

// The zero ClientAuth is the strictest. A certificate that an optional client
// does send has to be valid all the same.
const (
	RequireClient ClientAuth = iota
	OptionalClient
	NoClient
)

// ServerConfig says how connections are accepted. Either Identity is set, for
// the mesh, or Certificates.
type ServerConfig struct {
	// Identity makes it a server of the mesh: TLS 1.3, clients verified by the
	// bundle of their trust domain.
	Identity *cell.Cell[Identity]
	// AllowedIDs are the clients that a mesh server accepts; nil is everyone in
	// the bundles (policy decides then), empty is nobody.
	AllowedIDs []spiffe.ID

	// Certificates are those of a static server; SNI chooses among them.
	Certificates []stdtls.Certificate
	// TrustedCA vouches for the clients of a static server.
	TrustedCA *x509.CertPool
	// Allowed are names of which a static server's client has to have one; nil
	// is any name that TrustedCA vouches for.
	Allowed []Matcher

	Client ClientAuth
	// ALPN are the protocols offered, the preferred one first. A client that
	// offers none at all is accepted.
	ALPN []string
	// MinVersion and MaxVersion are of crypto/tls; 0 is TLS 1.3. Only a static
	// server may allow 1.2.
	MinVersion, MaxVersion uint16
	// Now is the wall clock, nil for time.Now.
	Now func() time.Time
}

// Server accepts TLS connections. It is safe for concurrent use.
type Server struct{ newest newest }

// NewServer checks and compiles a configuration.
func NewServer(config ServerConfig) (*Server, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("make TLS server: %w", err)
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Server{newest{identity: config.Identity, compile: config.compile}}
	if config.Identity == nil {
		s.newest.current.Store(config.compile(nil))
	}
	return s, nil
}

func (f *ServerConfig) check() error {
	mesh := f.Identity != nil
	static := len(f.Certificates) > 0
	switch {
	case mesh && (static || f.TrustedCA != nil || len(f.Allowed) > 0):
		return errors.New("a server of the mesh takes no certificates, trusted CA or names of its own")
	case !mesh && f.AllowedIDs != nil:
		return errors.New("only a server of the mesh allows clients by SPIFFE ID")
	case !mesh && !static:
		return errors.New("there is no certificate")
	case static && f.Client != NoClient && f.TrustedCA == nil:
		return errors.New("clients are to be verified but there is no trusted CA")
	case f.Client > NoClient:
		return errors.New("the client verification is unknown")
	case f.Client == NoClient && (f.TrustedCA != nil || len(f.Allowed) > 0 || f.AllowedIDs != nil):
		return errors.New("clients are restricted but not asked for a certificate")
	}
	return checkVersions(f.MinVersion, f.MaxVersion, mesh)
}

func (f *ServerConfig) compile(identity *Identity) *compiled {
	k := &checker{
		identity: identity, expected: f.AllowedIDs, roots: f.TrustedCA, allowed: f.Allowed,
		role: x509.ExtKeyUsageClientAuth, optional: f.Client != RequireClient, now: f.Now,
	}
	config := baseConfig(k, f.ALPN, f.MinVersion, f.MaxVersion)
	config.Certificates = slices.Clone(f.Certificates)
	if identity != nil {
		config.Certificates = []stdtls.Certificate{identity.certificate}
	}
	// crypto/tls only asks for the certificate; check verifies it, by the
	// bundle of its own trust domain.
	switch f.Client {
	case RequireClient:
		config.ClientAuth = stdtls.RequireAnyClientCert
	case OptionalClient:
		config.ClientAuth = stdtls.RequestClientCert
	case NoClient:
		config.ClientAuth = stdtls.NoClientCert
	}
	return &compiled{identity: identity, config: config, shown: config.Certificates, checker: k}
}

// Handshake puts TLS on an accepted connection, until deadline at the latest
// (zero for none), and fills in Peer, SNI and ALPN. An error is an *http.Error;
// the connection is of no use then and the caller closes it.
func (s *Server) Handshake(c *conn.Conn, deadline time.Time) error {
	return s.newest.handshake(c, deadline, http.Downstream, func(nc net.Conn, config *stdtls.Config) *stdtls.Conn {
		return stdtls.Server(nc, config)
	})
}

package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// ClientConfig says how endpoints are reached. Identity is set for the mesh;
// otherwise TrustedCA or SystemRoots.
type ClientConfig struct {
	// Identity makes it a client of the mesh: TLS 1.3, the endpoint verified by
	// the bundle of its trust domain.
	Identity *cell.Cell[Identity]
	// ExpectedIDs are the endpoints that a mesh client accepts, at least one.
	ExpectedIDs []spiffe.ID

	// Certificate is what a static client shows if it is asked; nil for none.
	Certificate *stdtls.Certificate
	// TrustedCA vouches for a static client's endpoints.
	TrustedCA *x509.CertPool
	// SystemRoots takes the system's roots instead (4 MiB of memory).
	SystemRoots bool
	// Allowed are names of which the endpoint has to have one.
	Allowed []Matcher
	// AnyName accepts every name that the roots vouch for; without it Allowed
	// must not be empty.
	AnyName bool

	// SNI is the name sent to the endpoint, empty for none.
	SNI string
	// ALPN are the protocols offered, the preferred one first.
	ALPN []string
	// MinVersion and MaxVersion are of crypto/tls; 0 is TLS 1.3. Only a static
	// client may allow 1.2.
	MinVersion, MaxVersion uint16
	// Now is the wall clock, nil for time.Now.
	Now func() time.Time
}

// sessions is how many endpoints' sessions a client keeps for resumption.
const sessions = 32

// Client opens TLS connections. It is safe for concurrent use.
type Client struct{ newest newest }

// NewClient checks and compiles a configuration.
func NewClient(config ClientConfig) (*Client, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("make TLS client: %w", err)
	}
	if config.SystemRoots {
		pool, err := x509.SystemCertPool()
		if err != nil {
			return nil, fmt.Errorf("make TLS client: load the system's roots: %w", err)
		}
		config.TrustedCA = pool
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	c := &Client{newest{identity: config.Identity, compile: config.compile}}
	if config.Identity == nil {
		c.newest.current.Store(config.compile(nil))
	}
	return c, nil
}

func (f *ClientConfig) check() error {
	if f.Identity != nil {
		switch {
		case f.Certificate != nil || f.TrustedCA != nil || f.SystemRoots || len(f.Allowed) > 0 || f.AnyName:
			return errors.New("a client of the mesh takes no certificate, roots or names of its own")
		case len(f.ExpectedIDs) == 0:
			return errors.New("no identity of the endpoint is expected")
		}
		return checkVersions(f.MinVersion, f.MaxVersion, true)
	}
	switch {
	case f.ExpectedIDs != nil:
		return errors.New("only a client of the mesh expects SPIFFE IDs")
	case f.TrustedCA == nil && !f.SystemRoots:
		return errors.New("there is no trusted CA")
	case f.TrustedCA != nil && f.SystemRoots:
		return errors.New("there are both a trusted CA and the system's roots")
	case len(f.Allowed) == 0 && !f.AnyName:
		return errors.New("no name of the endpoint is allowed")
	case len(f.Allowed) > 0 && f.AnyName:
		return errors.New("names are allowed one by one and all at once")
	}
	return checkVersions(f.MinVersion, f.MaxVersion, false)
}

func (f *ClientConfig) compile(identity *Identity) *compiled {
	k := &checker{
		identity: identity, expected: f.ExpectedIDs, roots: f.TrustedCA, allowed: f.Allowed,
		role: x509.ExtKeyUsageServerAuth, now: f.Now,
	}
	config := baseConfig(k, f.ALPN, f.MinVersion, f.MaxVersion)
	config.ServerName = f.SNI
	config.ClientSessionCache = stdtls.NewLRUClientSessionCache(sessions)
	// check verifies the chain and the name in place of crypto/tls, which knows
	// neither SPIFFE IDs nor a bundle for each trust domain.
	config.InsecureSkipVerify = true
	certificate := f.Certificate
	if identity != nil {
		certificate = &identity.certificate
	}
	if certificate != nil {
		// Always shown when asked for, whatever issuers the server names.
		config.GetClientCertificate = func(*stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) {
			return certificate, nil
		}
	}
	c := &compiled{identity: identity, config: config, checker: k}
	if certificate != nil {
		c.shown = []stdtls.Certificate{*certificate}
	}
	return c
}

// Handshake puts TLS on a dialed connection, until deadline at the latest (zero
// for none), and fills in Peer, SNI and ALPN. An error is an *http.Error; the
// connection is of no use then and the caller closes it.
func (c *Client) Handshake(to *conn.Conn, deadline time.Time) error {
	return c.newest.handshake(to, deadline, http.Upstream, func(nc net.Conn, config *stdtls.Config) *stdtls.Conn {
		return stdtls.Client(nc, config)
	})
}

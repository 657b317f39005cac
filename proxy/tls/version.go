package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// compiled is a configuration for one version of the identity.
type compiled struct {
	identity *Identity // nil in static mode
	config   *stdtls.Config
	shown    []stdtls.Certificate // for people
	checker  *checker
}

// newest holds the compiled configuration of the newest identity. The identity
// is compared by pointer: one that was stored again is a new version.
type newest struct {
	identity *cell.Cell[Identity] // nil in static mode
	compile  func(*Identity) *compiled

	current atomic.Pointer[compiled]
	mu      sync.Mutex // held while compiling
}

func (n *newest) load() (*compiled, error) {
	var identity *Identity
	if n.identity != nil {
		if identity = n.identity.Load(); identity == nil {
			return nil, refusal("this proxy has no identity yet")
		}
	}
	if c := n.current.Load(); c != nil && c.identity == identity {
		return c, nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.identity != nil {
		identity = n.identity.Load() // an older one must not replace a newer one
	}
	if c := n.current.Load(); c != nil && c.identity == identity {
		return c, nil
	}
	c := n.compile(identity)
	n.current.Store(c)
	return c, nil
}

// handshake runs a handshake on the caller's goroutine and fills in c.Info.
func (n *newest) handshake(c *conn.Conn, deadline time.Time, side http.Side, wrap func(net.Conn, *stdtls.Config) *stdtls.Conn) error {
	used, err := n.load()
	if err != nil {
		return &http.Error{Side: http.Local, Kind: http.KindTLS, Unsent: true, Reason: err.Error()}
	}
	t := c.StartTLS(func(nc net.Conn) *stdtls.Conn { return wrap(nc, used.config) })
	c.SetDeadline(deadline)
	err = t.Handshake()
	c.SetDeadline(time.Time{})
	if err != nil {
		return fault(side, err)
	}
	return n.finish(c, t, used, side)
}

// finish fills in c.Info after a handshake that was made with used.
func (n *newest) finish(c *conn.Conn, t *stdtls.Conn, used *compiled, side http.Side) error {
	state := t.ConnectionState()
	// The trust may have changed while a slow peer shook hands.
	now, err := n.load()
	if err == nil && now != used {
		err = now.checker.check(state.PeerCertificates)
	}
	if err != nil {
		return fault(side, err)
	}
	c.SNI, c.ALPN, c.Peer = state.ServerName, state.NegotiatedProtocol, peerID(&state)
	return nil
}

// baseConfig holds what both sides have in common.
func baseConfig(k *checker, alpn []string, minVersion, maxVersion uint16) *stdtls.Config {
	if k.identity != nil || minVersion == 0 {
		minVersion = stdtls.VersionTLS13
	}
	return &stdtls.Config{
		Time:       k.now,
		MinVersion: minVersion,
		MaxVersion: maxVersion,
		NextProtos: alpn,
		CurvePreferences: []stdtls.CurveID{
			stdtls.X25519MLKEM768, stdtls.X25519, stdtls.CurveP256,
		},
		// Whole records from the first byte: conn sends many of them in one write.
		DynamicRecordSizingDisabled: true,
		// Never nil, which would mean the system's roots.
		RootCAs:   x509.NewCertPool(),
		ClientCAs: x509.NewCertPool(),
		VerifyConnection: func(state stdtls.ConnectionState) error {
			return k.check(state.PeerCertificates)
		},
	}
}

func checkVersions(minVersion, maxVersion uint16, mesh bool) error {
	low := minVersion
	if low == 0 || mesh {
		low = stdtls.VersionTLS13
	}
	switch {
	case minVersion != 0 && minVersion < stdtls.VersionTLS12:
		return errors.New("TLS versions before 1.2 are not supported")
	case maxVersion != 0 && maxVersion < low:
		return errors.New("the highest TLS version is below the lowest, which is 1.3 unless 1.2 is asked for")
	case minVersion > stdtls.VersionTLS13 || maxVersion > stdtls.VersionTLS13:
		return errors.New("TLS versions above 1.3 do not exist")
	}
	return nil
}

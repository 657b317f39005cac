package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"net"
	"time"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// Accept puts TLS on an accepted connection as the server that choose names for
// the client's SNI and ALPN offer; nil refuses the handshake. Otherwise it does
// what Server.Handshake does.
func Accept(c *conn.Conn, deadline time.Time, choose func(serverName string, alpn []string) *Server) error {
	var chosen *newest
	var used *compiled
	t := c.StartTLS(func(nc net.Conn) *stdtls.Conn {
		return stdtls.Server(nc, &stdtls.Config{
			GetConfigForClient: func(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
				s := choose(hello.ServerName, hello.SupportedProtos)
				if s == nil {
					return nil, refusal("no filter chain serves the name " + quoteName(hello.ServerName))
				}
				var err error
				chosen = &s.newest
				if used, err = chosen.load(); err != nil {
					return nil, err
				}
				return used.config, nil
			},
		})
	})
	c.SetDeadline(deadline)
	err := t.Handshake()
	c.SetDeadline(time.Time{})
	if err != nil {
		return fault(http.Downstream, err)
	}
	return chosen.finish(c, t, used, http.Downstream)
}

// Certificates returns the leaves that the server shows.
func (s *Server) Certificates() []*x509.Certificate { return s.newest.leaves() }

// Certificates returns the leaf that the client shows, if it has one.
func (c *Client) Certificates() []*x509.Certificate { return c.newest.leaves() }

func (n *newest) leaves() []*x509.Certificate {
	c, err := n.load()
	if err != nil {
		return nil
	}
	var out []*x509.Certificate
	for _, k := range c.shown {
		leaf := k.Leaf
		if leaf == nil {
			if leaf, err = x509.ParseCertificate(k.Certificate[0]); err != nil {
				continue
			}
		}
		out = append(out, leaf)
	}
	return out
}

// quoteName makes a name that a client sent fit for a log line.
func quoteName(s string) string {
	if s == "" {
		return "(none)"
	}
	out := []byte{'"'}
	for i := range min(len(s), 253) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' {
			out = append(out, c)
		} else {
			out = append(out, '?')
		}
	}
	return string(append(out, '"'))
}

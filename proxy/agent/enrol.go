package agent

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/grpc"
	"github.com/leno-mesh/leno/proxy/identity"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds/wire"
)

// serverTimeout bounds connecting to the control plane.
const serverTimeout = 5 * time.Second

// issuer asks the control plane for certificates.
type issuer struct {
	proxy    *proxy
	server   string
	identity *cell.Cell[tls.Identity]

	mu      sync.Mutex
	refused chan error
}

// fatal delivers the server's refusal of the join token: asking again would not
// help.
func (s *issuer) fatal() <-chan error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refused == nil {
		s.refused = make(chan error, 1)
	}
	return s.refused
}

// Issue implements identity.Issuer.
func (s *issuer) Issue(ctx context.Context, token string, csr []byte) (identity.Issued, error) {
	config := identity.ServerByIdentity(s.identity, nil)
	if token != "" {
		var err error
		if config, err = identity.ServerVerifier(token, nil); err != nil {
			return identity.Issued{}, err
		}
	}
	transport := serverTransport(s.server, s.proxy, func(c *conn.Conn, deadline int64) error { return handshake(c, deadline, config) })
	defer transport.Drain()
	var deadline int64
	if d, ok := ctx.Deadline(); ok {
		deadline = clock.Now() + int64(time.Until(d))
	}
	b, err := grpc.Call(transport, grpc.Options{Method: "/leno.agent.v1.Enrolment/Issue", Authority: s.server, Deadline: deadline},
		wire.AppendProto(nil, &wire.IssueRequest{Token: token, Csr: csr}))
	if err != nil {
		s.noteRefusal(token, err)
		return identity.Issued{}, err
	}
	m := new(wire.IssueResponse)
	if _, err := wire.Unmarshal(b, m); err != nil {
		return identity.Issued{}, fmt.Errorf("read the answer of the control plane: %w", err)
	}
	return identity.Issued{Chain: m.Certificates, Roots: m.Roots, RenewAt: time.UnixMilli(m.RenewAt)}, nil
}

func (s *issuer) noteRefusal(token string, err error) {
	if token == "" {
		return
	}
	var untrusted *identity.UntrustedError
	var status *grpc.Status
	switch {
	case errors.As(err, &untrusted):
		s.refuse(fmt.Errorf("the control plane at %s is not to be trusted: %w", s.server, untrusted))
	case errors.As(err, &status):
		switch status.Code {
		case grpc.Unauthenticated, grpc.PermissionDenied, grpc.InvalidArgument, grpc.NotFound, grpc.AlreadyExists:
			s.refuse(errors.New("the control plane refuses the join token: " + status.Message))
		}
	}
}

func (s *issuer) refuse(err error) {
	s.fatal()
	select {
	case s.refused <- err:
	default:
	}
}

// handshake puts TLS by a configuration of the standard library on c.
func handshake(c *conn.Conn, deadline int64, config *stdtls.Config) error {
	t := c.StartTLS(func(nc net.Conn) *stdtls.Conn { return stdtls.Client(nc, config) })
	c.SetDeadline(clock.Time(deadline))
	defer c.SetDeadline(time.Time{})
	return t.Handshake()
}

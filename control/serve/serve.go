// Package serve is the server's side of port 15012: resources over ADS (delta
// and state of the world), certificates (Enrolment), and the stream over which
// each proxy registers its workload and reports (Agent).
//
// Who a peer is comes from its certificate and nothing else, and limits what it
// sees and may say.
package serve

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/control/generate"
	"github.com/leno-mesh/leno/control/serve/traffic"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/xds"
)

// ErrNoProxy says that no proxy of that name is connected.
var ErrNoProxy = errors.New("no such proxy is connected")

// Enroller issues certificates. peer is the client's certificate chain as it
// came in TLS, not verified, or nil.
type Enroller interface {
	Issue(ctx context.Context, peer []*x509.Certificate, token string, csr []byte) (*agentv1.IssueResponse, error)
}

// Config is what a Server is made of. Only Sets, Verify and Objects must be
// given.
type Config struct {
	// Sets holds the newest resources; a new one is sent to all streams.
	Sets *cell.Cell[generate.Set]
	// Verify returns the identity that a client's certificate chain proves.
	Verify func(chain []*x509.Certificate) (spiffe.ID, error)
	// Enroller answers Enrolment.Issue; nil refuses. Its errors are sent as
	// they are, so they carry gRPC codes and no secrets.
	Enroller Enroller
	// Objects is where registered workloads are written.
	Objects Objects
	// Traffic takes what proxies report; nil drops it.
	Traffic *traffic.Traffic
	// Grace is how long a registration outlives a broken stream; 10 s.
	Grace time.Duration
	// Limits bound what one stream may subscribe to.
	Limits xds.Limits
	Log    *slog.Logger
}

// Server serves proxies. Its methods may be called from any goroutine.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	agentv1.UnimplementedEnrolmentServer
	agentv1.UnimplementedAgentServer

	cfg      Config
	registry *registry
	closing  context.Context
	close    context.CancelFunc
	progress *cell.Cell[struct{}] // stored to whenever Progress may have changed

	mu      sync.Mutex // guards the fields below
	streams map[*resourceStream]struct{}
	agents  map[*agent]struct{}
}

// New returns a server. Workloads that were registered before keep their lease
// for one grace period, in which their proxies come back.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Grace = cmp.Or(cfg.Grace, 10*time.Second)
	s := &Server{
		cfg:      cfg,
		registry: newRegistry(cfg.Objects, cfg.Grace, cfg.Log),
		progress: cell.New(&struct{}{}),
		streams:  make(map[*resourceStream]struct{}),
		agents:   make(map[*agent]struct{}),
	}
	s.closing, s.close = context.WithCancel(context.Background())
	if err := s.registry.resume(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// Register adds the three services to a gRPC server, whose TLS must ask for
// client certificates without demanding them.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discovery.RegisterAggregatedDiscoveryServiceServer(r, s)
	agentv1.RegisterEnrolmentServer(r, s)
	agentv1.RegisterAgentServer(r, s)
}

// Close ends all streams and stops the leases' clocks; what is registered stays
// registered, for the next server.
func (s *Server) Close() {
	s.close()
	s.registry.close()
}

// identity is who a stream's peer is.
type identity struct {
	id                 spiffe.ID
	namespace, account string
	expires            time.Time
	address            string // of the connection, for people
}

// identify reads the peer's identity from its certificate.
func (s *Server) identify(ctx context.Context) (identity, error) {
	chain, address := peerChain(ctx)
	if len(chain) == 0 {
		return identity{}, status.Error(codes.Unauthenticated, "a client certificate is required")
	}
	id, err := s.cfg.Verify(chain)
	if err != nil {
		return identity{}, status.Errorf(codes.Unauthenticated, "the client certificate is not accepted: %v", err)
	}
	namespace, account, ok := id.Workload()
	if !ok {
		return identity{}, status.Errorf(codes.PermissionDenied, "%s is not the identity of a workload", id)
	}
	return identity{id: id, namespace: namespace, account: account, expires: chain[0].NotAfter, address: address}, nil
}

func peerChain(ctx context.Context) (chain []*x509.Certificate, address string) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, ""
	}
	if p.Addr != nil {
		address = p.Addr.String()
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		chain = info.State.PeerCertificates
	}
	return chain, address
}

// Issue implements Enrolment.
func (s *Server) Issue(ctx context.Context, r *agentv1.IssueRequest) (*agentv1.IssueResponse, error) {
	if s.cfg.Enroller == nil {
		return nil, status.Error(codes.Unavailable, "this server issues no certificates")
	}
	chain, _ := peerChain(ctx)
	return s.cfg.Enroller.Issue(ctx, chain, r.GetToken(), r.GetCsr())
}

// notify wakes those who wait for progress.
func (s *Server) notify() { s.progress.Store(&struct{}{}) }

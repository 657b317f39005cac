package serve

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leno-mesh/leno/control/generate"
	"github.com/leno-mesh/leno/xds"
)

// resourceStream is one ADS stream.
type resourceStream struct {
	who       identity
	connected time.Time

	mu       sync.Mutex // guards the fields below
	session  *xds.Session
	node     string // what the peer calls itself
	lastSeen time.Time
	target   uint64 // revision of the view that the session is brought to
	settled  uint64 // newest revision that the peer had everything of; ready says whether there is one
	ready    bool
}

// wire is one of the two ADS variants on an open stream.
type wire[Req, Res any] struct {
	stream interface {
		Context() context.Context
		Recv() (*Req, error)
		Send(*Res) error
	}
	request func(*xds.Session, *Req) (refused bool, err error)
	next    func(*xds.Session) (*Res, bool)
	node    func(*Req) *core.Node
}

// DeltaAggregatedResources implements ADS.
func (s *Server) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return serve(s, wire[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse]{
		stream: stream,
		request: func(x *xds.Session, r *discovery.DeltaDiscoveryRequest) (bool, error) {
			return r.GetErrorDetail() != nil, x.Request(deltaRequest(r))
		},
		next: nextDelta,
		node: (*discovery.DeltaDiscoveryRequest).GetNode,
	})
}

// StreamAggregatedResources implements ADS of the state of the world.
func (s *Server) StreamAggregatedResources(stream discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return serve(s, wire[discovery.DiscoveryRequest, discovery.DiscoveryResponse]{
		stream: stream,
		request: func(x *xds.Session, r *discovery.DiscoveryRequest) (bool, error) {
			return r.GetErrorDetail() != nil, x.RequestSotW(sotwRequest(r))
		},
		next: nextSotW,
		node: (*discovery.DiscoveryRequest).GetNode,
	})
}

// serve runs one stream: requests and new sets go into the session, responses
// come out. A peer that is slow in reading blocks only its own Send; meanwhile
// newer sets replace each other.
func serve[Req, Res any](s *Server, w wire[Req, Res]) error {
	who, err := s.identify(w.stream.Context())
	if err != nil {
		return err
	}
	// The identity holds as long as its certificate: who comes back must prove
	// it anew.
	ctx, cancel := context.WithDeadlineCause(w.stream.Context(), who.expires, errExpired)
	defer cancel()
	st := s.joinStream(who)
	defer s.leaveStream(st)

	requests, failed := receive(ctx, w.stream.Recv)
	set, changed := s.cfg.Sets.Next()
	st.retarget(set)
	for {
		refused := false
		select {
		case r := <-requests:
			if refused, err = take(st, r, w); err != nil {
				return status.Error(codes.ResourceExhausted, err.Error())
			}
		case <-changed:
			set, changed = s.cfg.Sets.Next()
			st.retarget(set)
		case err := <-failed:
			return ended(err)
		case <-ctx.Done():
			return over(ctx)
		case <-s.closing.Done():
			return status.Error(codes.Unavailable, "the server is closing; connect again")
		}
		for {
			response, ok := advance(st, w.next)
			if !ok {
				break
			}
			if err := w.stream.Send(response); err != nil {
				return err
			}
		}
		if st.settle() || refused {
			s.notify()
		}
	}
}

// receive reads a stream in a goroutine that ends with the stream, which gRPC
// ends when the handler returns.
func receive[Req any](ctx context.Context, recv func() (*Req, error)) (<-chan *Req, <-chan error) {
	requests, failed := make(chan *Req), make(chan error, 1)
	go func() {
		for {
			r, err := recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- r:
			case <-ctx.Done():
				return
			}
		}
	}()
	return requests, failed
}

// ended is what a stream returns after its peer ended it.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

var errExpired = errors.New("the client certificate has expired; connect again with a new one")

// over says why a stream's context has ended.
func over(ctx context.Context) error {
	switch {
	case context.Cause(ctx) == errExpired:
		return status.Error(codes.Unauthenticated, errExpired.Error())
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the client's own deadline for the stream has run out; connect again, without a deadline")
	}
	return status.FromContextError(ctx.Err()).Err()
}

func take[Req, Res any](st *resourceStream, r *Req, w wire[Req, Res]) (refused bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.lastSeen = time.Now()
	if id := w.node(r).GetId(); id != "" && st.node == "" && len(id) <= maxName {
		st.node = id
	}
	return w.request(st.session, r)
}

func advance[Res any](st *resourceStream, next func(*xds.Session) (*Res, bool)) (*Res, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return next(st.session)
}

// retarget brings the session to a set, nil when there is none yet.
func (st *resourceStream) retarget(set *generate.Set) {
	if set == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.session.Target(set.For(st.who.namespace, st.who.account))
	st.target, st.ready = set.Rev, true
}

// settle notes how far the peer is, and reports whether that has changed.
func (st *resourceStream) settle() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.ready || !st.session.Settled() || st.settled == st.target {
		return false
	}
	st.settled = st.target
	return true
}

func (s *Server) joinStream(who identity) *resourceStream {
	now := time.Now()
	st := &resourceStream{who: who, connected: now, lastSeen: now, session: xds.NewSession(s.cfg.Limits)}
	s.mu.Lock()
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	s.notify()
	return st
}

func (s *Server) leaveStream(st *resourceStream) {
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	s.notify()
}

package serve

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/control/serve/traffic"
)

const helloWithin = 10 * time.Second

// agent is one proxy's stream.
type agent struct {
	*holder
	hello     *agentv1.Hello
	connected time.Time
	commands  chan *agentv1.Command
	replaced  context.CancelFunc // ends the stream when a newer one of the same proxy has come

	mu           sync.Mutex // guards the fields below
	lastSeen     time.Time
	registration *agentv1.Registration
	resident     uint64
	connections  uint64
	serial       uint64
	waiting      map[uint64]chan *agentv1.Answer
}

// trafficName is unique among all proxies.
func (a *agent) trafficName() string { return a.namespace + "/" + a.account + "/" + a.proxy }

// Connect implements Agent.
func (s *Server) Connect(stream agentv1.Agent_ConnectServer) error {
	who, err := s.identify(stream.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithDeadlineCause(stream.Context(), who.expires, errExpired)
	defer cancel()
	reports, failed := receive(ctx, stream.Recv)
	hello, err := s.greeting(ctx, reports, failed)
	if err != nil {
		return err
	}
	streamCtx, replaced := context.WithCancel(ctx)
	defer replaced()
	a := &agent{
		holder: &holder{identity: who, proxy: hello.GetProxy()}, hello: hello, connected: time.Now(), lastSeen: time.Now(),
		commands: make(chan *agentv1.Command), replaced: replaced, waiting: make(map[uint64]chan *agentv1.Answer),
	}
	if err := s.joinAgent(a); err != nil {
		return err
	}
	inOrder := false
	defer func() { s.leaveAgent(a, inOrder) }()
	for {
		select {
		case r := <-reports:
			if err := s.take(streamCtx, a, r); err != nil {
				return err
			}
			if inOrder = r.GetFarewell() != nil; inOrder {
				return nil
			}
		case c := <-a.commands:
			if err := stream.Send(c); err != nil {
				return err
			}
		case err := <-failed:
			return ended(err)
		case <-streamCtx.Done():
			if ctx.Err() == nil {
				return status.Errorf(codes.Aborted, "another stream of proxy %s has taken over", a.proxy)
			}
			return over(ctx)
		case <-s.closing.Done():
			return status.Error(codes.Unavailable, "the server is closing; connect again")
		}
	}
}

// greeting waits for the Hello that begins a stream.
func (s *Server) greeting(ctx context.Context, reports <-chan *agentv1.Report, failed <-chan error) (*agentv1.Hello, error) {
	timeout := time.NewTimer(helloWithin)
	defer timeout.Stop()
	select {
	case r := <-reports:
		hello := r.GetHello()
		if hello == nil || hello.GetProxy() == "" {
			return nil, status.Error(codes.InvalidArgument, "the first message must be a hello with the proxy's name")
		}
		if max(len(hello.GetProxy()), len(hello.GetVersion()), len(hello.GetHost()), len(hello.GetMode())) > maxName {
			return nil, status.Errorf(codes.InvalidArgument, "a text of the hello is longer than %d bytes", maxName)
		}
		return hello, nil
	case err := <-failed:
		return nil, ended(err)
	case <-timeout.C:
		return nil, status.Errorf(codes.DeadlineExceeded, "no hello came within %s", helloWithin)
	case <-ctx.Done():
		return nil, over(ctx)
	case <-s.closing.Done():
		return nil, status.Error(codes.Unavailable, "the server is closing; connect again")
	}
}

// take handles one report.
func (s *Server) take(ctx context.Context, a *agent, r *agentv1.Report) error {
	a.mu.Lock()
	a.lastSeen = time.Now()
	old := a.registration
	if m := r.GetMetrics(); m != nil {
		a.resident, a.connections = m.GetResidentBytes(), m.GetConnections()
	}
	if answer := r.GetAnswer(); answer != nil {
		if c := a.waiting[answer.GetId()]; c != nil {
			delete(a.waiting, answer.GetId())
			c <- answer // has room for one
		}
	}
	a.mu.Unlock()
	if m := r.GetMetrics(); m != nil && s.cfg.Traffic != nil {
		s.cfg.Traffic.Record(traffic.Reporter{Name: a.trafficName(), Namespace: a.namespace, Account: a.account}, m)
	}
	reg := r.GetRegistration()
	if reg == nil {
		return nil
	}
	if old != nil && old.GetName() != reg.GetName() {
		return refuse("the workload's name is %s and cannot become %s on the same stream", old.GetName(), reg.GetName())
	}
	checked, err := readRegistration(reg, a.hello.GetVersion())
	if err != nil {
		return err
	}
	if err := s.registry.register(ctx, a.holder, checked); err != nil {
		if _, ok := status.FromError(err); ok {
			return err
		}
		s.cfg.Log.Error("cannot register a workload", "proxy", a.trafficName(), "error", err)
		return status.Error(codes.Unavailable, "the registration could not be stored; try again")
	}
	a.mu.Lock()
	a.registration = reg
	a.mu.Unlock()
	s.notify()
	return nil
}

// joinAgent makes a stream known; an older one of the same proxy ends. A name
// that another identity of the namespace holds is refused: people and Progress
// would take the one for the other.
func (s *Server) joinAgent(a *agent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	foreign := s.registry.foreign(a.holder)
	for old := range s.agents {
		foreign = foreign || old.namespace == a.namespace && old.proxy == a.proxy && old.id != a.id
	}
	if foreign {
		return refuse("the name %s is another identity's; choose another with --name", a.proxy)
	}
	for old := range s.agents {
		if old.sameProxy(a.holder) {
			old.replaced()
		}
	}
	s.agents[a] = struct{}{}
	return nil
}

// proxyName is what people call a proxy.
type proxyName struct{ namespace, proxy string }

// holders maps each proxy name to the account that holds it, by a stream or by
// the lease after one. mu is held.
func (s *Server) holders() map[proxyName]string {
	names := s.registry.holders()
	for a := range s.agents {
		names[proxyName{a.namespace, a.proxy}] = a.account
	}
	return names
}

func (s *Server) leaveAgent(a *agent, inOrder bool) {
	s.mu.Lock()
	delete(s.agents, a)
	s.mu.Unlock()
	s.registry.release(a.holder, inOrder)
	if s.cfg.Traffic != nil {
		s.cfg.Traffic.Leave(a.trafficName())
	}
	s.notify()
}

// Dump asks a connected proxy what it runs (config, clusters, certs) and
// returns its JSON. The proxy is given by its name, or by NAMESPACE/NAME.
func (s *Server) Dump(ctx context.Context, proxy, what string) ([]byte, error) {
	a, err := s.findAgent(proxy)
	if err != nil {
		return nil, err
	}
	reply := make(chan *agentv1.Answer, 1)
	a.mu.Lock()
	a.serial++
	id := a.serial
	a.waiting[id] = reply
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, id)
		a.mu.Unlock()
	}()
	gone := s.agentGone(a)
	for command := a.commands; ; {
		select {
		case command <- &agentv1.Command{Id: id, Dump: what}:
			command = nil // sent; now wait for the answer
		case answer := <-reply:
			if answer.GetError() != "" {
				return nil, fmt.Errorf("dump %s of proxy %s: %s", what, proxy, answer.GetError())
			}
			return answer.GetJson(), nil
		case <-gone:
			if !s.connected(a) {
				return nil, fmt.Errorf("dump %s of proxy %s: %w", what, proxy, ErrNoProxy)
			}
			gone = s.agentGone(a)
		case <-ctx.Done():
			return nil, fmt.Errorf("dump %s of proxy %s: it did not answer: %w", what, proxy, ctx.Err())
		}
	}
}

// agentGone returns a channel that is closed when the agent may have left.
func (s *Server) agentGone(a *agent) <-chan struct{} {
	_, changed := s.progress.Next()
	if s.connected(a) {
		return changed
	}
	closed := make(chan struct{})
	close(closed)
	return closed
}

func (s *Server) connected(a *agent) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.agents[a]
	return ok
}

func (s *Server) findAgent(proxy string) (*agent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found *agent
	for a := range s.agents {
		if a.proxy != proxy && a.namespace+"/"+a.proxy != proxy && a.trafficName() != proxy {
			continue
		}
		if found != nil {
			return nil, errors.New("several proxies are called " + proxy + "; say NAMESPACE/ACCOUNT/NAME, such as " + a.trafficName())
		}
		found = a
	}
	if found == nil {
		return nil, fmt.Errorf("find proxy %s: %w", proxy, ErrNoProxy)
	}
	return found, nil
}

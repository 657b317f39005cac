package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/backoff"
	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/grpc"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/xds"
	"github.com/leno-mesh/leno/xds/wire"
)

const deltaADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

// types are what a proxy subscribes to.
var types = []string{xds.ListenerType, xds.RouteType, xds.ClusterType, xds.EndpointType}

const (
	// absentFor is how long a name that does not exist is not asked for again.
	absentFor = 5 * time.Second
	// maxDemanded bounds the names that an application can make its proxy ask
	// for.
	maxDemanded = 2000
)

// follower keeps the configuration at what a server says, by delta ADS. It
// subscribes to its roots and to whatever they refer to, and to nothing else:
// the proxy's memory follows what its application uses.
type follower struct {
	log           log.Logger
	configuration *configuration
	transport     http.Transport
	authority     string
	scheme        string
	node          *wire.Node
	static        map[resourceID]bool // not the server's to say
	changed       func()              // called after each change of the configuration; may be nil

	mu    sync.Mutex
	roots map[resourceID]bool // true: kept for good; false: demanded
	wake  chan struct{}

	// Of the goroutine that runs.
	subscriptions xds.Subscriptions
	subscribed    map[resourceID]bool
	absent        map[resourceID]time.Time // since when

	status status
}

// status is what a follower tells of itself.
type status struct {
	mu        sync.Mutex
	connected bool
	since     time.Time
	problem   string
	rejected  map[string]string // by name
}

func newFollower(log log.Logger) *follower {
	return &follower{
		log: log, wake: make(chan struct{}, 1), scheme: "https",
		roots: map[resourceID]bool{}, subscribed: map[resourceID]bool{}, absent: map[resourceID]time.Time{},
		status: status{rejected: map[string]string{}},
	}
}

// Listener, Routes and Cluster implement engine.Demand.
func (f *follower) Listener(name string) { f.demand(resourceID{xds.ListenerType, name}) }
func (f *follower) Routes(name string)   { f.demand(resourceID{xds.RouteType, name}) }
func (f *follower) Cluster(name string)  { f.demand(resourceID{xds.ClusterType, name}) }

// Lost implements engine.Demand: a server that has been away for a while will
// hardly answer within a request's patience.
func (f *follower) Lost() string { return f.status.away(time.Now()) }

// awayAfter is how long a server may be away until nobody waits for it.
const awayAfter = 2 * time.Second

func (s *status) away(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connected || s.since.IsZero() || now.Sub(s.since) < awayAfter {
		return ""
	}
	return s.problem
}

func (f *follower) demand(id resourceID) {
	f.mu.Lock()
	_, known := f.roots[id]
	if !known && len(f.roots) < maxDemanded {
		f.roots[id] = false
	}
	f.mu.Unlock()
	if !known {
		f.poke()
	}
}

// keep makes a resource a root for good.
func (f *follower) keep(typeURL, name string) {
	f.mu.Lock()
	f.roots[resourceID{typeURL, name}] = true
	f.mu.Unlock()
	f.poke()
}

func (f *follower) poke() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run follows the server until ctx ends, over one stream after another.
func (f *follower) run(ctx context.Context) {
	retry := backoff.Policy{Base: 200 * time.Millisecond, Max: 10 * time.Second}
	for attempt := 0; ctx.Err() == nil; attempt++ {
		begun := time.Now()
		err := f.stream(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > 30*time.Second {
			attempt = 0
		}
		f.status.lost(err)
		f.log.Warn("control plane lost; going on with the last good configuration", "error", err)
		pause := time.NewTimer(retry.Next(attempt, rand.Float64()))
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// stream runs one ADS stream to its end.
func (f *follower) stream(ctx context.Context) error {
	s, err := grpc.OpenStream(f.transport, grpc.Options{Method: deltaADS, Scheme: f.scheme, Authority: f.authority})
	if err != nil {
		return err
	}
	received := make(chan *wire.DeltaDiscoveryResponse)
	failed := make(chan error, 1)
	defer listen(ctx, s, func(ended <-chan struct{}) { receive(s, received, failed, ended) })()

	f.subscriptions.Reconnected()
	node := f.node
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		f.sync()
		for _, r := range f.subscriptions.Next() {
			if err := s.Send(encodeRequest(r, node)); err != nil {
				return err
			}
			node = nil
		}
		select {
		case <-f.wake:
		case <-tick.C:
			f.expireAbsent(time.Now())
		case err := <-failed:
			return err
		case m := <-received:
			f.status.up()
			f.take(m)
		}
	}
}

// listen runs receive on a goroutine of its own. The returned function cancels
// the stream, waits for that goroutine and closes the stream; so does the end of
// ctx, but for the closing.
func listen(ctx context.Context, s *grpc.Stream, receive func(ended <-chan struct{})) (end func()) {
	ended, done := make(chan struct{}), make(chan struct{})
	unhook := context.AfterFunc(ctx, s.Cancel)
	go func() {
		defer close(done)
		receive(ended)
	}()
	return func() {
		unhook()
		s.Cancel()
		close(ended)
		<-done
		s.Close()
	}
}

// message is a generated message of package wire, by pointer.
type message[T any] interface {
	*T
	wire.Message
}

// receive passes on what the server sends until the stream ends.
func receive[T any, P message[T]](s *grpc.Stream, to chan<- P, failed chan<- error, ended <-chan struct{}) {
	for {
		b, err := s.Recv()
		if err != nil {
			failed <- err
			return
		}
		m := P(new(T))
		if _, err := wire.Unmarshal(b, m); err != nil {
			failed <- err
			return
		}
		select {
		case to <- m:
		case <-ended:
			return
		}
	}
}

// take applies a response and answers it.
func (f *follower) take(m *wire.DeltaDiscoveryResponse) {
	r := &xds.DeltaResponse{TypeURL: m.TypeUrl, Nonce: m.Nonce, Removed: m.RemovedResources}
	for _, w := range m.Resources {
		x := xds.Resource{Name: w.Name, Version: w.Version, TypeURL: m.TypeUrl}
		if w.Resource != nil {
			x.Body = w.Resource.Value
		}
		r.Resources = append(r.Resources, x)
	}
	events := f.subscriptions.HandleResponse(r)
	rejected := f.configuration.apply(events)
	now := time.Now()
	for _, ev := range events {
		id := resourceID{ev.Resource.TypeURL, ev.Resource.Name}
		if ev.Kind == xds.Changed {
			delete(f.absent, id)
		} else {
			f.absent[id] = now
		}
	}
	f.status.took(events, rejected)
	for _, j := range rejected {
		f.log.Error("configuration refused; the last good version stays", "type", kindOf(m.TypeUrl), "name", j.Name, "reason", j.Detail)
	}
	f.subscriptions.Nack(m.TypeUrl, m.Nonce, rejected)
	if f.changed != nil {
		f.changed()
	}
}

// sync subscribes to the roots and to what they refer to, and forgets the rest.
func (f *follower) sync() {
	wanted := f.wanted(f.configuration.plan.Load())
	add, drop := map[string][]string{}, map[string][]string{}
	var gone []resourceID
	for id := range wanted {
		if !f.subscribed[id] {
			f.subscribed[id] = true
			add[id.typeURL] = append(add[id.typeURL], id.name)
		}
	}
	for id := range f.subscribed {
		if !wanted[id] {
			delete(f.subscribed, id)
			delete(f.absent, id)
			drop[id.typeURL] = append(drop[id.typeURL], id.name)
			gone = append(gone, id)
		}
	}
	for _, t := range types {
		slices.Sort(add[t])
		if len(add[t]) > 0 {
			f.subscriptions.Subscribe(t, add[t]...)
		}
		if len(drop[t]) > 0 {
			slices.Sort(drop[t])
			f.subscriptions.Unsubscribe(t, drop[t]...)
		}
	}
	f.configuration.forget(gone)
}

// restored takes up a resource of the disk as one that is subscribed to, so that
// it is forgotten again if nothing refers to it. It comes before run.
func (f *follower) restored(r xds.Resource) {
	f.subscriptions.Restore(r.TypeURL, r.Name, r.Version)
	f.subscriptions.Subscribe(r.TypeURL, r.Name)
	f.subscribed[resourceID{r.TypeURL, r.Name}] = true
}

// wanted returns everything that is reachable from the roots in p.
func (f *follower) wanted(p *plan.Plan) map[resourceID]bool {
	out := map[resourceID]bool{}
	f.mu.Lock()
	for id := range f.roots {
		out[id] = true
	}
	f.mu.Unlock()
	want := func(typeURL string, names []string) {
		for _, n := range names {
			out[resourceID{typeURL, n}] = true
		}
	}
	for name, l := range p.Listeners {
		if l != nil && out[resourceID{xds.ListenerType, name}] {
			routes, clusters := l.References()
			want(xds.RouteType, routes)
			want(xds.ClusterType, clusters)
		}
	}
	for name, r := range p.Routes {
		if r != nil && out[resourceID{xds.RouteType, name}] {
			want(xds.ClusterType, r.Clusters)
		}
	}
	for name, c := range p.Clusters {
		if c != nil && c.EDS != "" && out[resourceID{xds.ClusterType, name}] {
			want(xds.EndpointType, []string{c.EDS})
		}
	}
	for id := range f.static {
		delete(out, id)
	}
	return out
}

// expireAbsent forgets demanded names that did not exist for a while: the next
// demand asks anew.
func (f *follower) expireAbsent(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, since := range f.absent {
		if now.Sub(since) >= absentFor {
			if kept, root := f.roots[id]; root && !kept {
				delete(f.roots, id)
			}
		}
	}
}

func encodeRequest(r *xds.DeltaRequest, node *wire.Node) []byte {
	m := &wire.DeltaDiscoveryRequest{
		Node: node, TypeUrl: r.TypeURL, ResourceNamesSubscribe: r.Subscribe, ResourceNamesUnsubscribe: r.Unsubscribe,
		InitialResourceVersions: r.InitialVersions, ResponseNonce: r.Nonce,
	}
	if r.Error != "" {
		m.ErrorDetail = &wire.Status{Code: int32(grpc.InvalidArgument), Message: r.Error}
	}
	return wire.AppendProto(nil, m)
}

func (s *status) up() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.connected {
		s.connected, s.since, s.problem = true, time.Now(), ""
	}
}

func (s *status) lost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.connected || s.since.IsZero() {
		s.connected, s.since = false, time.Now()
	}
	s.problem = "the stream ended"
	var status *grpc.Status
	if errors.As(err, &status) {
		s.problem = status.Error()
	} else if err != nil {
		s.problem = err.Error()
	}
}

func (s *status) took(events []xds.Event, rejected []xds.Rejection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ev := range events {
		delete(s.rejected, ev.Resource.Name)
	}
	for _, r := range rejected {
		s.rejected[r.Name] = r.Detail
	}
}

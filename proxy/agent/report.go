package agent

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/backoff"
	"github.com/leno-mesh/leno/proxy/grpc"
	"github.com/leno-mesh/leno/proxy/stats"
	"github.com/leno-mesh/leno/xds/wire"
)

const reportEvery = time.Second

// reporter keeps the agent stream: it registers the workload, tells what the
// proxy saw, and answers what the server asks.
type reporter struct {
	j       *joined
	started time.Time
	wake    chan struct{}

	mu       sync.Mutex
	draining bool
	leaving  bool
	health   health
}

// report starts the reporter; the returned channel is closed after its farewell
// or when ctx has ended.
func (j *joined) report(ctx context.Context) <-chan struct{} {
	r := &reporter{j: j, started: time.Now(), wake: make(chan struct{}, 1)}
	if len(j.Ports) > 0 {
		r.health.reason = notSeenYet
	}
	j.reporter = r
	ended := make(chan struct{})
	go r.watchHealth(ctx)
	go func() {
		defer close(ended)
		r.run(ctx)
	}()
	return ended
}

func (r *reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// drain tells the server that no more requests are wanted.
func (r *reporter) drain() {
	r.mu.Lock()
	r.draining = true
	r.mu.Unlock()
	r.poke()
}

// farewell deregisters and ends the reporter.
func (r *reporter) farewell() {
	r.mu.Lock()
	r.leaving = true
	r.mu.Unlock()
	r.poke()
}

func (r *reporter) left() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leaving
}

// notSeenYet is why an application is not called before the first look at it.
const notSeenYet = "the proxy has not seen yet whether it listens"

func (r *reporter) watchHealth(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		r.mu.Lock()
		before := r.health
		r.mu.Unlock()
		h := r.j.checkHealth(before)
		r.mu.Lock()
		changed := h != before
		r.health = h
		r.mu.Unlock()
		if changed {
			r.poke()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// run holds one stream after another until farewell or the end of ctx.
func (r *reporter) run(ctx context.Context) {
	retry := backoff.Policy{Base: 200 * time.Millisecond, Max: 10 * time.Second}
	for attempt := 0; ctx.Err() == nil && !r.left(); attempt++ {
		begun := time.Now()
		err := r.stream(ctx)
		if ctx.Err() != nil || r.left() {
			return
		}
		if time.Since(begun) > 30*time.Second {
			attempt = 0
		}
		r.j.Log.Debug("agent stream ended", "error", err)
		pause := time.NewTimer(retry.Next(attempt, rand.Float64()))
		for waiting := true; waiting; {
			select {
			case <-ctx.Done():
				waiting = false
			case <-pause.C:
				waiting = false
			case <-r.wake:
				waiting = !r.left()
			}
		}
		pause.Stop()
	}
}

func (r *reporter) stream(ctx context.Context) error {
	j := r.j
	s, err := grpc.OpenStream(j.follow.transport, grpc.Options{Method: "/leno.agent.v1.Agent/Connect", Authority: j.Server})
	if err != nil {
		return err
	}
	commands, failed := make(chan *wire.Command), make(chan error, 1)
	defer listen(ctx, s, func(ended <-chan struct{}) { receive(s, commands, failed, ended) })()

	send := func(m *wire.AgentReport) error { return s.Send(wire.AppendProto(nil, m)) }
	host, _ := os.Hostname()
	err = send(&wire.AgentReport{Hello: &wire.Hello{
		Proxy: j.Workload, Version: j.proxy.version, StartedAt: j.proxy.started.UnixMilli(), Host: host, Pid: int64(os.Getpid()), Mode: "sidecar",
		CertificateExpiresAt: r.expires(),
	}})
	if err != nil {
		return err
	}
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	var registered *wire.Registration
	for {
		if now := r.registration(); now != nil && !reflect.DeepEqual(now, registered) {
			if err := send(&wire.AgentReport{Registration: now}); err != nil {
				return err
			}
			registered = now
		}
		if r.left() {
			if err := send(&wire.AgentReport{Metrics: r.metrics()}); err != nil {
				return err
			}
			if err := send(&wire.AgentReport{Farewell: &wire.Farewell{}}); err != nil {
				return err
			}
			_ = s.CloseSend()
			return <-failed
		}
		select {
		case <-r.wake:
		case <-tick.C:
			if err := send(&wire.AgentReport{Metrics: r.metrics()}); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case c := <-commands:
			if err := send(&wire.AgentReport{Answer: j.answer(c)}); err != nil {
				return err
			}
		}
	}
}

func (r *reporter) expires() int64 {
	id := r.j.identity.Load()
	if id == nil {
		return 0
	}
	_, notAfter := id.Validity()
	return notAfter.UnixMilli()
}

// registration returns the workload as it is now; nil for an application that
// only calls others.
func (r *reporter) registration() *wire.Registration {
	j := r.j
	if j.Service == "" {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &wire.Registration{
		Name: j.Workload, Service: j.Service, Labels: maps.Clone(j.Labels), Address: j.Address.String(), MeshPort: uint32(j.meshPort),
		Healthy: r.health.reason == "", Reason: r.health.reason, Bypassable: r.health.bypassable, Zone: j.Zone, Draining: r.draining,
		CertificateExpiresAt: r.expires(),
	}
	for i, p := range j.Ports {
		m.Ports = append(m.Ports, &wire.Port{Port: uint32(p), PlaintextPort: uint32(j.plaintext[i])})
	}
	return m
}

// metrics returns what changed since the last report.
func (r *reporter) metrics() *wire.Metrics {
	m := &wire.Metrics{ResidentBytes: resident(), Connections: uint64(r.j.proxy.engine.Connections())}
	for _, d := range r.j.proxy.stats.Deltas() {
		e := &wire.Edge{
			Source: d.Source, Destination: d.Destination, Route: d.Route, Protocol: d.Protocol, Mtls: d.MTLS, Inbound: d.Inbound,
			Requests: d.Requests, Failures: d.Failures, BytesSent: d.Sent, BytesReceived: d.Received,
			ConnectionsOpened: d.Opened, ConnectionsActive: d.Active, Codes: counts(d.Codes), Faults: counts(d.Faults),
		}
		for _, b := range d.Durations {
			e.Durations = append(e.Durations, &wire.Bucket{Le: b.Le, Count: b.Count})
		}
		m.Edges = append(m.Edges, e)
	}
	return m
}

func counts(list []stats.Count) []*wire.Count {
	out := make([]*wire.Count, 0, len(list))
	for _, c := range list {
		out = append(out, &wire.Count{Key: c.Key, Count: c.Count})
	}
	return out
}

// answer serves a command of the server.
func (j *joined) answer(c *wire.Command) *wire.Answer {
	a := &wire.Answer{Id: c.Id}
	switch c.Dump {
	case "config":
		a.Json = j.proxy.configuration.dump(nil)
	case "clusters":
		a.Json = j.proxy.clustersJSON(nil)
	case "certs":
		a.Json = certificatesJSON(nil, j.certificates())
	default:
		a.Error = "this proxy cannot dump " + c.Dump + "; it has config, clusters and certs"
	}
	return a
}

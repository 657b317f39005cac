package engine

import (
	"sync"

	"github.com/leno-mesh/leno/proxy/plan"
)

// session is a protocol's view of a connection, for the sweeper and for drains.
type session interface {
	// Sweep ends what is overdue at now (lib/clock).
	Sweep(now int64)
	// Drain makes the session end after what is under way.
	Drain()
}

// registry knows every connection from a client, so that it can be swept,
// drained, closed, and asked whether a new policy still allows it.
type registry struct {
	mu   sync.Mutex
	open map[*downstream]struct{}
}

func (r *registry) init() { r.open = map[*downstream]struct{}{} }

// add registers a connection. That comes before its first check, so that no
// change of policy falls between check and registration.
func (r *registry) add(d *downstream) {
	r.mu.Lock()
	r.open[d] = struct{}{}
	r.mu.Unlock()
}

func (r *registry) remove(d *downstream) {
	r.mu.Lock()
	delete(r.open, d)
	r.mu.Unlock()
}

func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

func (r *registry) each(visit func(*downstream)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := range r.open {
		visit(d)
	}
}

func (r *registry) sweep(now int64) {
	r.each(func(d *downstream) { d.sweep(now) })
}

func (r *registry) drain() int {
	r.each(func(d *downstream) {
		if s := d.session.Load(); s != nil {
			(*s).Drain()
		} else if d.idle.Load() {
			d.c.Expire()
		}
	})
	return r.count()
}

func (r *registry) closeAll() {
	r.each(func(d *downstream) { d.c.Close() })
}

// recheck closes the connections that the new plan no longer allows.
func (r *registry) recheck(p *plan.Plan) {
	var refused []*downstream
	r.each(func(d *downstream) {
		if d.checked.Load() && !d.allowed(p) {
			refused = append(refused, d)
		}
	})
	for _, d := range refused {
		d.e.Log.Info("connection closed because policy changed", "listener", d.listener, "remote", d.c.Remote.String(), "peer", d.c.Peer.String())
		_ = d.c.Reset()
	}
}

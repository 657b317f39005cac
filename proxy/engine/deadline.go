package engine

import (
	"sync"

	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
)

// deadlines aborts the upstream streams of exchanges that take too long. A
// coarse sweeper looks at all of them, so that an exchange costs two list
// operations in place of a timer.
type deadlines struct {
	mu   sync.Mutex
	head timed // sentinel of a ring
}

// timed is the part of an exchange that deadlines knows.
type timed struct {
	next, prev *timed
	at         int64 // lib/clock
	stream     http.Stream
	fired      bool
	owner      *exchange // whose request does not change while the bound runs
}

func (d *deadlines) init() { d.head.next, d.head.prev = &d.head, &d.head }

// start bounds the use of stream. finish must be called before stream is closed.
func (d *deadlines) start(t *timed, at int64, stream http.Stream) {
	d.mu.Lock()
	t.at, t.stream, t.fired = at, stream, false
	t.prev, t.next = &d.head, d.head.next
	t.next.prev, d.head.next = t, t
	d.mu.Unlock()
}

// move sets another end to a bound that is running.
func (d *deadlines) move(t *timed, at int64) {
	d.mu.Lock()
	if t.next != nil {
		t.at = at
	}
	d.mu.Unlock()
}

// finish ends the bound and says whether it had run out.
func (d *deadlines) finish(t *timed) (fired bool) {
	d.mu.Lock()
	if t.next != nil {
		t.next.prev, t.prev.next = t.prev, t.next
		t.next, t.prev, t.stream = nil, nil, nil
	}
	fired = t.fired
	d.mu.Unlock()
	return fired
}

// sweep aborts what is overdue. It aborts under the lock, so that no stream can
// be closed and reused by another exchange in between.
func (d *deadlines) sweep(now int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t := d.head.next; t != &d.head; t = t.next {
		if t.at <= now && !t.fired {
			t.fired = true
			t.stream.Abort(errTimeout)
		}
	}
}

// recheck aborts what the plan no longer allows: a stream that was opened under
// an older policy does not outlive it.
func (d *deadlines) recheck(p *plan.Plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for t := d.head.next; t != &d.head; t = t.next {
		if t.owner != nil && !t.fired && !t.owner.allowed(p) {
			t.stream.Abort(errPolicy)
		}
	}
}

// Never written after start.
var errPolicy = &http.Error{Side: http.Local, Kind: http.KindDenied, Status: 403, Reason: "policy changed and no longer allows this stream"}

// errTimeout is never written after start.
var errTimeout = &http.Error{Side: http.Upstream, Kind: http.KindTimeout, Status: 504, Reason: "the endpoint took longer than the route's timeout"}

package engine

import (
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/http"
)

// request sends the request and reads the answer's head. Where the body is not
// yet here a second goroutine sends it, so that an answer may come before the
// request has ended.
func (x *exchange) request(down, up http.Stream) error {
	whole, tunnel := x.Req.Length == 0, x.Req.Protocol != ""
	if err := up.WriteHead(&x.Req, whole && !tunnel); err != nil {
		return err
	}
	if !whole && !tunnel { // nothing goes through a tunnel before it is granted
		if err := x.sendBody(down, up); err != nil {
			return err
		}
	}
	for {
		if err := up.ReadHead(&x.Resp); err != nil {
			return err
		}
		if x.Resp.Status >= 200 || x.Resp.Status == 101 {
			return nil
		}
		x.responded = true
		if err := down.WriteHead(&x.Resp, false); err != nil {
			return err
		}
		if err := down.Flush(); err != nil {
			return err
		}
	}
}

// sendBody sends what of the body is here; a goroutine does the rest.
func (x *exchange) sendBody(down, up http.Stream) error {
	if x.Req.Length > 0 && !x.Req.Expect {
		for ready(down) {
			x.bodyRead = true
			p, err := down.ReadData()
			if err != nil {
				return http.AsError(err, http.Downstream)
			}
			x.In += int64(len(p))
			end := x.In == x.Req.Length
			if up.WriteData(p, end) != nil || end {
				return nil // an endpoint that takes no more may have answered: ReadHead tells
			}
		}
	}
	x.bodyRead = true
	x.pumping = true
	if x.timeout > 0 {
		// The route's timeout runs from the end of the request, as Envoy's does:
		// how long an upload takes is the client's affair.
		x.d.e.deadlines.move(&x.timed, never)
	}
	go x.pump(down, up)
	return nil
}

// pump sends the rest of the request's body, or one direction of an upgraded
// connection, on a goroutine of its own; it ends when the body does or one of
// the streams is aborted.
func (x *exchange) pump(down, up http.Stream) {
	err := x.d.e.contained(func() error {
		if x.Req.Protocol != "" {
			return copyTunnel(up, down, &x.In)
		}
		return copyBody(up, down, &x.trailers, &x.In)
	})
	if err == nil && x.timeout > 0 && x.Req.Protocol == "" {
		x.d.e.deadlines.move(&x.timed, clock.Now()+x.timeout)
	}
	if err != nil {
		if f := http.AsError(err, http.Upstream); f.Side == http.Downstream {
			// The endpoint must not take the cut for an end.
			up.Abort(f)
		} else if f == errPanic {
			up.Abort(f)
			down.Abort(f)
		}
	}
	x.pumped <- err
}

// stopPump waits for the pump. An answer that is complete ends the request: the
// client is told to stop, and what it still sends is not wanted. It comes after
// the answer, and has some patience: usually the pump is about to end, and
// cutting the client off would cost it its next request too.
func (x *exchange) stopPump(down, up http.Stream) {
	if !x.pumping {
		return
	}
	x.pumping = false
	select {
	case <-x.pumped: // nearly always
		return
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-x.pumped:
		return
	case <-timer.C:
	}
	down.Abort(errEarly)
	if up != nil {
		up.Abort(errEarly)
	}
	<-x.pumped
}

// patience is how long a client may go on sending after its answer.
const patience = 100 * time.Millisecond

// errEarly is never written after start.
var errEarly = &http.Error{Side: http.Local, Kind: http.KindClosed, Reason: "the answer was complete before the request"}

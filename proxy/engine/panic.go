package engine

import (
	"net"
	"runtime/debug"

	"github.com/leno-mesh/leno/proxy/http"
)

// A panic is a defect of Leno. It ends what it happened in and nothing else:
// each goroutine that a peer's bytes run on recovers by one of these.

// errPanic is never written after start.
var errPanic = &http.Error{Side: http.Local, Kind: http.KindUnknown, Status: 500, Reason: "the proxy has a defect, which its log shows"}

func (e *Engine) panicked(what string, value any) {
	e.panics.Add(1)
	e.Log.Error(what+" panicked", "panic", value, "stack", string(debug.Stack()))
}

// rescue ends a connection whose goroutine panicked. It is deferred.
func (e *Engine) rescue(nc net.Conn) {
	if r := recover(); r != nil {
		e.panicked("connection from "+nc.RemoteAddr().String(), r)
		nc.Close()
	}
}

// contain ends an exchange whose goroutine panicked. It is deferred. The
// exchange is not used again.
func (x *exchange) contain(down http.Stream) {
	if r := recover(); r != nil {
		e := x.d.e
		e.panicked("exchange from "+x.d.c.Remote.String(), r)
		if up := x.timed.stream; up != nil {
			up.Abort(errPanic)
		}
		e.deadlines.finish(&x.timed)
		down.Abort(errPanic)
		down.Close()
	}
}

// contained runs f and turns a panic into an error.
func (e *Engine) contained(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			e.panicked("relay", r)
			err = errPanic
		}
	}()
	return f()
}

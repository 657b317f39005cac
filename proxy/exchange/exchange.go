// Package exchange holds the state of one request and its response, the only
// per-request state of the data plane.
package exchange

import (
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// Fault says where an exchange failed and whether it may be repeated: the only
// error that metrics, logs and retries look at.
type Fault = http.Error

// Exchange is one request and its response. It belongs to one connection (h1)
// or one stream (h2) and is reused there; its heads keep their memory.
type Exchange struct {
	Conn *conn.Info // of the client
	Req  http.Head
	Resp http.Head

	Start    int64 // lib/clock, when the request's head was complete
	In, Out  int64 // body bytes from and to the client
	Status   int   // sent to the client, 0 before
	Attempts int
	Fault    *Fault // nil while nothing failed

	// Route, Cluster and Workload name what was decided, empty before.
	Route, Cluster, Workload string
}

// Reset makes the exchange ready for a request of the same connection.
func (x *Exchange) Reset() {
	x.Req.Reset()
	x.Resp.Reset()
	*x = Exchange{Conn: x.Conn, Req: x.Req, Resp: x.Resp}
}

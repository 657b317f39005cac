package engine

import (
	"cmp"
	"strconv"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/stats"
)

// named is a series with the key that it was looked up by, kept by a connection
// because one request is usually like the last.
type named struct {
	key    stats.Key
	series *stats.Series
}

// sourceOf returns who a connection comes from as NAMESPACE/ACCOUNT; an
// identity of another form as it is.
func sourceOf(c *conn.Conn) string {
	if c.Peer.IsZero() {
		return ""
	}
	if namespace, account, ok := c.Peer.Workload(); ok {
		return namespace + "/" + account
	}
	return c.Peer.String()
}

// record counts an exchange. A request whose head could not be read counts as
// one without destination.
func (e *Engine) record(x *exchange, parsed bool) {
	if x.Status == 0 && x.Fault == nil {
		return // the client went away before there was anything to count
	}
	k := x.d.key(x.Cluster, x.mtls)
	k.Route, k.Protocol = x.Route, x.protocol(parsed)
	r := stats.Request{Status: x.Status, Sent: uint64(x.In), Received: uint64(x.Out)}
	if x.ended == 0 {
		x.ended = clock.Now()
	}
	if x.Start != 0 {
		r.Duration = time.Duration(x.ended - x.Start)
	}
	if k.Protocol == "grpc" {
		r.GRPC = x.grpcStatus() + 1
	}
	if x.Fault != nil {
		r.Side, r.Fault = x.Fault.Side, x.Fault.Kind
	}
	x.d.seriesOf(k).Record(r)
}

// key names the series of traffic to a cluster. What a sidecar's proxy takes in
// counts under the service that its chain is for; what it sends out, from its
// application. encrypted is whether the cluster is reached over TLS.
func (d *downstream) key(cluster string, encrypted bool) stats.Key {
	if !d.inbound() {
		return stats.Key{Source: cmp.Or(d.source, d.e.Source), Destination: cluster, MTLS: encrypted || d.c.TLS}
	}
	k := stats.Key{Inbound: true, Source: d.source, Destination: cluster, MTLS: d.c.TLS}
	if b := d.bound.Load(); b != nil && b.chain != nil && b.chain.Serves != "" {
		k.Destination = b.chain.Serves
	}
	return k
}

func (d *downstream) seriesOf(k stats.Key) *stats.Series {
	if n := d.series.Load(); n != nil && n.key == k {
		return n.series
	}
	n := &named{k, d.e.Stats.Series(k)}
	d.series.Store(n)
	return n.series
}

func (x *exchange) protocol(parsed bool) string {
	switch {
	case !parsed:
		return "http"
	case string(x.Req.Method()) == "CONNECT" && x.Req.Protocol == "":
		return "tcp"
	case isGRPC(&x.Req):
		return "grpc"
	case x.Req.Version == 2:
		return "h2"
	}
	return "http/1.1"
}

// grpcStatus returns the status of a gRPC answer, from its trailers or its
// head; -1 if it had none.
func (x *exchange) grpcStatus() int {
	for _, h := range []*http.Head{&x.back, &x.Resp} {
		if v, ok := h.GetNamed(http.GRPCStatus); ok {
			if n, err := strconv.Atoi(string(v)); err == nil {
				return n
			}
		}
	}
	return -1
}

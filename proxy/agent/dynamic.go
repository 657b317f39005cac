package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h2"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/xds"
	"github.com/leno-mesh/leno/xds/wire"
)

// dynamic follows the ADS server of a bootstrap for the route configurations
// and endpoints that its static resources name. It reports whether there is one.
func (p *proxy) dynamic(ctx context.Context, b *wire.Bootstrap, first *plan.Plan, f *follower) (bool, error) {
	d := b.DynamicResources
	if d == nil || d.AdsConfig == nil {
		return false, nil
	}
	if d.LdsConfig != nil || d.CdsConfig != nil {
		return false, errors.New("dynamic_resources.lds_config: a static bootstrap's listeners and clusters are static; Leno follows ADS for their routes and endpoints")
	}
	const at = "dynamic_resources.ads_config."
	switch d.AdsConfig.ApiType {
	case wire.ApiConfigSource_DELTA_GRPC, wire.ApiConfigSource_AGGREGATED_DELTA_GRPC:
	case wire.ApiConfigSource_GRPC:
		return false, errors.New(at + "api_type: Leno speaks delta ADS; write DELTA_GRPC")
	default:
		return false, errors.New(at + "api_type: must be DELTA_GRPC")
	}
	if len(d.AdsConfig.GrpcServices) != 1 || d.AdsConfig.GrpcServices[0].EnvoyGrpc == nil {
		return false, errors.New(at + "grpc_services: exactly one envoy_grpc is supported")
	}
	g := d.AdsConfig.GrpcServices[0].EnvoyGrpc
	c := first.Clusters[g.ClusterName]
	if c == nil {
		return false, fmt.Errorf(at+"grpc_services[0].envoy_grpc.cluster_name: %q is not in static_resources.clusters", g.ClusterName)
	}
	if !c.HTTP2 {
		return false, fmt.Errorf("cluster/%s: must speak HTTP/2 to carry ADS", c.Name)
	}
	f.node, f.authority = b.Node, g.Authority
	if f.authority == "" {
		f.authority = g.ClusterName
	}
	if c.TLS == nil {
		f.scheme = "http"
	}
	f.transport = p.engine.ClusterTransport(c)
	f.static = map[resourceID]bool{}
	for name := range first.Clusters {
		f.static[resourceID{xds.ClusterType, name}] = true
	}
	for _, l := range first.Listeners {
		routes, _ := l.References()
		for _, r := range routes {
			f.keep(xds.RouteType, r)
		}
	}
	for _, k := range first.Clusters {
		if k.EDS != "" {
			f.keep(xds.EndpointType, k.EDS)
		}
	}
	go f.run(ctx)
	return true, nil
}

// dialable returns the network and address of an Address.
func dialable(a *wire.Address) (network, address string, err error) {
	switch {
	case a.Pipe != nil:
		return "unix", a.Pipe.Path, nil
	case a.SocketAddress != nil && a.SocketAddress.PortValue != nil:
		return "tcp", net.JoinHostPort(a.SocketAddress.Address, strconv.Itoa(int(*a.SocketAddress.PortValue))), nil
	}
	return "", "", errors.New("neither a socket address with a port nor a pipe")
}

// serverTransport returns a transport to the mesh's server: HTTP/2 over what
// secure makes of a dialed connection.
func serverTransport(address string, p *proxy, secure func(*conn.Conn, int64) error) http.Transport {
	return h2.NewTransport(h2.TransportOptions{Dial: func(deadline int64) (*conn.Conn, error) {
		limit := clock.Now() + int64(serverTimeout)
		if deadline == 0 || limit < deadline {
			deadline = limit
		}
		nc, err := conn.Dial("tcp", address, deadline)
		if err != nil {
			return nil, &http.Error{Side: http.Upstream, Kind: http.KindConnect, Unsent: true, Reason: "the control plane at " + address + " cannot be reached", Err: err}
		}
		boundSilence(nc)
		c := conn.New(nc, &p.engine.Buffers)
		if err := secure(c, deadline); err != nil {
			c.Close()
			return nil, &http.Error{Side: http.Upstream, Kind: http.KindTLS, Unsent: true, Reason: "TLS with the control plane at " + address + " failed", Err: err}
		}
		return c, nil
	}})
}

package plan

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/xds/wire"
)

const (
	defaultConnectTimeout = 5 * time.Second // Envoy's
	defaultDNSRefresh     = 5 * time.Second // Envoy's
	minDNSRefresh         = time.Second
)

func (b *builder) cluster(name string, w *wire.Cluster) (*Cluster, error) {
	c := &Cluster{Name: name, source: w, Members: &cell.Cell[Members]{}, Use: &Use{}, ConnectTimeout: defaultConnectTimeout}
	if old := b.prev.Clusters[name]; old != nil {
		c.Use, c.generation = old.Use, old.generation+1
	}
	if err := c.refuse(w); err != nil {
		return nil, err
	}
	if w.ConnectTimeout != nil {
		if *w.ConnectTimeout <= 0 {
			return nil, errors.New("connect_timeout: must be more than 0")
		}
		c.ConnectTimeout = *w.ConnectTimeout
	}
	if err := c.balancing(w); err != nil {
		return nil, err
	}
	if err := c.protocol(w); err != nil {
		return nil, err
	}
	c.breakers(w.CircuitBreakers)
	if w.TransportSocket != nil {
		if err := b.clientTLS(c, w.TransportSocket); err != nil {
			return nil, fmt.Errorf("transport_socket.%w", err)
		}
	}
	return c, b.discovery(c, w)
}

// refuse names the settings that Leno would have to pass over.
func (c *Cluster) refuse(w *wire.Cluster) error {
	switch {
	case len(w.HealthChecks) > 0:
		return errors.New("health_checks: Leno does not check health actively yet; endpoints that cannot be reached are avoided by themselves")
	case w.OutlierDetection != nil:
		return errors.New("outlier_detection: Leno has no configurable one yet; endpoints that cannot be reached are avoided by themselves")
	case w.RespectDnsTtl:
		return errors.New("respect_dns_ttl: Leno refreshes by dns_refresh_rate")
	case w.UpstreamConnectionOptions != nil:
		return errors.New("upstream_connection_options: Leno keeps TCP alive with the system's defaults")
	case w.RingHashLbConfig != nil:
		return errors.New("ring_hash_lb_config: Leno does not balance by hash yet")
	case w.CommonLbConfig != nil:
		return errors.New("common_lb_config: Leno does not support it yet")
	}
	return nil
}

// balancing takes the first policy that Leno knows, as xDS demands of a list.
func (c *Cluster) balancing(w *wire.Cluster) error {
	if w.LoadBalancingPolicy != nil {
		for _, p := range w.LoadBalancingPolicy.Policies {
			if p.TypedExtensionConfig == nil || p.TypedExtensionConfig.TypedConfig == nil {
				continue
			}
			switch m := p.TypedExtensionConfig.TypedConfig.Message.(type) {
			case *wire.PeakEwma:
				c.Balance = balance.PeakEWMA
			case *wire.LeastRequest:
				if m.ChoiceCount != nil && *m.ChoiceCount != 2 {
					return errors.New("load_balancing_policy.policies: least_request.choice_count: Leno compares two endpoints")
				}
				c.Balance = balance.LeastRequest
			case *wire.RoundRobin:
				c.Balance = balance.RoundRobin
			case *wire.Random:
				c.Balance = balance.Random
			default:
				continue
			}
			return nil
		}
		return errors.New("load_balancing_policy.policies: Leno knows none of them; it has peak_ewma, least_request, round_robin and random")
	}
	switch w.LbPolicy {
	case wire.Cluster_ROUND_ROBIN:
		c.Balance = balance.RoundRobin
	case wire.Cluster_LEAST_REQUEST:
		c.Balance = balance.LeastRequest
		if l := w.LeastRequestLbConfig; l != nil && l.ChoiceCount != nil && *l.ChoiceCount != 2 {
			return errors.New("least_request_lb_config.choice_count: Leno compares two endpoints")
		}
	case wire.Cluster_RANDOM:
		c.Balance = balance.Random
	default:
		return errors.New("lb_policy: Leno balances by ROUND_ROBIN, LEAST_REQUEST and RANDOM")
	}
	return nil
}

const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

func (c *Cluster) protocol(w *wire.Cluster) error {
	if o := w.Http2ProtocolOptions; o != nil {
		c.HTTP2 = true
		http2Limits(o, &c.Limits.Streams, &c.Limits.StreamWindow, &c.Limits.ConnWindow)
	}
	for key, a := range w.TypedExtensionProtocolOptions {
		m, ok := a.Message.(*wire.HttpProtocolOptions)
		if !ok {
			return fmt.Errorf("typed_extension_protocol_options[%q]: only %s is supported", key, httpOptions)
		}
		if o := m.CommonHttpProtocolOptions; o != nil && o.IdleTimeout != nil {
			c.Limits.IdleTimeout = bound(*o.IdleTimeout)
		}
		e := m.ExplicitHttpConfig
		if e == nil {
			return fmt.Errorf("typed_extension_protocol_options[%q]: Leno supports explicit_http_config", key)
		}
		c.HTTP2 = e.Http2ProtocolOptions != nil
		if c.HTTP2 {
			http2Limits(e.Http2ProtocolOptions, &c.Limits.Streams, &c.Limits.StreamWindow, &c.Limits.ConnWindow)
		}
	}
	return nil
}

func (c *Cluster) breakers(w *wire.CircuitBreakers) {
	if w == nil {
		return
	}
	for _, t := range w.Thresholds {
		if t.Priority != wire.RoutingPriority_DEFAULT {
			continue
		}
		set := func(to *int, from *uint32) {
			if from != nil {
				*to = int(min(*from, math.MaxInt32))
			}
		}
		set(&c.MaxConnections, t.MaxConnections)
		set(&c.MaxPending, t.MaxPendingRequests)
		set(&c.MaxRequests, t.MaxRequests)
		set(&c.MaxRetries, t.MaxRetries)
	}
}

func (b *builder) discovery(c *Cluster, w *wire.Cluster) error {
	kind := wire.Cluster_STATIC
	if w.Type != nil {
		kind = *w.Type
	}
	switch kind {
	case wire.Cluster_STATIC:
		if w.LoadAssignment == nil {
			return errors.New("load_assignment: is missing")
		}
		return b.assign(c, w.LoadAssignment)
	case wire.Cluster_EDS:
		if w.LoadAssignment != nil {
			return errors.New("load_assignment: an EDS cluster has none")
		}
		if w.EdsClusterConfig == nil {
			return errors.New("eds_cluster_config: is missing")
		}
		if err := onlyADS(w.EdsClusterConfig.EdsConfig); err != nil {
			return fmt.Errorf("eds_cluster_config.eds_config: %w", err)
		}
		c.EDS = c.Name
		if e := w.EdsClusterConfig; e != nil && e.ServiceName != "" {
			c.EDS = e.ServiceName
		}
		return nil
	case wire.Cluster_STRICT_DNS:
		return c.names(w)
	}
	return errors.New("type: Leno supports STATIC, STRICT_DNS and EDS")
}

func (c *Cluster) names(w *wire.Cluster) error {
	c.DNSRefresh = defaultDNSRefresh
	if w.DnsRefreshRate != nil {
		c.DNSRefresh = max(*w.DnsRefreshRate, minDNSRefresh)
	}
	if w.LoadAssignment == nil {
		return errors.New("load_assignment: is missing")
	}
	for i, l := range w.LoadAssignment.Endpoints {
		for k, e := range l.LbEndpoints {
			at := fmt.Sprintf("load_assignment.endpoints[%d].lb_endpoints[%d].endpoint.address.socket_address", i, k)
			if e.Endpoint == nil || e.Endpoint.Address == nil || e.Endpoint.Address.SocketAddress == nil {
				return errors.New(at + ": is missing")
			}
			a := e.Endpoint.Address.SocketAddress
			if a.Address == "" {
				return errors.New(at + ".address: is missing")
			}
			port, err := portOf(a.PortValue)
			if err != nil {
				return fmt.Errorf("%s.port_value: %w", at, err)
			}
			n := DNSName{Host: a.Address, Port: port, Priority: l.Priority}
			if e.LoadBalancingWeight != nil {
				n.Weight = *e.LoadBalancingWeight
			}
			c.DNS = append(c.DNS, n)
		}
	}
	if len(c.DNS) == 0 {
		return errors.New("load_assignment.endpoints: there is no name to resolve")
	}
	return nil
}

// assign applies an assignment, nil for one that does not exist, unless it is
// the one that the members came from.
func (b *builder) assign(c *Cluster, w *wire.ClusterLoadAssignment) error {
	m := c.Members.Load()
	if m != nil && m.source == w && w != nil {
		return nil
	}
	if w == nil && m != nil && len(m.Set.Endpoints()) == 0 {
		return nil
	}
	specs, err := endpointSpecs(w)
	if err != nil {
		return err
	}
	return b.env.swap(c, specs, w)
}

func endpointSpecs(w *wire.ClusterLoadAssignment) ([]balance.Spec, error) {
	if w == nil {
		return nil, nil
	}
	if w.Policy != nil && w.Policy.OverprovisioningFactor != nil && *w.Policy.OverprovisioningFactor != 140 {
		return nil, errors.New("policy.overprovisioning_factor: Leno's is 140")
	}
	var specs []balance.Spec
	for i, l := range w.Endpoints {
		for k, e := range l.LbEndpoints {
			s, err := endpointSpec(l, e)
			if err != nil {
				return nil, fmt.Errorf("endpoints[%d].lb_endpoints[%d].%w", i, k, err)
			}
			specs = append(specs, s)
		}
	}
	return specs, nil
}

func endpointSpec(l *wire.LocalityLbEndpoints, e *wire.LbEndpoint) (balance.Spec, error) {
	s := balance.Spec{Priority: l.Priority}
	if e.Endpoint == nil || e.Endpoint.Address == nil {
		return s, errors.New("endpoint.address: is missing")
	}
	switch a := e.Endpoint.Address; {
	case a.Pipe != nil:
		if s.Address = a.Pipe.Path; s.Address == "" {
			return s, errors.New("endpoint.address.pipe.path: is missing")
		}
	case a.SocketAddress != nil:
		if net.ParseIP(a.SocketAddress.Address) == nil {
			return s, fmt.Errorf("endpoint.address.socket_address.address: %q is no IP address; names need a STRICT_DNS cluster", a.SocketAddress.Address)
		}
		port, err := portOf(a.SocketAddress.PortValue)
		if err == nil && port == 0 {
			err = errors.New("0 is no port")
		}
		if err != nil {
			return s, fmt.Errorf("endpoint.address.socket_address.port_value: %w", err)
		}
		s.Address = net.JoinHostPort(a.SocketAddress.Address, strconv.Itoa(int(port)))
	default:
		return s, errors.New("endpoint.address: neither a socket address nor a pipe")
	}
	s.Hostname = e.Endpoint.Hostname
	if l.Locality != nil {
		s.Zone = strings.Trim(strings.Join([]string{l.Locality.Region, l.Locality.Zone, l.Locality.SubZone}, "/"), "/")
	}
	if e.LoadBalancingWeight != nil {
		s.Weight = *e.LoadBalancingWeight
	}
	switch e.HealthStatus {
	case wire.HealthStatus_UNKNOWN, wire.HealthStatus_HEALTHY:
		s.Health = balance.Healthy
	case wire.HealthStatus_DEGRADED:
		s.Health = balance.Degraded
	case wire.HealthStatus_DRAINING:
		s.Health = balance.Draining
	default:
		s.Health = balance.Unhealthy
	}
	if e.Metadata != nil {
		leno := e.Metadata.FilterMetadata["leno"]
		s.Workload, _ = leno["workload"].(string)
		s.Version, _ = leno["version"].(string)
		s.Key = s.Workload
	}
	return s, nil
}

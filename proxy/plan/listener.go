package plan

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/leno-mesh/leno/proxy/authz"
	"github.com/leno-mesh/leno/proxy/route"
	"github.com/leno-mesh/leno/xds/wire"
)

func (b *builder) listener(name string, w *wire.Listener) (*Listener, error) {
	l := &Listener{Name: name, source: w}
	if err := l.bind(w); err != nil {
		return nil, err
	}
	if w.ApiListener != nil && w.ApiListener.ApiListener != nil {
		m, ok := w.ApiListener.ApiListener.Message.(*wire.HttpConnectionManager)
		if !ok {
			return nil, fmt.Errorf("api_listener.api_listener: only an HttpConnectionManager is supported")
		}
		h, err := b.http(m)
		if err != nil {
			return nil, fmt.Errorf("api_listener.api_listener.%w", err)
		}
		l.Chains = []*Chain{{Name: name, HTTP: h}}
		return l, nil
	}
	for i, f := range w.ListenerFilters {
		if f.TypedConfig == nil {
			return nil, fmt.Errorf("listener_filters[%d].typed_config: is missing", i)
		}
		switch f.TypedConfig.Message.(type) {
		case *wire.TlsInspector: // the handshake is looked at wherever a chain has TLS
		case *wire.HttpInspector:
			l.Detect = true
		default:
			return nil, fmt.Errorf("listener_filters[%d]: Leno does not support the listener filter %s", i, f.Name)
		}
	}
	for i, fc := range w.FilterChains {
		c, err := b.chain(fc)
		if err != nil {
			return nil, fmt.Errorf("filter_chains[%d].%w", i, err)
		}
		l.Chains = append(l.Chains, c)
		l.Encrypted = l.Encrypted || c.TLS != nil
	}
	if w.DefaultFilterChain != nil {
		c, err := b.chain(w.DefaultFilterChain)
		if err != nil {
			return nil, fmt.Errorf("default_filter_chain.%w", err)
		}
		l.Default = c
		l.Encrypted = l.Encrypted || c.TLS != nil
	}
	return l, nil
}

// bind takes the address, unless the listener is not to be bound.
func (l *Listener) bind(w *wire.Listener) error {
	if w.Address == nil || w.BindToPort != nil && !*w.BindToPort {
		return nil
	}
	switch a := w.Address; {
	case a.SocketAddress != nil:
		if a.SocketAddress.Protocol != wire.SocketAddress_TCP {
			return fmt.Errorf("address.socket_address.protocol: only TCP is supported")
		}
		p, err := portOf(a.SocketAddress.PortValue)
		if err != nil {
			return fmt.Errorf("address.socket_address.port_value: %w", err)
		}
		l.Address = net.JoinHostPort(a.SocketAddress.Address, strconv.Itoa(int(p)))
	case a.Pipe != nil:
		if a.Pipe.Mode != 0 {
			return fmt.Errorf("address.pipe.mode: Leno leaves the mode of a socket to the umask")
		}
		l.Address = "unix:" + a.Pipe.Path
	}
	return nil
}

func portOf(value *uint32) (uint16, error) {
	if value == nil {
		return 0, errors.New("is missing")
	}
	if *value > 65535 {
		return 0, fmt.Errorf("%d is no port", *value)
	}
	return uint16(*value), nil
}

func (b *builder) chain(w *wire.FilterChain) (*Chain, error) {
	c := &Chain{Name: w.Name}
	for _, suffix := range []string{"/requests", "/bytes"} {
		if d, ok := strings.CutSuffix(w.Name, suffix); ok {
			c.Serves = d
		}
	}
	if w.TransportSocketConnectTimeout != nil {
		return nil, fmt.Errorf("transport_socket_connect_timeout: Leno bounds every handshake by 10 s")
	}
	if m := w.FilterChainMatch; m != nil {
		if err := c.match(m); err != nil {
			return nil, fmt.Errorf("filter_chain_match.%w", err)
		}
	}
	if w.TransportSocket != nil {
		if err := b.serverTLS(c, w.TransportSocket); err != nil {
			return nil, fmt.Errorf("transport_socket.%w", err)
		}
	}
	if c.TLS == nil && len(c.ServerNames) > 0 {
		return nil, fmt.Errorf("filter_chain_match.server_names: needs a TLS transport_socket; Leno does not pass TLS through by its server name yet")
	}
	if len(w.Filters) == 0 {
		return nil, fmt.Errorf("filters: there is none; the last one must be an HTTP connection manager or a TCP proxy")
	}
	for i, f := range w.Filters {
		if f.TypedConfig == nil {
			return nil, fmt.Errorf("filters[%d].typed_config: is missing", i)
		}
		if c.HTTP != nil || c.TCP != nil {
			return nil, fmt.Errorf("filters[%d]: comes after the last filter, %s", i, w.Filters[i-1].Name)
		}
		var err error
		switch m := f.TypedConfig.Message.(type) {
		case *wire.HttpConnectionManager:
			c.HTTP, err = b.http(m)
		case *wire.TcpProxy:
			c.TCP, err = tcp(m)
		case *wire.NetworkRBAC:
			var chain authz.Chain
			chain, err = b.rbac(m.Rules, m.ShadowRules, f.Name)
			c.Policy = append(c.Policy, chain...)
		default:
			err = fmt.Errorf("Leno does not support the network filter %s", f.Name)
		}
		if err != nil {
			return nil, fmt.Errorf("filters[%d].%w", i, err)
		}
	}
	if c.HTTP == nil && c.TCP == nil {
		return nil, fmt.Errorf("filters: the last one must be an HTTP connection manager or a TCP proxy")
	}
	return c, nil
}

func (c *Chain) match(m *wire.FilterChainMatch) (err error) {
	for _, n := range m.ServerNames {
		if strings.Contains(n, "*") && (!strings.HasPrefix(n, "*.") || strings.Count(n, "*") > 1) {
			return fmt.Errorf("server_names: %q has a wildcard that is not a leading *.", n)
		}
		c.ServerNames = append(c.ServerNames, strings.ToLower(n))
	}
	c.ALPN = m.ApplicationProtocols
	switch c.Transport = m.TransportProtocol; c.Transport {
	case "", "tls", "raw_buffer":
	default:
		return fmt.Errorf("transport_protocol: %q is unknown; it is tls or raw_buffer", c.Transport)
	}
	if m.DestinationPort != nil {
		if c.Port, err = portOf(m.DestinationPort); err != nil {
			return fmt.Errorf("destination_port: %w", err)
		}
	}
	if c.Destination, err = cidrs(m.PrefixRanges); err != nil {
		return fmt.Errorf("prefix_ranges: %w", err)
	}
	if len(m.SourcePrefixRanges) > 0 && len(m.DirectSourcePrefixRanges) > 0 {
		return fmt.Errorf("direct_source_prefix_ranges: source_prefix_ranges are set too, and to Leno both are the socket's address")
	}
	if c.Sources, err = cidrs(append(m.SourcePrefixRanges, m.DirectSourcePrefixRanges...)); err != nil {
		return fmt.Errorf("source_prefix_ranges: %w", err)
	}
	return nil
}

func cidrs(list []*wire.CidrRange) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, r := range list {
		p, err := cidr(r)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func cidr(r *wire.CidrRange) (netip.Prefix, error) {
	a, err := netip.ParseAddr(r.AddressPrefix)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is no IP address", r.AddressPrefix)
	}
	bits := 0
	if r.PrefixLen != nil {
		bits = int(*r.PrefixLen)
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%s/%d is no address range", r.AddressPrefix, bits)
	}
	return p, nil
}

func tcp(m *wire.TcpProxy) (*TCP, error) {
	t := &TCP{}
	var choices []route.Choice[string]
	switch {
	case m.Cluster != nil:
		choices = []route.Choice[string]{{Weight: 1, Value: *m.Cluster}}
	case m.WeightedClusters != nil:
		for _, c := range m.WeightedClusters.Clusters {
			choices = append(choices, route.Choice[string]{Weight: c.Weight, Value: c.Name})
		}
	}
	var err error
	if t.Backends, err = route.NewWeighted(choices); err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if m.MaxConnectAttempts != nil {
		t.Retries = max(int(*m.MaxConnectAttempts)-1, 0)
	}
	if m.IdleTimeout != nil {
		t.IdleTimeout = *m.IdleTimeout
	}
	if len(m.HashPolicy) > 0 {
		return nil, fmt.Errorf("hash_policy: Leno does not balance TCP by hash yet")
	}
	if tc := m.TunnelingConfig; tc != nil {
		switch {
		case tc.Hostname == "":
			return nil, fmt.Errorf("tunneling_config.hostname: is missing")
		case strings.Contains(tc.Hostname, "%"):
			return nil, fmt.Errorf("tunneling_config.hostname: Leno does not support format strings here")
		case tc.UsePost:
			return nil, fmt.Errorf("tunneling_config.use_post: Leno tunnels by CONNECT only")
		case len(tc.HeadersToAdd) > 0:
			return nil, fmt.Errorf("tunneling_config.headers_to_add: Leno adds no headers to CONNECT")
		}
		t.Tunnel = tc.Hostname
	}
	return t, nil
}

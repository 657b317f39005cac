package plan

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/leno-mesh/leno/xds/wire"
)

func (b *builder) http(m *wire.HttpConnectionManager) (*HTTP, error) {
	h := &HTTP{
		ServerName:    m.ServerName,
		SkipXFFAppend: m.SkipXffAppend,
		RequestID:     m.GenerateRequestId == nil || *m.GenerateRequestId,
		KeepRequestID: m.PreserveExternalRequestId,
		NormalizePath: m.NormalizePath != nil && *m.NormalizePath,
		MergeSlashes:  m.MergeSlashes,
		StripPort:     m.StripAnyHostPort != nil && *m.StripAnyHostPort,
	}
	h.UseRemoteAddress = m.UseRemoteAddress != nil && *m.UseRemoteAddress
	switch m.CodecType {
	case wire.HttpConnectionManager_AUTO:
	case wire.HttpConnectionManager_HTTP1:
		h.Codec = CodecHTTP1
	case wire.HttpConnectionManager_HTTP2:
		h.Codec = CodecHTTP2
	default:
		return nil, fmt.Errorf("codec_type: Leno speaks HTTP/1.1 and HTTP/2")
	}
	if err := h.refuse(m); err != nil {
		return nil, err
	}
	if err := h.limits(m); err != nil {
		return nil, err
	}
	switch m.ForwardClientCertDetails {
	case wire.HttpConnectionManager_SANITIZE:
		h.XFCC = XFCCSanitize
	case wire.HttpConnectionManager_FORWARD_ONLY:
		h.XFCC = XFCCForwardOnly
	case wire.HttpConnectionManager_APPEND_FORWARD:
		h.XFCC = XFCCAppendForward
	case wire.HttpConnectionManager_SANITIZE_SET:
		h.XFCC = XFCCSanitizeSet
	case wire.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
		h.XFCC = XFCCAlwaysForwardOnly
	}
	for i, u := range m.UpgradeConfigs {
		if u.Enabled != nil && !*u.Enabled {
			continue
		}
		if !strings.EqualFold(u.UpgradeType, "CONNECT") {
			if u.UpgradeType == "" || strings.EqualFold(u.UpgradeType, "h2c") {
				return nil, fmt.Errorf("upgrade_configs[%d].upgrade_type: %q cannot be upgraded to", i, u.UpgradeType)
			}
			h.Upgrades = append(h.Upgrades, strings.ToLower(u.UpgradeType))
		}
	}
	if err := b.httpFilters(h, m.HttpFilters); err != nil {
		return nil, err
	}
	switch {
	case m.Rds != nil:
		if m.Rds.RouteConfigName == "" {
			return nil, fmt.Errorf("rds.route_config_name: is missing")
		}
		if err := onlyADS(m.Rds.ConfigSource); err != nil {
			return nil, fmt.Errorf("rds.config_source: %w", err)
		}
		h.Routes = m.Rds.RouteConfigName
	case m.RouteConfig != nil:
		c, err := b.routeConfig(m.RouteConfig.Name, m.RouteConfig)
		if err != nil {
			return nil, fmt.Errorf("route_config.%w", err)
		}
		h.Inline = c
	default:
		return nil, fmt.Errorf("route_config: neither it nor rds is set")
	}
	return h, nil
}

// refuse names the settings that Leno would have to pass over.
func (h *HTTP) refuse(m *wire.HttpConnectionManager) error {
	switch {
	case m.Via != "":
		return fmt.Errorf("via: Leno does not add this field yet")
	case m.XffNumTrustedHops != 0:
		return fmt.Errorf("xff_num_trusted_hops: Leno trusts no hop before it yet")
	case m.RequestTimeout != nil && *m.RequestTimeout != 0:
		return fmt.Errorf("request_timeout: Leno does not bound whole requests yet; request_headers_timeout and stream_idle_timeout are supported")
	case m.PathWithEscapedSlashesAction >= wire.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		return fmt.Errorf("path_with_escaped_slashes_action: Leno refuses escaped slashes (REJECT_REQUEST) or keeps them")
	case m.PathWithEscapedSlashesAction == wire.HttpConnectionManager_REJECT_REQUEST && !h.NormalizePath:
		return fmt.Errorf("path_with_escaped_slashes_action: REJECT_REQUEST needs normalize_path")
	case m.PathWithEscapedSlashesAction == wire.HttpConnectionManager_KEEP_UNCHANGED && h.NormalizePath:
		return fmt.Errorf("path_with_escaped_slashes_action: normalize_path refuses escaped slashes, they cannot be kept")
	}
	if d := m.SetCurrentClientCertDetails; d != nil {
		if d.Subject != nil && *d.Subject || d.Cert || d.Dns || d.Chain {
			return fmt.Errorf("set_current_client_cert_details: Leno writes Hash and URI only")
		}
	}
	switch m.ServerHeaderTransformation {
	case wire.HttpConnectionManager_OVERWRITE:
	case wire.HttpConnectionManager_PASS_THROUGH:
		h.ServerName = ""
	default:
		return fmt.Errorf("server_header_transformation: OVERWRITE and PASS_THROUGH are supported")
	}
	return nil
}

func (h *HTTP) limits(m *wire.HttpConnectionManager) error {
	l := &h.Limits
	if m.StreamIdleTimeout != nil {
		l.StreamIdleTimeout = bound(*m.StreamIdleTimeout)
	}
	if d := m.RequestHeadersTimeout; d != nil && *d > 0 {
		l.HeadTimeout = *d // 0 leaves Leno's own: heads are never awaited for ever
	}
	if m.MaxRequestHeadersKb != nil {
		if *m.MaxRequestHeadersKb > 62 {
			return fmt.Errorf("max_request_headers_kb: Leno's largest head is 62 KiB")
		}
		l.HeadBytes = int(*m.MaxRequestHeadersKb) << 10
	}
	if c := m.CommonHttpProtocolOptions; c != nil {
		switch {
		case c.MaxConnectionDuration != nil:
			return fmt.Errorf("common_http_protocol_options.max_connection_duration: Leno does not bound it yet")
		case c.MaxStreamDuration != nil:
			return fmt.Errorf("common_http_protocol_options.max_stream_duration: Leno does not bound it yet; a route's timeout is supported")
		case c.MaxRequestsPerConnection != nil:
			return fmt.Errorf("common_http_protocol_options.max_requests_per_connection: Leno does not bound it yet")
		case c.HeadersWithUnderscoresAction == wire.CommonHttpProtocolOptions_REJECT_REQUEST:
			return fmt.Errorf("common_http_protocol_options.headers_with_underscores_action: Leno drops such headers (DROP_HEADER)")
		}
		if c.IdleTimeout != nil {
			l.IdleTimeout = bound(*c.IdleTimeout)
		}
		if c.MaxHeadersCount != nil {
			l.Fields = int(*c.MaxHeadersCount)
		}
	}
	if o := m.HttpProtocolOptions; o != nil {
		if o.AllowAbsoluteUrl != nil && !*o.AllowAbsoluteUrl {
			return fmt.Errorf("http_protocol_options.allow_absolute_url: Leno accepts them always, as HTTP demands")
		}
		h.AcceptHTTP10 = o.AcceptHttp_10
		if o.DefaultHostForHttp_10 != "" {
			return fmt.Errorf("http_protocol_options.default_host_for_http_10: Leno demands a host")
		}
	}
	if o := m.Http2ProtocolOptions; o != nil {
		http2Limits(o, &l.Streams, &l.StreamWindow, &l.ConnWindow)
	}
	return nil
}

// unbounded stands for the 0 by which Envoy turns a timeout off.
const unbounded = 100 * 365 * 24 * time.Hour

func bound(d time.Duration) time.Duration {
	if d <= 0 {
		return unbounded
	}
	return d
}

// onlyADS refuses sources that Leno does not read from.
func onlyADS(c *wire.ConfigSource) error {
	if c == nil || c.Ads == nil {
		return errors.New("must be ads: Leno follows one ADS stream")
	}
	return nil
}

func http2Limits(o *wire.Http2ProtocolOptions, streams, window, connection *int) {
	if o.MaxConcurrentStreams != nil {
		*streams = int(min(*o.MaxConcurrentStreams, 1<<16))
	}
	if o.InitialStreamWindowSize != nil {
		*window = int(min(*o.InitialStreamWindowSize, 1<<30))
	}
	if o.InitialConnectionWindowSize != nil {
		*connection = int(min(*o.InitialConnectionWindowSize, 1<<30))
	}
}

func (b *builder) httpFilters(h *HTTP, filters []*wire.HttpFilter) error {
	routed := false
	for i, f := range filters {
		if routed {
			return fmt.Errorf("http_filters[%d]: comes after the router, which must be the last filter", i)
		}
		if f.TypedConfig == nil {
			return fmt.Errorf("http_filters[%d].typed_config: is missing", i)
		}
		switch m := f.TypedConfig.Message.(type) {
		case *wire.Router:
			routed = true
		case *wire.HttpRBAC:
			chain, err := b.rbac(m.Rules, m.ShadowRules, f.Name)
			if err != nil {
				return fmt.Errorf("http_filters[%d].%w", i, err)
			}
			h.Policy = append(h.Policy, chain...)
			h.PolicyNames = append(h.PolicyNames, f.Name)
		default:
			return fmt.Errorf("http_filters[%d]: Leno does not support the HTTP filter %s", i, f.Name)
		}
	}
	if !routed {
		return fmt.Errorf("http_filters: the last one must be the router (envoy.filters.http.router)")
	}
	if n := h.PolicyNames; len(slices.Compact(slices.Sorted(slices.Values(n)))) != len(n) {
		return fmt.Errorf("http_filters: two filters have the same name")
	}
	return nil
}

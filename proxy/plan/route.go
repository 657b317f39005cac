package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/match"
	"github.com/leno-mesh/leno/proxy/route"
	"github.com/leno-mesh/leno/xds/wire"
)

func (b *builder) routeConfig(name string, w *wire.RouteConfiguration) (*RouteConfig, error) {
	outer, err := edits(w.RequestHeadersToAdd, w.RequestHeadersToRemove, w.ResponseHeadersToAdd, w.ResponseHeadersToRemove)
	if err != nil {
		return nil, err
	}
	config := route.Config[*Route]{}
	for i, v := range w.VirtualHosts {
		h, err := b.virtualHost(v, outer)
		if err != nil {
			return nil, fmt.Errorf("virtual_hosts[%d].%w", i, err)
		}
		config.Hosts = append(config.Hosts, h)
	}
	table, err := route.Build(config)
	if err != nil {
		return nil, fmt.Errorf("virtual_hosts: %w", err)
	}
	return &RouteConfig{Name: name, Table: table, Clusters: clustersOf(config), source: w}, nil
}

func clustersOf(c route.Config[*Route]) []string {
	var names []string
	for _, h := range c.Hosts {
		for _, r := range h.Routes {
			if r.Value.Backends == nil {
				continue
			}
			for _, b := range r.Value.Backends.Values() {
				names = append(names, b.Cluster)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (b *builder) virtualHost(v *wire.VirtualHost, outer Edits) (route.Host[*Route], error) {
	h := route.Host[*Route]{Name: v.Name, Domains: v.Domains}
	own, err := edits(v.RequestHeadersToAdd, v.RequestHeadersToRemove, v.ResponseHeadersToAdd, v.ResponseHeadersToRemove)
	if err != nil {
		return h, err
	}
	outer = own.then(outer)
	for i, w := range v.Routes {
		if w.Match == nil {
			return h, fmt.Errorf("routes[%d].match: is missing", i)
		}
		m, err := routeMatch(w.Match)
		if err != nil {
			return h, fmt.Errorf("routes[%d].match.%w", i, err)
		}
		r, err := b.route(w, outer)
		if err != nil {
			return h, fmt.Errorf("routes[%d].%w", i, err)
		}
		r.matchedPrefix = m.Prefix + m.PathSeparatedPrefix + m.Path
		if r.matchedPrefix == "" && (r.PrefixRewrite != "" || r.Redirect != nil && r.Redirect.Prefix != "") {
			return h, fmt.Errorf("routes[%d].match: has no prefix or path that prefix_rewrite could replace", i)
		}
		h.Routes = append(h.Routes, route.Route[*Route]{Name: w.Name, Match: m, Value: r})
	}
	return h, nil
}

func routeMatch(w *wire.RouteMatch) (route.Match, error) {
	m := route.Match{CaseSensitive: w.CaseSensitive, GRPC: w.Grpc != nil, Connect: w.ConnectMatcher != nil}
	switch {
	case w.Prefix != nil:
		m.Prefix = *w.Prefix
	case w.Path != nil:
		m.Path = *w.Path
	case w.PathSeparatedPrefix != nil:
		m.PathSeparatedPrefix = *w.PathSeparatedPrefix
	case w.SafeRegex != nil:
		m.Regex = w.SafeRegex.Regex
	case w.ConnectMatcher != nil:
	default:
		return m, fmt.Errorf("prefix: no path condition is set")
	}
	if w.Prefix == nil && w.ConnectMatcher == nil && m.Path+m.PathSeparatedPrefix+m.Regex == "" {
		return m, fmt.Errorf("path: the path condition is empty, which would match everything; write prefix \"/\" for that")
	}
	for i, hm := range w.Headers {
		r, err := headerRule(hm)
		if err != nil {
			return m, fmt.Errorf("headers[%d].%w", i, err)
		}
		m.Headers = append(m.Headers, r)
	}
	for i, q := range w.QueryParameters {
		qm := route.QueryMatch{Name: q.Name}
		switch {
		case q.StringMatch != nil:
			r, err := stringRule(q.StringMatch)
			if err != nil {
				return m, fmt.Errorf("query_parameters[%d].string_match.%w", i, err)
			}
			qm.Rule = r
		case q.PresentMatch != nil && !*q.PresentMatch:
			return m, fmt.Errorf("query_parameters[%d].present_match: Leno does not match absence", i)
		default:
			qm.Present = true
		}
		m.Query = append(m.Query, qm)
	}
	if f := w.RuntimeFraction; f != nil && f.DefaultValue != nil {
		per := map[wire.FractionalPercent_DenominatorType]uint32{
			wire.FractionalPercent_HUNDRED: 100, wire.FractionalPercent_TEN_THOUSAND: 10_000, wire.FractionalPercent_MILLION: 1_000_000,
		}[f.DefaultValue.Denominator]
		m.Fraction = &route.Fraction{Numerator: f.DefaultValue.Numerator, Denominator: per}
	}
	return m, nil
}

func stringRule(w *wire.StringMatcher) (match.Rule, error) {
	r := match.Rule{IgnoreCase: w.IgnoreCase}
	switch {
	case w.Exact != nil:
		r.Op, r.Value = match.Exact, *w.Exact
	case w.Prefix != nil:
		r.Op, r.Value = match.Prefix, *w.Prefix
	case w.Suffix != nil:
		r.Op, r.Value = match.Suffix, *w.Suffix
	case w.Contains != nil:
		r.Op, r.Value = match.Contains, *w.Contains
	case w.SafeRegex != nil:
		r.Op, r.Value = match.Regex, w.SafeRegex.Regex
	default:
		return r, fmt.Errorf("exact: no comparison is set")
	}
	return r, nil
}

func headerRule(w *wire.HeaderMatcher) (match.HeaderRule, error) {
	r := match.HeaderRule{Name: strings.ToLower(w.Name), Invert: w.InvertMatch, MissingAsEmpty: w.TreatMissingHeaderAsEmpty}
	switch {
	case w.StringMatch != nil:
		s, err := stringRule(w.StringMatch)
		if err != nil {
			return r, fmt.Errorf("string_match.%w", err)
		}
		r.Op, r.Value, r.IgnoreCase = s.Op, s.Value, s.IgnoreCase
	case w.ExactMatch != nil && *w.ExactMatch == "":
		r.Op = match.Present // what Envoy's legacy field means
	case w.ExactMatch != nil:
		r.Op, r.Value = match.Exact, *w.ExactMatch
	case w.PrefixMatch != nil:
		r.Op, r.Value = match.Prefix, *w.PrefixMatch
	case w.SuffixMatch != nil:
		r.Op, r.Value = match.Suffix, *w.SuffixMatch
	case w.ContainsMatch != nil:
		r.Op, r.Value = match.Contains, *w.ContainsMatch
	case w.SafeRegexMatch != nil:
		r.Op, r.Value = match.Regex, w.SafeRegexMatch.Regex
	case w.RangeMatch != nil:
		r.Op, r.From, r.To = match.Range, w.RangeMatch.Start, w.RangeMatch.End
	default:
		r.Op = match.Present
		r.Absent = w.PresentMatch != nil && !*w.PresentMatch
	}
	return r, nil
}

func (b *builder) route(w *wire.Route, outer Edits) (*Route, error) {
	r := &Route{Name: w.Name}
	own, err := edits(w.RequestHeadersToAdd, w.RequestHeadersToRemove, w.ResponseHeadersToAdd, w.ResponseHeadersToRemove)
	if err != nil {
		return nil, err
	}
	r.Edit = own.then(outer)
	if len(w.TypedPerFilterConfig) > 0 {
		return nil, fmt.Errorf("typed_per_filter_config: Leno does not override filters by route yet")
	}
	switch {
	case w.Route != nil:
		if err := r.action(w.Route); err != nil {
			return nil, fmt.Errorf("route.%w", err)
		}
	case w.Redirect != nil:
		if r.Redirect, err = redirect(w.Redirect); err != nil {
			return nil, fmt.Errorf("redirect.%w", err)
		}
	case w.DirectResponse != nil:
		d := w.DirectResponse
		if d.Status < 200 || d.Status > 599 {
			return nil, fmt.Errorf("direct_response.status: %d is none of 200 to 599", d.Status)
		}
		if d.Body != nil && (d.Status == 204 || d.Status == 304) {
			return nil, fmt.Errorf("direct_response.body: an answer with status %d has none", d.Status)
		}
		r.Direct = &Direct{Status: int(d.Status)}
		if d.Body != nil {
			if r.Direct.Body, err = b.data(d.Body); err != nil {
				return nil, fmt.Errorf("direct_response.body: %w", err)
			}
		}
	default:
		return nil, fmt.Errorf("route: neither it nor redirect nor direct_response is set")
	}
	return r, nil
}

// defaultRetries is how often a request that was provably not processed is
// repeated where no retry policy is given.
const defaultRetries = 1

func (r *Route) action(w *wire.RouteAction) error {
	var choices []route.Choice[*Backend]
	switch {
	case w.Cluster != nil:
		choices = []route.Choice[*Backend]{{Weight: 1, Value: &Backend{Cluster: *w.Cluster}}}
	case w.WeightedClusters != nil:
		for i, c := range w.WeightedClusters.Clusters {
			e, err := edits(c.RequestHeadersToAdd, c.RequestHeadersToRemove, c.ResponseHeadersToAdd, c.ResponseHeadersToRemove)
			if err != nil {
				return fmt.Errorf("weighted_clusters.clusters[%d].%w", i, err)
			}
			weight := uint32(0)
			if c.Weight != nil {
				weight = *c.Weight
			}
			choices = append(choices, route.Choice[*Backend]{Weight: weight, Value: &Backend{Cluster: c.Name, Edit: e}})
		}
	}
	var err error
	if r.Backends, err = route.NewWeighted(choices); err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	switch {
	case w.AutoHostRewrite != nil && *w.AutoHostRewrite:
		return fmt.Errorf("auto_host_rewrite: Leno does not rewrite the host to the endpoint's name yet")
	case w.RegexRewrite != nil && w.PrefixRewrite != "":
		return fmt.Errorf("regex_rewrite: prefix_rewrite is set too")
	case len(w.HashPolicy) > 0:
		return fmt.Errorf("hash_policy: Leno does not balance by hash yet")
	case len(w.RequestMirrorPolicies) > 0:
		return fmt.Errorf("request_mirror_policies: Leno does not mirror yet")
	case w.MaxStreamDuration != nil:
		return fmt.Errorf("max_stream_duration: Leno does not bound it yet; timeout is supported")
	case w.IdleTimeout != nil:
		return fmt.Errorf("idle_timeout: Leno takes the connection manager's stream_idle_timeout for all routes")
	}
	if r.PathRewrite, err = substitution(w.RegexRewrite); err != nil {
		return fmt.Errorf("regex_rewrite.%w", err)
	}
	if r.PrefixRewrite = w.PrefixRewrite; r.PrefixRewrite != "" && !http.ValidPath([]byte(r.PrefixRewrite)) {
		return fmt.Errorf("prefix_rewrite: %q is no path", r.PrefixRewrite)
	}
	if h := w.HostRewriteLiteral; h != nil && *h != "" {
		if r.HostRewrite = strings.ToLower(*h); !http.ValidAuthority([]byte(r.HostRewrite)) {
			return fmt.Errorf("host_rewrite_literal: %q is no host", *h)
		}
	}
	switch w.ClusterNotFoundResponseCode {
	case wire.RouteAction_NOT_FOUND:
		r.NotFound = 404
	case wire.RouteAction_INTERNAL_SERVER_ERROR:
		r.NotFound = 500
	default:
		r.NotFound = 503
	}
	r.Timeout = envoyRouteTimeout
	if w.Timeout != nil {
		r.Timeout = *w.Timeout
	}
	for i, u := range w.UpgradeConfigs {
		if u.Enabled != nil && !*u.Enabled {
			continue
		}
		switch kind := strings.ToLower(u.UpgradeType); kind {
		case "connect":
			if u.ConnectConfig == nil {
				return fmt.Errorf("upgrade_configs[%d].connect_config: Leno ends CONNECT here and passes none on; connect_config says that", i)
			}
			r.Connect = true
		case "", "h2c":
			return fmt.Errorf("upgrade_configs[%d].upgrade_type: %q cannot be upgraded to", i, u.UpgradeType)
		default:
			r.Upgrades = append(r.Upgrades, kind)
		}
	}
	return r.retry(w.RetryPolicy)
}

func (r *Route) retry(w *wire.RetryPolicy) error {
	if w == nil {
		r.Retry.Attempts = defaultRetries
		return nil
	}
	r.Retry.Attempts = 1
	if w.NumRetries != nil {
		r.Retry.Attempts = int(min(*w.NumRetries, 10))
	}
	switch {
	case w.PerTryTimeout != nil && *w.PerTryTimeout != 0:
		return fmt.Errorf("retry_policy.per_try_timeout: Leno bounds the whole exchange only; use timeout")
	case w.RetryBackOff != nil:
		return fmt.Errorf("retry_policy.retry_back_off: Leno asks another endpoint at once")
	}
	for word := range strings.SplitSeq(w.RetryOn, ",") {
		switch word = strings.TrimSpace(word); word {
		case "", "connect-failure", "refused-stream":
		case "reset", "reset-before-request":
			r.Retry.Reset = true
		case "gateway-error":
			r.Retry.Reset = true
			r.Retry.Codes = append(r.Retry.Codes, 502, 503, 504)
		case "retriable-status-codes":
			for _, c := range w.RetriableStatusCodes {
				r.Retry.Codes = append(r.Retry.Codes, int(c))
			}
		default:
			return fmt.Errorf("retry_policy.retry_on: Leno does not retry on %s; it retries on connect-failure, refused-stream, reset, reset-before-request, gateway-error and retriable-status-codes", word)
		}
	}
	return nil
}

// envoyRouteTimeout is Envoy's default for RouteAction.timeout.
const envoyRouteTimeout = 15e9

func redirect(w *wire.RedirectAction) (*Redirect, error) {
	d := &Redirect{Host: w.HostRedirect, Port: int(w.PortRedirect), DropQuery: w.StripQuery}
	d.Status = map[wire.RedirectAction_RedirectResponseCode]int{
		wire.RedirectAction_MOVED_PERMANENTLY: 301, wire.RedirectAction_FOUND: 302, wire.RedirectAction_SEE_OTHER: 303,
		wire.RedirectAction_TEMPORARY_REDIRECT: 307, wire.RedirectAction_PERMANENT_REDIRECT: 308,
	}[w.ResponseCode]
	var err error
	if d.Rewrite, err = substitution(w.RegexRewrite); err != nil {
		return nil, fmt.Errorf("regex_rewrite.%w", err)
	}
	if w.PathRedirect != nil {
		if d.Path = *w.PathRedirect; !http.ValidPath([]byte(d.Path)) {
			return nil, fmt.Errorf("path_redirect: %q is no path", d.Path)
		}
	}
	if w.PrefixRewrite != nil {
		if d.Prefix = *w.PrefixRewrite; d.Prefix != "" && !http.ValidPath([]byte(d.Prefix)) {
			return nil, fmt.Errorf("prefix_rewrite: %q is no path", d.Prefix)
		}
	}
	switch {
	case d.Host != "" && !http.ValidAuthority([]byte(strings.ToLower(d.Host))):
		return nil, fmt.Errorf("host_redirect: %q is no host", d.Host)
	case d.Port > 65535:
		return nil, fmt.Errorf("port_redirect: %d is no port", d.Port)
	case d.Status == 0:
		return nil, fmt.Errorf("response_code: is unknown")
	}
	if w.HttpsRedirect != nil {
		d.HTTPS = *w.HttpsRedirect
	}
	if w.SchemeRedirect != nil {
		if d.Scheme = *w.SchemeRedirect; d.Scheme != "http" && d.Scheme != "https" {
			return nil, fmt.Errorf("scheme_redirect: %q is neither http nor https", d.Scheme)
		}
	}
	return d, nil
}

package generate

import (
	"regexp"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

func matchHTTP(m *gateway.HTTPRouteMatch) rankedRoute {
	out := rankedRoute{headers: len(m.Headers), query: len(m.QueryParams), route: &route.Route{Match: &route.RouteMatch{}}}
	to := out.route.Match
	kind, path := gateway.PathMatchPathPrefix, "/"
	if m.Path != nil {
		if m.Path.Type != nil {
			kind = *m.Path.Type
		}
		if m.Path.Value != nil {
			path = *m.Path.Value
		}
	}
	out.length = len(path)
	switch kind {
	case gateway.PathMatchExact:
		out.path = 3
		to.PathSpecifier = &route.RouteMatch_Path{Path: path}
	case gateway.PathMatchRegularExpression:
		out.path = 2
		to.PathSpecifier = &route.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: path}}
	default:
		out.path = 1
		out.length = len(strings.TrimRight(path, "/"))
		prefix(to, path)
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		to.Headers = append(to.Headers, header(string(h.Name), h.Value, h.Type != nil && *h.Type == gateway.HeaderMatchRegularExpression))
	}
	if m.Method != nil {
		out.method = 1
		to.Headers = append(to.Headers, header(":method", string(*m.Method), false))
	}
	for i := range m.QueryParams {
		q := &m.QueryParams[i]
		to.QueryParameters = append(to.QueryParameters, &route.QueryParameterMatcher{
			Name: string(q.Name),
			QueryParameterMatchSpecifier: &route.QueryParameterMatcher_StringMatch{
				StringMatch: text(q.Value, q.Type != nil && *q.Type == gateway.QueryParamMatchRegularExpression),
			},
		})
	}
	return out
}

// prefix matches whole segments, as the Gateway API's PathPrefix does: /shop
// and /shop/ both match /shop and /shop/cart, and not /shopping.
func prefix(to *route.RouteMatch, path string) {
	if trimmed := strings.TrimRight(path, "/"); trimmed != "" {
		to.PathSpecifier = &route.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: trimmed}
		return
	}
	to.PathSpecifier = &route.RouteMatch_Prefix{Prefix: "/"}
}

func header(name, value string, regular bool) *route.HeaderMatcher {
	return &route.HeaderMatcher{
		Name: strings.ToLower(name), HeaderMatchSpecifier: &route.HeaderMatcher_StringMatch{StringMatch: text(value, regular)},
	}
}

func text(value string, regular bool) *matcher.StringMatcher {
	if regular {
		return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: value}}}
	}
	return exact(value)
}

// matchGRPC maps services and methods to paths /SERVICE/METHOD.
func matchGRPC(m *gateway.GRPCRouteMatch) rankedRoute {
	out := rankedRoute{headers: len(m.Headers), route: &route.Route{Match: &route.RouteMatch{}}}
	to := out.route.Match
	var service, method string
	regular := false
	if m.Method != nil {
		if m.Method.Service != nil {
			service = *m.Method.Service
		}
		if m.Method.Method != nil {
			method = *m.Method.Method
		}
		regular = m.Method.Type != nil && *m.Method.Type == gateway.GRPCMethodMatchRegularExpression
	}
	out.length, out.method = len(service), len(method)
	switch {
	case service == "" && method == "":
		to.PathSpecifier = &route.RouteMatch_Prefix{Prefix: "/"}
	case service != "" && method != "" && !regular:
		to.PathSpecifier = &route.RouteMatch_Path{Path: "/" + service + "/" + method}
	case service != "" && method == "" && !regular:
		to.PathSpecifier = &route.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: "/" + service}
	default:
		to.PathSpecifier = &route.RouteMatch_SafeRegex{SafeRegex: &matcher.RegexMatcher{
			Regex: "/" + part(service, regular) + "/" + part(method, regular),
		}}
	}
	for i := range m.Headers {
		h := &m.Headers[i]
		to.Headers = append(to.Headers, header(string(h.Name), h.Value, h.Type != nil && *h.Type == gateway.GRPCHeaderMatchRegularExpression))
	}
	return out
}

// part is a path segment of a regular expression.
func part(s string, regular bool) string {
	switch {
	case s == "":
		return "[^/]+"
	case regular:
		return "(?:" + s + ")"
	}
	return regexp.QuoteMeta(s)
}

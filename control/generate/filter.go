package generate

import (
	"regexp"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

// applyFilters adds a rule's filters to its route. It returns false for a
// filter that cannot be expressed.
func applyFilters(to *route.Route, filters []gateway.HTTPRouteFilter, match *gateway.HTTPRouteMatch) bool {
	for i := range filters {
		f := &filters[i]
		switch {
		case f.RequestHeaderModifier != nil:
			to.RequestHeadersToAdd, to.RequestHeadersToRemove = headerEdits(f.RequestHeaderModifier)
		case f.ResponseHeaderModifier != nil:
			to.ResponseHeadersToAdd, to.ResponseHeadersToRemove = headerEdits(f.ResponseHeaderModifier)
		case f.RequestRedirect != nil:
			to.Action = redirect(f.RequestRedirect, match)
		case f.URLRewrite != nil:
			if action := to.GetRoute(); action != nil {
				rewrite(action, f.URLRewrite, match)
			}
		default:
			return false
		}
	}
	return true
}

func asHTTPFilter(f *gateway.GRPCRouteFilter) gateway.HTTPRouteFilter {
	return gateway.HTTPRouteFilter{RequestHeaderModifier: f.RequestHeaderModifier, ResponseHeaderModifier: f.ResponseHeaderModifier}
}

func headerEdits(f *gateway.HTTPHeaderFilter) (add []*core.HeaderValueOption, remove []string) {
	option := func(h *gateway.HTTPHeader, action core.HeaderValueOption_HeaderAppendAction) {
		add = append(add, &core.HeaderValueOption{
			Header: &core.HeaderValue{Key: string(h.Name), Value: h.Value}, AppendAction: action,
		})
	}
	for i := range f.Set {
		option(&f.Set[i], core.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	}
	for i := range f.Add {
		option(&f.Add[i], core.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
	return add, f.Remove
}

func redirect(f *gateway.HTTPRequestRedirectFilter, match *gateway.HTTPRouteMatch) *route.Route_Redirect {
	to := &route.RedirectAction{ResponseCode: route.RedirectAction_FOUND}
	if f.StatusCode != nil {
		switch *f.StatusCode {
		case 301:
			to.ResponseCode = route.RedirectAction_MOVED_PERMANENTLY
		case 303:
			to.ResponseCode = route.RedirectAction_SEE_OTHER
		case 307:
			to.ResponseCode = route.RedirectAction_TEMPORARY_REDIRECT
		case 308:
			to.ResponseCode = route.RedirectAction_PERMANENT_REDIRECT
		}
	}
	if f.Scheme != nil {
		to.SchemeRewriteSpecifier = &route.RedirectAction_SchemeRedirect{SchemeRedirect: *f.Scheme}
	}
	if f.Hostname != nil {
		to.HostRedirect = string(*f.Hostname)
	}
	if f.Port != nil {
		to.PortRedirect = uint32(*f.Port)
	}
	if f.Path != nil {
		switch {
		case f.Path.ReplaceFullPath != nil:
			to.PathRewriteSpecifier = &route.RedirectAction_PathRedirect{PathRedirect: *f.Path.ReplaceFullPath}
		case f.Path.ReplacePrefixMatch != nil && replacesWithRoot(*f.Path.ReplacePrefixMatch, match):
			to.PathRewriteSpecifier = &route.RedirectAction_RegexRewrite{RegexRewrite: toRoot(match)}
		case f.Path.ReplacePrefixMatch != nil:
			to.PathRewriteSpecifier = &route.RedirectAction_PrefixRewrite{PrefixRewrite: *f.Path.ReplacePrefixMatch}
		}
	}
	return &route.Route_Redirect{Redirect: to}
}

func rewrite(action *route.RouteAction, f *gateway.HTTPURLRewriteFilter, match *gateway.HTTPRouteMatch) {
	if f.Hostname != nil {
		action.HostRewriteSpecifier = &route.RouteAction_HostRewriteLiteral{HostRewriteLiteral: string(*f.Hostname)}
	}
	if f.Path == nil {
		return
	}
	switch {
	case f.Path.ReplaceFullPath != nil:
		action.RegexRewrite = &matcher.RegexMatchAndSubstitute{
			Pattern: &matcher.RegexMatcher{Regex: "^/.*$"}, Substitution: literal(*f.Path.ReplaceFullPath),
		}
	case f.Path.ReplacePrefixMatch != nil && replacesWithRoot(*f.Path.ReplacePrefixMatch, match):
		action.RegexRewrite = toRoot(match)
	case f.Path.ReplacePrefixMatch != nil:
		action.PrefixRewrite = strings.TrimRight(*f.Path.ReplacePrefixMatch, "/")
		if matchedPrefix(match) == "" {
			action.PrefixRewrite += "/" // the match took the slash
		}
	}
}

// literal quotes what a substitution would read as a group.
func literal(s string) string { return strings.ReplaceAll(s, `\`, `\\`) }

func matchedPrefix(match *gateway.HTTPRouteMatch) string {
	if match.Path == nil || match.Path.Value == nil {
		return ""
	}
	return strings.TrimRight(*match.Path.Value, "/")
}

// replacesWithRoot: /shop/cart with /shop replaced by / is /cart, but replacing
// the prefix's bytes would leave //cart or, for /shop alone, nothing.
func replacesWithRoot(replacement string, match *gateway.HTTPRouteMatch) bool {
	return strings.TrimRight(replacement, "/") == "" && matchedPrefix(match) != ""
}

func toRoot(match *gateway.HTTPRouteMatch) *matcher.RegexMatchAndSubstitute {
	quoted := regexp.QuoteMeta(matchedPrefix(match))
	return &matcher.RegexMatchAndSubstitute{
		Pattern: &matcher.RegexMatcher{Regex: "^" + quoted + `(?:/|$)`}, Substitution: "/",
	}
}

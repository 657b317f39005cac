package api

import (
	"fmt"
	"strings"

	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

func (c *checker) httpFilters(rule string, r *gateway.HTTPRouteRule) {
	seen := make(map[gateway.HTTPRouteFilterType]bool)
	for i := range r.Filters {
		f, path := &r.Filters[i], fmt.Sprintf("%s.filters[%d]", rule, i)
		if seen[f.Type] {
			c.fail(path+".type", "%s is given twice", f.Type)
		}
		seen[f.Type] = true
		c.httpFilter(path, f)
	}
	if seen[gateway.HTTPRouteFilterRequestRedirect] && len(r.BackendRefs) > 0 {
		c.fail(rule+".backendRefs", "a rule that redirects has no backends")
	}
	if seen[gateway.HTTPRouteFilterRequestRedirect] && seen[gateway.HTTPRouteFilterURLRewrite] {
		c.fail(rule+".filters", "a rule redirects or rewrites, not both")
	}
	for i := range r.Filters {
		if prefixModified(&r.Filters[i]) && !allPrefixes(r.Matches) {
			c.fail(fmt.Sprintf("%s.filters[%d]", rule, i), "ReplacePrefixMatch needs matches of type PathPrefix only")
		}
	}
}

func prefixModified(f *gateway.HTTPRouteFilter) bool {
	return f.URLRewrite != nil && f.URLRewrite.Path != nil && f.URLRewrite.Path.Type == gateway.PrefixMatchHTTPPathModifier ||
		f.RequestRedirect != nil && f.RequestRedirect.Path != nil && f.RequestRedirect.Path.Type == gateway.PrefixMatchHTTPPathModifier
}

func allPrefixes(matches []gateway.HTTPRouteMatch) bool {
	for i := range matches {
		if *matches[i].Path.Type != gateway.PathMatchPathPrefix {
			return false
		}
	}
	return true
}

func (c *checker) httpFilter(path string, f *gateway.HTTPRouteFilter) {
	bodies := []struct {
		kind gateway.HTTPRouteFilterType
		name string
		set  bool
	}{
		{gateway.HTTPRouteFilterRequestHeaderModifier, "requestHeaderModifier", f.RequestHeaderModifier != nil},
		{gateway.HTTPRouteFilterResponseHeaderModifier, "responseHeaderModifier", f.ResponseHeaderModifier != nil},
		{gateway.HTTPRouteFilterRequestRedirect, "requestRedirect", f.RequestRedirect != nil},
		{gateway.HTTPRouteFilterURLRewrite, "urlRewrite", f.URLRewrite != nil},
		{gateway.HTTPRouteFilterRequestMirror, "requestMirror", f.RequestMirror != nil},
		{gateway.HTTPRouteFilterCORS, "cors", f.CORS != nil},
		{gateway.HTTPRouteFilterExternalAuth, "externalAuth", f.ExternalAuth != nil},
		{gateway.HTTPRouteFilterExtensionRef, "extensionRef", f.ExtensionRef != nil},
	}
	known := false
	for _, b := range bodies {
		known = known || b.kind == f.Type
		switch {
		case b.kind == f.Type && !b.set:
			c.fail(path+"."+b.name, "required for the type %s", f.Type)
		case b.kind != f.Type && b.set:
			c.fail(path+"."+b.name, "the type is %q", f.Type)
		}
	}
	switch f.Type {
	case gateway.HTTPRouteFilterRequestHeaderModifier:
		c.headerEdits(path+".requestHeaderModifier", f.RequestHeaderModifier)
	case gateway.HTTPRouteFilterResponseHeaderModifier:
		c.headerEdits(path+".responseHeaderModifier", f.ResponseHeaderModifier)
	case gateway.HTTPRouteFilterRequestRedirect:
		c.redirect(path+".requestRedirect", f.RequestRedirect)
	case gateway.HTTPRouteFilterURLRewrite:
		c.rewrite(path+".urlRewrite", f.URLRewrite)
	default:
		if known {
			c.fail(path+".type", "the filter %s is not supported yet", f.Type)
		} else {
			c.fail(path+".type", "unknown filter %q", f.Type)
		}
	}
}

func (c *checker) headerEdits(path string, h *gateway.HTTPHeaderFilter) {
	if h == nil {
		return
	}
	edit := func(at, name, value string) {
		switch {
		case !isToken(name):
			c.fail(at+".name", "%q is no header name", name)
		case strings.EqualFold(name, "host"):
			c.fail(at+".name", "the host is changed by a URLRewrite filter")
		case strings.ContainsAny(value, "\r\n\x00"):
			c.fail(at+".value", "the value has a line break or a zero byte")
		}
	}
	for i, s := range h.Set {
		edit(fmt.Sprintf("%s.set[%d]", path, i), string(s.Name), s.Value)
	}
	for i, a := range h.Add {
		edit(fmt.Sprintf("%s.add[%d]", path, i), string(a.Name), a.Value)
	}
	for i, name := range h.Remove {
		if !isToken(name) {
			c.fail(fmt.Sprintf("%s.remove[%d]", path, i), "%q is no header name", name)
		}
	}
}

func (c *checker) redirect(path string, r *gateway.HTTPRequestRedirectFilter) {
	if r == nil {
		return
	}
	if r.Scheme != nil && *r.Scheme != "http" && *r.Scheme != "https" {
		c.fail(path+".scheme", "%q is not supported; it is http or https", *r.Scheme)
	}
	if r.Hostname != nil {
		c.hostname(path+".hostname", string(*r.Hostname))
	}
	if r.Port != nil {
		c.port(path+".port", *r.Port)
	}
	switch *r.StatusCode {
	case 301, 302, 303, 307, 308:
	default:
		c.fail(path+".statusCode", "%d does not redirect; it is 301, 302, 303, 307 or 308", *r.StatusCode)
	}
	c.pathModifier(path+".path", r.Path)
}

func (c *checker) rewrite(path string, r *gateway.HTTPURLRewriteFilter) {
	if r == nil {
		return
	}
	if r.Hostname != nil {
		c.hostname(path+".hostname", string(*r.Hostname))
	}
	if r.Path != nil && r.Path.Type == gateway.FullPathHTTPPathModifier {
		c.fail(path+".path.type", "ReplaceFullPath is not supported yet; use ReplacePrefixMatch")
		return
	}
	c.pathModifier(path+".path", r.Path)
}

func (c *checker) pathModifier(path string, m *gateway.HTTPPathModifier) {
	switch {
	case m == nil:
	case m.Type == gateway.FullPathHTTPPathModifier && m.ReplaceFullPath != nil && m.ReplacePrefixMatch == nil:
		c.path(path+".replaceFullPath", *m.ReplaceFullPath)
	case m.Type == gateway.PrefixMatchHTTPPathModifier && m.ReplacePrefixMatch != nil && m.ReplaceFullPath == nil:
		c.path(path+".replacePrefixMatch", *m.ReplacePrefixMatch)
	case m.Type == gateway.FullPathHTTPPathModifier:
		c.fail(path, "the type ReplaceFullPath needs replaceFullPath and nothing else")
	case m.Type == gateway.PrefixMatchHTTPPathModifier:
		c.fail(path, "the type ReplacePrefixMatch needs replacePrefixMatch and nothing else")
	default:
		c.fail(path+".type", "%q is no way to change a path; it is ReplaceFullPath or ReplacePrefixMatch", m.Type)
	}
}

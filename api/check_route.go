package api

import (
	"fmt"
	"strings"
	"time"

	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

const (
	maxRules    = 16 // as the Gateway API limits them
	maxMatches  = 64
	maxBackends = 16
)

// common checks what all routes have.
func (c *checker) common(spec *gateway.CommonRouteSpec, hostnames []gateway.Hostname, rules int) {
	if spec.UseDefaultGateways != "" {
		c.fail("spec.useDefaultGateways", "not supported yet; name a Service in parentRefs")
	}
	if len(spec.ParentRefs) == 0 {
		c.fail("spec.parentRefs", "required; name the Service whose requests the route is for")
	}
	for i := range spec.ParentRefs {
		c.parent(fmt.Sprintf("spec.parentRefs[%d]", i), &spec.ParentRefs[i])
	}
	if len(hostnames) > 0 {
		c.fail("spec.hostnames", "not supported on a route of a Service: the Service's own names apply; remove it")
	}
	if rules > maxRules {
		c.fail("spec.rules", "%d rules, at most %d are allowed", rules, maxRules)
	}
}

func (c *checker) parent(path string, p *gateway.ParentReference) {
	switch {
	case *p.Kind == "Gateway":
		c.fail(path, "a Gateway as parent is not supported yet; for a Service write group: \"\" and kind: Service")
	case *p.Kind != "Service":
		c.fail(path+".kind", "%s is not supported; the parent is a Service", *p.Kind)
	case *p.Group != "" && *p.Group != "core":
		c.fail(path+".group", "a Service is in the group \"\", not in %q; write group: \"\"", *p.Group)
	}
	if p.Name == "" {
		c.fail(path+".name", "required")
	}
	if p.Port != nil {
		c.port(path+".port", *p.Port)
	}
	if p.Port != nil && p.SectionName != nil {
		c.fail(path+".sectionName", "give port or sectionName, not both")
	}
}

func (c *checker) backend(path string, b *gateway.BackendRef) {
	switch {
	case *b.Group != "" && *b.Group != "core" || *b.Kind != "Service":
		c.fail(path, "only a Service can be a backend, not %s %q", *b.Kind, *b.Group)
	case b.Name == "":
		c.fail(path+".name", "required")
	}
	if b.Port == nil {
		c.fail(path+".port", "required for a Service")
	} else {
		c.port(path+".port", *b.Port)
	}
	c.weight(path+".weight", b.Weight)
}

func (c *checker) backends(path string, n int) {
	if n > maxBackends {
		c.fail(path+".backendRefs", "%d backends, at most %d are allowed", n, maxBackends)
	}
}

func (c *checker) tcpRoute(spec *gateway.TCPRouteSpec) {
	c.common(&spec.CommonRouteSpec, nil, len(spec.Rules))
	if len(spec.Rules) != 1 {
		c.fail("spec.rules", "%d rules; a TCPRoute has exactly one", len(spec.Rules))
	}
	for i := range spec.Rules {
		path := fmt.Sprintf("spec.rules[%d]", i)
		c.backends(path, len(spec.Rules[i].BackendRefs))
		if len(spec.Rules[i].BackendRefs) == 0 {
			c.fail(path+".backendRefs", "required")
		}
		for j := range spec.Rules[i].BackendRefs {
			c.backend(fmt.Sprintf("%s.backendRefs[%d]", path, j), &spec.Rules[i].BackendRefs[j])
		}
	}
}

func (c *checker) httpRoute(spec *gateway.HTTPRouteSpec) {
	c.common(&spec.CommonRouteSpec, spec.Hostnames, len(spec.Rules))
	for i := range spec.Rules {
		rule, path := &spec.Rules[i], fmt.Sprintf("spec.rules[%d]", i)
		if len(rule.Matches) > maxMatches {
			c.fail(path+".matches", "%d matches, at most %d are allowed", len(rule.Matches), maxMatches)
		}
		for j := range rule.Matches {
			c.httpMatch(fmt.Sprintf("%s.matches[%d]", path, j), &rule.Matches[j])
		}
		c.httpFilters(path, rule)
		c.backends(path, len(rule.BackendRefs))
		for j := range rule.BackendRefs {
			at := fmt.Sprintf("%s.backendRefs[%d]", path, j)
			c.backend(at, &rule.BackendRefs[j].BackendRef)
			if len(rule.BackendRefs[j].Filters) > 0 {
				c.fail(at+".filters", "filters of one backend are not supported yet; put them on the rule")
			}
		}
		c.timeouts(path+".timeouts", rule.Timeouts)
		c.retry(path+".retry", rule.Retry)
		if rule.SessionPersistence != nil {
			c.fail(path+".sessionPersistence", "not supported yet")
		}
	}
}

func (c *checker) httpMatch(path string, m *gateway.HTTPRouteMatch) {
	switch *m.Path.Type {
	case gateway.PathMatchExact, gateway.PathMatchPathPrefix:
		c.path(path+".path.value", *m.Path.Value)
	case gateway.PathMatchRegularExpression:
		c.regex(path+".path.value", *m.Path.Value)
	default:
		c.fail(path+".path.type", "%q is no way to match a path; it is Exact, PathPrefix or RegularExpression", *m.Path.Type)
	}
	seen := make(map[string]bool)
	for i, h := range m.Headers {
		at := fmt.Sprintf("%s.headers[%d]", path, i)
		c.valueMatch(at, string(*h.Type), string(h.Name), h.Value, "header")
		c.once(at+".name", strings.ToLower(string(h.Name)), seen)
	}
	seen = make(map[string]bool)
	for i, q := range m.QueryParams {
		at := fmt.Sprintf("%s.queryParams[%d]", path, i)
		c.valueMatch(at, string(*q.Type), string(q.Name), q.Value, "query parameter")
		c.once(at+".name", string(q.Name), seen)
	}
	if m.Method != nil && !isToken(string(*m.Method)) {
		c.fail(path+".method", "%q is no HTTP method", *m.Method)
	}
}

func (c *checker) once(path, name string, seen map[string]bool) {
	if seen[name] && name != "" {
		c.fail(path, "%s is matched twice; give one match for each name", name)
	}
	seen[name] = true
}

func (c *checker) valueMatch(path, kind, name, value, what string) {
	switch {
	case name == "":
		c.fail(path+".name", "required")
	case !isToken(name):
		c.fail(path+".name", "%q is no %s name", name, what)
	}
	switch kind {
	case "Exact":
	case "RegularExpression":
		c.regex(path+".value", value)
	default:
		c.fail(path+".type", "%q is no way to match a %s; it is Exact or RegularExpression", kind, what)
	}
}

func (c *checker) path(at, path string) {
	switch {
	case !strings.HasPrefix(path, "/"):
		c.fail(at, "%q must begin with /", path)
	case strings.Contains(path, "//"), strings.Contains(path, "/./"), strings.Contains(path, "/../"),
		strings.HasSuffix(path, "/.."), strings.HasSuffix(path, "/."):
		c.fail(at, "%q has an empty, . or .. segment, which no normalised path has", path)
	case strings.ContainsAny(path, "?#"):
		c.fail(at, "%q has a ? or #; a path ends before them", path)
	}
	for i := range len(path) {
		if path[i] <= ' ' || path[i] == 0x7f {
			c.fail(at, "%q has a space or control character", path)
			return
		}
	}
}

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

func (c *checker) timeouts(path string, t *gateway.HTTPRouteTimeouts) {
	if t == nil {
		return
	}
	var whole, try time.Duration
	if t.Request != nil {
		whole = c.duration(path+".request", *t.Request)
	}
	if t.BackendRequest != nil {
		try = c.duration(path+".backendRequest", *t.BackendRequest)
	}
	if whole > 0 && try > whole {
		c.fail(path+".backendRequest", "%s is longer than the whole request's %s", *t.BackendRequest, *t.Request)
	}
}

func (c *checker) retry(path string, r *gateway.HTTPRouteRetry) {
	if r == nil {
		return
	}
	for i, code := range r.Codes {
		if code < 400 || code > 599 {
			c.fail(fmt.Sprintf("%s.codes[%d]", path, i), "%d is no status of a failure; it is 400 to 599", code)
		}
	}
	if r.Attempts != nil && (*r.Attempts < 0 || *r.Attempts > 10) {
		c.fail(path+".attempts", "%d is out of range; it is 0 to 10", *r.Attempts)
	}
	if r.Backoff != nil {
		c.fail(path+".backoff", "not supported yet; the proxy chooses the pause before a retry")
	}
}

func (c *checker) grpcRoute(spec *gateway.GRPCRouteSpec) {
	c.common(&spec.CommonRouteSpec, spec.Hostnames, len(spec.Rules))
	for i := range spec.Rules {
		rule, path := &spec.Rules[i], fmt.Sprintf("spec.rules[%d]", i)
		if len(rule.Matches) > maxMatches {
			c.fail(path+".matches", "%d matches, at most %d are allowed", len(rule.Matches), maxMatches)
		}
		for j := range rule.Matches {
			c.grpcMatch(fmt.Sprintf("%s.matches[%d]", path, j), &rule.Matches[j])
		}
		for j, f := range rule.Filters {
			at := fmt.Sprintf("%s.filters[%d]", path, j)
			switch f.Type {
			case gateway.GRPCRouteFilterRequestHeaderModifier, gateway.GRPCRouteFilterResponseHeaderModifier:
				c.httpFilter(at, &gateway.HTTPRouteFilter{
					Type:                  gateway.HTTPRouteFilterType(f.Type),
					RequestHeaderModifier: f.RequestHeaderModifier, ResponseHeaderModifier: f.ResponseHeaderModifier,
					RequestMirror: f.RequestMirror, ExtensionRef: f.ExtensionRef,
				})
			case gateway.GRPCRouteFilterRequestMirror, gateway.GRPCRouteFilterExtensionRef:
				c.fail(at+".type", "the filter %s is not supported yet", f.Type)
			default:
				c.fail(at+".type", "unknown filter %q", f.Type)
			}
		}
		c.backends(path, len(rule.BackendRefs))
		for j := range rule.BackendRefs {
			at := fmt.Sprintf("%s.backendRefs[%d]", path, j)
			c.backend(at, &rule.BackendRefs[j].BackendRef)
			if len(rule.BackendRefs[j].Filters) > 0 {
				c.fail(at+".filters", "filters of one backend are not supported yet; put them on the rule")
			}
		}
		if rule.SessionPersistence != nil {
			c.fail(path+".sessionPersistence", "not supported yet")
		}
	}
}

func (c *checker) grpcMatch(path string, m *gateway.GRPCRouteMatch) {
	if m.Method != nil {
		c.grpcMethod(path+".method", m.Method)
	}
	seen := make(map[string]bool)
	for i, h := range m.Headers {
		at := fmt.Sprintf("%s.headers[%d]", path, i)
		c.valueMatch(at, string(*h.Type), string(h.Name), h.Value, "header")
		c.once(at+".name", strings.ToLower(string(h.Name)), seen)
	}
}

func (c *checker) grpcMethod(path string, m *gateway.GRPCMethodMatch) {
	if m.Service == nil && m.Method == nil {
		c.fail(path, "give service, method or both")
	}
	for name, value := range map[string]*string{"service": m.Service, "method": m.Method} {
		if value == nil {
			continue
		}
		switch *m.Type {
		case gateway.GRPCMethodMatchExact:
			if *value == "" || strings.ContainsAny(*value, "/ \t") {
				c.fail(path+"."+name, "%q is no gRPC %s", *value, name)
			}
		case gateway.GRPCMethodMatchRegularExpression:
			c.regex(path+"."+name, *value)
		}
	}
	if *m.Type != gateway.GRPCMethodMatchExact && *m.Type != gateway.GRPCMethodMatchRegularExpression {
		c.fail(path+".type", "%q is no way to match a method; it is Exact or RegularExpression", *m.Type)
	}
}

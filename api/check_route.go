package api

import (
	"fmt"
	"net/url"
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
		c.matched(path+".path.value", *m.Path.Value)
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

// matched checks a path that requests are compared with: an escape that no
// normalised path has would match nothing, and a DENY of it guard nothing.
func (c *checker) matched(at, path string) {
	c.path(at, path)
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		escape := path[i:min(i+3, len(path))]
		plain, err := url.PathUnescape(escape)
		switch {
		case err != nil || len(plain) != 1:
			c.fail(at, "%q has %q, which is no escape; a %% stands before two hexadecimal digits", path, escape)
		case plain == "/" || plain == `\` || plain == "\x00":
			c.fail(at, "%q has %s, and requests with that are refused before they are matched", path, escape)
		case isUnreserved(plain[0]):
			c.fail(at, "%q has %s, which a normalised path has as %s", path, escape, plain)
		case escape != strings.ToUpper(escape):
			c.fail(at, "%q has %s, which a normalised path has as %s", path, escape, strings.ToUpper(escape))
		default:
			continue
		}
		return
	}
}

// isUnreserved reports a byte that RFC 3986, section 2.3, never has escaped.
func isUnreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("-._~", b) >= 0
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

package api

import (
	"fmt"
	"strings"

	gateway "sigs.k8s.io/gateway-api/apis/v1"
)

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
		seen := make(map[gateway.GRPCRouteFilterType]bool)
		for j, f := range rule.Filters {
			at := fmt.Sprintf("%s.filters[%d]", path, j)
			if seen[f.Type] {
				c.fail(at+".type", "%s is given twice", f.Type)
			}
			seen[f.Type] = true
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

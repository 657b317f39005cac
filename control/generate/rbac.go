package generate

import (
	"fmt"
	"slices"
	"strings"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	netrbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

// access is the rules of one listener's chain: what is denied first, what is
// only noted, and what is allowed. allow is nil where everything is.
type access struct{ deny, audit, allow map[string]*rbac.Policy }

// guarded is one application port with the policies that hold for it.
type guarded struct {
	numbers  []uint32 // of the Services' ports that lead to it
	policies []*v1alpha1.AuthorizationPolicy
	// requests is whether the rules see HTTP requests. Where they see only
	// connections, a DENY ignores what it says of requests, and so denies
	// more; an ALLOW that says anything of requests allows nothing.
	requests bool
	// when restricts every rule, where ports share a chain; nil is always.
	when *rbac.Permission
}

// rules adds a port's policies.
func (a *access) rules(trustDomain string, g guarded) {
	allows := false
	for _, p := range g.policies {
		set := &a.allow
		switch p.Spec.Action {
		case v1alpha1.ActionDeny:
			set = &a.deny
		case v1alpha1.ActionAudit:
			set = &a.audit
		default:
			allows = true
		}
		if *set == nil {
			*set = make(map[string]*rbac.Policy)
		}
		for i := range p.Spec.Rules {
			if policy := compileRule(trustDomain, &p.Spec.Rules[i], p.Spec.Action, g); policy != nil {
				(*set)[fmt.Sprintf("%s/%s/%d%s", p.Namespace, p.Name, i, g.suffix())] = policy
			}
		}
	}
	if !allows && g.when != nil {
		// Ports that share the chain may have ALLOW policies; this one has none.
		if a.allow == nil {
			a.allow = make(map[string]*rbac.Policy)
		}
		a.allow["any"+g.suffix()] = &rbac.Policy{Permissions: []*rbac.Permission{g.when}, Principals: []*rbac.Principal{anyPrincipal()}}
	}
}

// suffix tells the same rule of several ports of a chain apart.
func (g guarded) suffix() string {
	if g.when == nil {
		return ""
	}
	return "/" + g.when.GetHeader().GetStringMatch().GetExact()
}

func compileRule(trustDomain string, r *v1alpha1.Rule, action v1alpha1.Action, g guarded) *rbac.Policy {
	policy := &rbac.Policy{}
	for i := range r.From {
		policy.Principals = append(policy.Principals, principal(trustDomain, &r.From[i]))
	}
	if len(r.From) == 0 {
		policy.Principals = []*rbac.Principal{anyPrincipal()}
	}
	for i := range r.To {
		if p := permission(&r.To[i], action, g); p != nil {
			policy.Permissions = append(policy.Permissions, p)
		}
	}
	if len(r.To) == 0 {
		policy.Permissions = []*rbac.Permission{both(g.when, nil)}
	}
	if len(policy.Permissions) == 0 {
		return nil
	}
	return policy
}

func anyPrincipal() *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_Any{Any: true}}
}

// principal matches peers by the URI of their verified certificate.
func principal(trustDomain string, s *v1alpha1.Source) *rbac.Principal {
	var all []*rbac.Principal
	var ids []*rbac.Principal
	for _, id := range s.Identities {
		if id == "*" {
			ids = append(ids, authenticated(nil))
			continue
		}
		ids = append(ids, authenticated(exact(id)))
	}
	all = appendOr(all, ids)
	ids = nil
	for _, namespace := range s.Namespaces {
		// The slash after sa makes the prefix a whole namespace.
		ids = append(ids, authenticated(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: "spiffe://" + trustDomain + "/ns/" + namespace + "/sa/"}}))
	}
	all = appendOr(all, ids)
	ids = nil
	for _, account := range s.Accounts {
		namespace, name, _ := strings.Cut(account, "/")
		ids = append(ids, authenticated(exact(spiffeID(trustDomain, namespace, name))))
	}
	all = appendOr(all, ids)
	switch len(all) {
	case 0:
		return anyPrincipal()
	case 1:
		return all[0]
	}
	return &rbac.Principal{Identifier: &rbac.Principal_AndIds{AndIds: &rbac.Principal_Set{Ids: all}}}
}

func appendOr(all, ids []*rbac.Principal) []*rbac.Principal {
	switch len(ids) {
	case 0:
		return all
	case 1:
		return append(all, ids[0])
	}
	return append(all, &rbac.Principal{Identifier: &rbac.Principal_OrIds{OrIds: &rbac.Principal_Set{Ids: ids}}})
}

func authenticated(name *matcher.StringMatcher) *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_Authenticated_{Authenticated: &rbac.Principal_Authenticated{PrincipalName: name}}}
}

func exact(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: s}}
}

// permission returns nil when the operation can never match here.
func permission(o *v1alpha1.Operation, action v1alpha1.Action, g guarded) *rbac.Permission {
	if len(o.Ports) > 0 && !slices.ContainsFunc(o.Ports, func(n int32) bool { return slices.Contains(g.numbers, uint32(n)) }) {
		return nil
	}
	if !g.requests && (len(o.Methods) > 0 || len(o.Paths) > 0) {
		if action != v1alpha1.ActionDeny {
			return nil
		}
		return both(g.when, nil)
	}
	var methods, paths []*rbac.Permission
	for _, m := range o.Methods {
		methods = append(methods, headerIs(":method", m))
	}
	for _, p := range o.Paths {
		m := exact(p)
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			m = &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: prefix}}
		}
		paths = append(paths, &rbac.Permission{Rule: &rbac.Permission_UrlPath{UrlPath: &matcher.PathMatcher{Rule: &matcher.PathMatcher_Path{Path: m}}}})
	}
	return both(g.when, both(anyOf(methods), anyOf(paths)))
}

func headerIs(name, value string) *rbac.Permission {
	return &rbac.Permission{Rule: &rbac.Permission_Header{Header: &route.HeaderMatcher{
		Name: name, HeaderMatchSpecifier: &route.HeaderMatcher_StringMatch{StringMatch: exact(value)},
	}}}
}

func anyOf(rules []*rbac.Permission) *rbac.Permission {
	switch len(rules) {
	case 0:
		return nil
	case 1:
		return rules[0]
	}
	return &rbac.Permission{Rule: &rbac.Permission_OrRules{OrRules: &rbac.Permission_Set{Rules: rules}}}
}

// both joins two permissions; nil is always.
func both(a, b *rbac.Permission) *rbac.Permission {
	always := func(p *rbac.Permission) bool { return p == nil || p.GetAny() }
	switch {
	case always(a) && always(b):
		return &rbac.Permission{Rule: &rbac.Permission_Any{Any: true}}
	case always(a):
		return b
	case always(b):
		return a
	}
	return &rbac.Permission{Rule: &rbac.Permission_AndRules{AndRules: &rbac.Permission_Set{Rules: []*rbac.Permission{a, b}}}}
}

// denying returns what the first of two filters holds, as an RBAC has one
// action.
func (a *access) denying() (rules, shadow *rbac.RBAC) {
	if len(a.deny) > 0 {
		rules = &rbac.RBAC{Action: rbac.RBAC_DENY, Policies: a.deny}
	}
	if len(a.audit) > 0 {
		shadow = &rbac.RBAC{Action: rbac.RBAC_LOG, Policies: a.audit}
	}
	return rules, shadow
}

// allowing returns what the second filter holds, nil where all is allowed.
func (a *access) allowing() *rbac.RBAC {
	if a.allow == nil {
		return nil
	}
	return &rbac.RBAC{Action: rbac.RBAC_ALLOW, Policies: a.allow}
}

const (
	httpDeny  = "envoy.filters.http.rbac.deny"
	httpAllow = "envoy.filters.http.rbac.allow"
	netDeny   = "envoy.filters.network.rbac.deny"
	netAllow  = "envoy.filters.network.rbac.allow"
)

func (e *encoder) httpAccess(a *access) []*hcm.HttpFilter {
	var filters []*hcm.HttpFilter
	if rules, shadow := a.denying(); rules != nil || shadow != nil {
		filters = append(filters, e.httpFilter(httpDeny, &httprbac.RBAC{Rules: rules, ShadowRules: shadow}))
	}
	if rules := a.allowing(); rules != nil {
		filters = append(filters, e.httpFilter(httpAllow, &httprbac.RBAC{Rules: rules}))
	}
	return filters
}

func (e *encoder) netAccess(a *access, name string) []*listener.Filter {
	var filters []*listener.Filter
	if rules, shadow := a.denying(); rules != nil || shadow != nil {
		filters = append(filters, e.filter(netDeny, &netrbac.RBAC{Rules: rules, ShadowRules: shadow, StatPrefix: name}))
	}
	if rules := a.allowing(); rules != nil {
		filters = append(filters, e.filter(netAllow, &netrbac.RBAC{Rules: rules, StatPrefix: name}))
	}
	return filters
}

// readsRequests reports that a policy says something of requests, so that
// bytes which are not read as requests must not pass it.
func readsRequests(policies []*v1alpha1.AuthorizationPolicy) bool {
	for _, p := range policies {
		if p.Spec.Action == v1alpha1.ActionAudit {
			continue
		}
		for i := range p.Spec.Rules {
			for j := range p.Spec.Rules[i].To {
				if o := &p.Spec.Rules[i].To[j]; len(o.Methods) > 0 || len(o.Paths) > 0 {
					return true
				}
			}
		}
	}
	return false
}

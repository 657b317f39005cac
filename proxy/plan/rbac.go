package plan

import (
	"fmt"
	"maps"
	"slices"

	"github.com/leno-mesh/leno/proxy/authz"
	"github.com/leno-mesh/leno/xds/wire"
)

// rbac compiles a filter's rules and shadow rules. A filter without rules
// decides nothing.
func (b *builder) rbac(rules, shadow *wire.RBAC, name string) (authz.Chain, error) {
	var chain authz.Chain
	if rules != nil {
		p, err := b.rbacPolicy(rules, name, false)
		if err != nil {
			return nil, fmt.Errorf("rules.%w", err)
		}
		chain = append(chain, p)
	}
	if shadow != nil {
		p, err := b.rbacPolicy(shadow, name, true)
		if err != nil {
			return nil, fmt.Errorf("shadow_rules.%w", err)
		}
		chain = append(chain, p)
	}
	return chain, nil
}

func (b *builder) rbacPolicy(w *wire.RBAC, name string, shadow bool) (*authz.Policy, error) {
	c := authz.Config{Name: name, Shadow: shadow, Counts: b.env.Decisions.of(name, shadow)}
	switch w.Action {
	case wire.RBAC_ALLOW:
		c.Action = authz.Allow
	case wire.RBAC_DENY:
		c.Action = authz.Deny
	case wire.RBAC_LOG:
		c.Action = authz.Log
	default:
		return nil, fmt.Errorf("action: is unknown")
	}
	for _, rule := range slices.Sorted(maps.Keys(w.Policies)) {
		p := w.Policies[rule]
		r := authz.Rule{Name: rule}
		for i, permission := range p.Permissions {
			ap, err := authzPermission(permission)
			if err != nil {
				return nil, fmt.Errorf("policies[%q].permissions[%d].%w", rule, i, err)
			}
			r.Permissions = append(r.Permissions, ap)
		}
		for i, principal := range p.Principals {
			ap, err := authzPrincipal(principal)
			if err != nil {
				return nil, fmt.Errorf("policies[%q].principals[%d].%w", rule, i, err)
			}
			r.Principals = append(r.Principals, ap)
		}
		c.Rules = append(c.Rules, r)
	}
	p, err := authz.New(c)
	if err != nil {
		return nil, fmt.Errorf("policies: %w", err)
	}
	return p, nil
}

// Emptiness of what is converted here is authz.New's to refuse.
func authzPermission(w *wire.Permission) (p authz.Permission, err error) {
	switch {
	case w.AndRules != nil:
		p.And, err = convertAll(w.AndRules.Rules, "and_rules", authzPermission)
	case w.OrRules != nil:
		p.Or, err = convertAll(w.OrRules.Rules, "or_rules", authzPermission)
	case w.NotRule != nil:
		var not authz.Permission
		not, err = authzPermission(w.NotRule)
		p.Not = &not
	case w.Any != nil:
		p.Any = *w.Any
	case w.Header != nil:
		r, herr := headerRule(w.Header)
		p.Header, err = &r, herr
	case w.UrlPath != nil && w.UrlPath.Path != nil:
		r, serr := stringRule(w.UrlPath.Path)
		p.Path, err = &r, serr
	case w.RequestedServerName != nil:
		r, serr := stringRule(w.RequestedServerName)
		p.ServerName, err = &r, serr
	case w.DestinationIp != nil:
		p.DestinationIP, err = cidr(w.DestinationIp)
	case w.DestinationPort != nil:
		port, perr := portOf(w.DestinationPort)
		if perr != nil {
			return p, fmt.Errorf("destination_port: %w", perr)
		}
		p.Ports = &authz.Ports{From: port, To: port}
	case w.DestinationPortRange != nil:
		r := w.DestinationPortRange
		if r.Start < 0 || r.End > 65536 || r.End <= r.Start {
			return p, fmt.Errorf("destination_port_range: %d to %d is no range of ports", r.Start, r.End)
		}
		p.Ports = &authz.Ports{From: uint16(r.Start), To: uint16(r.End - 1)}
	default:
		err = fmt.Errorf("any: no rule is set")
	}
	return p, err
}

func authzPrincipal(w *wire.Principal) (p authz.Principal, err error) {
	switch {
	case w.AndIds != nil:
		p.And, err = convertAll(w.AndIds.Ids, "and_ids", authzPrincipal)
	case w.OrIds != nil:
		p.Or, err = convertAll(w.OrIds.Ids, "or_ids", authzPrincipal)
	case w.NotId != nil:
		var not authz.Principal
		not, err = authzPrincipal(w.NotId)
		p.Not = &not
	case w.Any != nil:
		p.Any = *w.Any
	case w.Authenticated != nil:
		p.Authenticated = true
		if w.Authenticated.PrincipalName != nil {
			r, serr := stringRule(w.Authenticated.PrincipalName)
			p.Identity, err = &r, serr
		}
	case w.Header != nil:
		r, herr := headerRule(w.Header)
		p.Header, err = &r, herr
	case w.UrlPath != nil && w.UrlPath.Path != nil:
		r, serr := stringRule(w.UrlPath.Path)
		p.Path, err = &r, serr
	case w.DirectRemoteIp != nil:
		p.SourceIP, err = cidr(w.DirectRemoteIp)
	case w.SourceIp != nil:
		p.SourceIP, err = cidr(w.SourceIp)
	case w.RemoteIp != nil:
		err = fmt.Errorf("remote_ip: Leno trusts no x-forwarded-for for policy; use direct_remote_ip")
	default:
		err = fmt.Errorf("any: no principal is set")
	}
	return p, err
}

func convertAll[W, T any](list []W, field string, convert func(W) (T, error)) ([]T, error) {
	out := make([]T, 0, len(list))
	for i, w := range list {
		t, err := convert(w)
		if err != nil {
			return nil, fmt.Errorf("%s[%d].%w", field, i, err)
		}
		out = append(out, t)
	}
	return out, nil
}

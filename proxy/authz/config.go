// Package authz decides whether a peer may connect or make a request, by the
// semantics of Envoy's RBAC policies. A Policy is immutable.
//
// A check without a head is one of the connection alone. Conditions on the
// request are then neither true nor false, and where the decision hangs on one
// of them the result is Undecided and not Allowed: bytes that are no requests
// are refused, while a connection that speaks HTTP is let through to the check
// of each request. Envoy evaluates such conditions on a raw connection as false
// even below a NOT or in a DENY rule, and so allows more.
package authz

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/leno-mesh/leno/proxy/match"
)

// Action is what a policy does with what its rules match.
type Action uint8

// Deny is the zero Action. Allow refuses whatever no rule matches, Deny allows
// it. Log allows everything and only names the rule.
const (
	Deny Action = iota
	Allow
	Log
)

// Config is a policy. An Allow policy without rules refuses everything.
type Config struct {
	Name   string
	Action Action
	Rules  []Rule
	// Shadow has a chain count the policy's decision and not enforce it.
	Shadow bool
	// Counts is counted in, if it is there. It outlives the policy.
	Counts *Counts
}

// Rule matches if one of the permissions and one of the principals matches.
type Rule struct {
	Name        string
	Permissions []Permission
	Principals  []Principal
}

// Permission is a condition on what is asked for; exactly one field is set.
type Permission struct {
	Any bool
	And []Permission
	Or  []Permission
	Not *Permission
	// Header and Path are conditions on the request. The path is compared
	// without its query; the method is the header :method.
	Header *match.HeaderRule
	Path   *match.Rule
	// Ports are destination ports, both ends included. The destination is the
	// address before interception.
	Ports         *Ports
	DestinationIP netip.Prefix
	// ServerName is the SNI, "" where there is none.
	ServerName *match.Rule
}

// Ports is a range of ports, both ends included.
type Ports struct{ From, To uint16 }

// Principal is a condition on who asks; exactly one field is set, but for
// Authenticated, which Identity implies.
type Principal struct {
	Any bool
	And []Principal
	Or  []Principal
	Not *Principal
	// Authenticated matches any peer that proved a SPIFFE ID, Identity those
	// whose ID, as a URI, matches.
	Authenticated bool
	Identity      *match.Rule
	// SourceIP is the address of the socket's other end.
	SourceIP netip.Prefix
	Header   *match.HeaderRule
	Path     *match.Rule
}

// New compiles a policy. Its error names every rule that is wrong.
func New(c Config) (*Policy, error) {
	p := &Policy{name: c.Name, action: c.Action, shadow: c.Shadow, counts: c.Counts}
	if c.Action > Log {
		return nil, fmt.Errorf("build policy %q: the action is unknown", c.Name)
	}
	var errs []error
	for i := range c.Rules {
		r, err := compileRule(&c.Rules[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("build rule %d %q of policy %q: %w", i+1, c.Rules[i].Name, c.Name, err))
			continue
		}
		p.rules = append(p.rules, r)
		p.onHead = p.onHead || r.permission.needsHead() || r.principal.needsHead()
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	p.index()
	return p, nil
}

// maxDepth bounds how deep conditions may nest.
const maxDepth = 32

func compileRule(r *Rule) (rule, error) {
	if len(r.Permissions) == 0 || len(r.Principals) == 0 {
		return rule{}, errors.New("it needs a permission and a principal")
	}
	permission, err := compilePermission(&Permission{Or: r.Permissions}, 0)
	if err != nil {
		return rule{}, fmt.Errorf("permission: %w", err)
	}
	principal, err := compilePrincipal(&Principal{Or: r.Principals}, 0)
	if err != nil {
		return rule{}, fmt.Errorf("principal: %w", err)
	}
	return rule{name: r.Name, permission: permission, principal: principal}, nil
}

func compilePermission(p *Permission, depth int) (c condition, err error) {
	if depth > maxDepth {
		return c, fmt.Errorf("conditions nest deeper than %d", maxDepth)
	}
	set := 0
	if p.Any {
		set++
		c = condition{op: always}
	}
	if len(p.And) > 0 {
		set++
		c, err = compileList(and, p.And, depth, compilePermission)
	}
	if len(p.Or) > 0 {
		set++
		c, err = compileList(or, p.Or, depth, compilePermission)
	}
	if p.Not != nil {
		set++
		c, err = compileNot(p.Not, depth, compilePermission)
	}
	if p.Header != nil {
		set++
		c, err = compileHeader(p.Header)
	}
	if p.Path != nil {
		set++
		c, err = compileText(path, p.Path)
	}
	if p.Ports != nil {
		set++
		if p.Ports.From > p.Ports.To {
			err = fmt.Errorf("the port range from %d to %d is empty", p.Ports.From, p.Ports.To)
		}
		c = condition{op: port, ports: *p.Ports}
	}
	if p.DestinationIP != (netip.Prefix{}) {
		set++
		c, err = compileAddress(destination, p.DestinationIP)
	}
	if p.ServerName != nil {
		set++
		c, err = compileText(serverName, p.ServerName)
	}
	return c, exactlyOne(set, err)
}

func compilePrincipal(p *Principal, depth int) (c condition, err error) {
	if depth > maxDepth {
		return c, fmt.Errorf("conditions nest deeper than %d", maxDepth)
	}
	set := 0
	if p.Any {
		set++
		c = condition{op: always}
	}
	if len(p.And) > 0 {
		set++
		c, err = compileList(and, p.And, depth, compilePrincipal)
	}
	if len(p.Or) > 0 {
		set++
		c, err = compileList(or, p.Or, depth, compilePrincipal)
	}
	if p.Not != nil {
		set++
		c, err = compileNot(p.Not, depth, compilePrincipal)
	}
	switch {
	case p.Identity != nil:
		set++
		c, err = compileText(identity, p.Identity)
	case p.Authenticated:
		set++
		c = condition{op: authenticated}
	}
	if p.SourceIP != (netip.Prefix{}) {
		set++
		c, err = compileAddress(source, p.SourceIP)
	}
	if p.Header != nil {
		set++
		c, err = compileHeader(p.Header)
	}
	if p.Path != nil {
		set++
		c, err = compileText(path, p.Path)
	}
	return c, exactlyOne(set, err)
}

func exactlyOne(set int, err error) error {
	if err == nil && set != 1 {
		return fmt.Errorf("a condition has %d kinds, exactly one is required", set)
	}
	return err
}

func compileList[T any](op op, list []T, depth int, compile func(*T, int) (condition, error)) (condition, error) {
	c := condition{op: op, of: make([]condition, 0, len(list))}
	for i := range list {
		part, err := compile(&list[i], depth+1)
		if err != nil {
			return c, err
		}
		c.of = append(c.of, part)
	}
	if len(c.of) == 1 {
		return c.of[0], nil
	}
	return c, nil
}

func compileNot[T any](p *T, depth int, compile func(*T, int) (condition, error)) (condition, error) {
	part, err := compile(p, depth+1)
	return condition{op: not, of: []condition{part}}, err
}

func compileHeader(r *match.HeaderRule) (condition, error) {
	h, err := r.Compile()
	return condition{op: header, header: h}, err
}

func compileText(op op, r *match.Rule) (condition, error) {
	text, err := r.Compile()
	return condition{op: op, text: text}, err
}

func compileAddress(op op, p netip.Prefix) (condition, error) {
	if !p.IsValid() {
		return condition{}, errors.New("the address prefix is not valid")
	}
	if p.Addr().Is4In6() {
		return condition{}, fmt.Errorf("the address prefix %s is an IPv4 address written as IPv6, write it as IPv4", p)
	}
	return condition{op: op, addresses: p.Masked()}, nil
}

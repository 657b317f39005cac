package authz

import (
	"net/netip"
	"sync/atomic"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/match"
)

// Policy is a compiled policy, immutable and safe for concurrent use.
type Policy struct {
	name   string
	action Action
	shadow bool
	counts *Counts
	rules  []rule
	onHead bool // a condition is on the request
	byKey  index
}

// Counts counts the decisions of a policy on requests, or on connections where
// it was asked about those. Its owner keeps it from one policy to the next.
type Counts struct {
	Allowed, Denied atomic.Uint64
	Logged          atomic.Uint64 // what a rule of a Log policy matched
}

// Decision is the answer of a policy or a chain.
type Decision struct {
	Allowed bool
	// Undecided says that the answer hangs on a request that was not given.
	// Allowed is then false.
	Undecided bool
	// Policy and Rule name what decided. Rule is empty where no rule matched.
	Policy, Rule string
}

type rule struct {
	name                  string
	permission, principal condition
}

type op uint8

const (
	never op = iota
	always
	and
	or
	not
	header
	path
	port
	destination
	source
	serverName
	authenticated
	identity
)

// condition is a tree of tests.
type condition struct {
	op        op
	of        []condition
	text      *match.String
	header    *match.Header
	ports     Ports
	addresses netip.Prefix
}

// truth is Kleene's: unknown is between no and yes.
type truth uint8

const (
	no truth = iota
	unknown
	yes
)

func is(b bool) truth {
	if b {
		return yes
	}
	return no
}

// destinationOf is the address that the peer asked for.
func destinationOf(info *conn.Info) netip.AddrPort {
	if info.OriginalDst.IsValid() {
		return info.OriginalDst
	}
	return info.Local
}

// contains ignores how the address is written: as IPv4 in IPv6, or with a zone,
// which a prefix alone would never contain.
func contains(p netip.Prefix, a netip.Addr) bool { return p.Contains(a.Unmap().WithZone("")) }

func (c *condition) holds(info *conn.Info, head *http.Head) truth {
	switch c.op {
	case always:
		return yes
	case and:
		t := yes
		for i := range c.of {
			if t = min(t, c.of[i].holds(info, head)); t == no {
				return no
			}
		}
		return t
	case or:
		t := no
		for i := range c.of {
			if t = max(t, c.of[i].holds(info, head)); t == yes {
				return yes
			}
		}
		return t
	case not:
		return yes - c.of[0].holds(info, head)
	case header:
		if head == nil {
			return unknown
		}
		return is(c.header.Match(head))
	case path:
		if head == nil {
			return unknown
		}
		return is(c.text.Match(head.PathOnly()))
	case port:
		p := destinationOf(info).Port()
		return is(p >= c.ports.From && p <= c.ports.To)
	case destination:
		return is(contains(c.addresses, destinationOf(info).Addr()))
	case source:
		return is(contains(c.addresses, info.Remote.Addr()))
	case serverName:
		return is(c.text.MatchString(info.SNI))
	case authenticated:
		return is(!info.Peer.IsZero())
	case identity:
		return is(!info.Peer.IsZero() && c.text.MatchString(info.Peer.String()))
	}
	return no
}

func (r *rule) holds(info *conn.Info, head *http.Head) truth {
	t := r.principal.holds(info, head)
	if t == no {
		return no
	}
	return min(t, r.permission.holds(info, head))
}

// Check decides about a request, or about a connection where head is nil.
func (p *Policy) Check(info *conn.Info, head *http.Head) Decision {
	matched, t := p.find(info, head)
	d := Decision{Policy: p.name}
	if t == yes {
		d.Rule = p.rules[matched].name
	}
	switch {
	case p.action == Log:
		d.Allowed = true
	case t == unknown:
		d.Undecided = true
	default:
		d.Allowed = (t == yes) == (p.action == Allow)
	}
	if p.counts != nil && !d.Undecided {
		switch {
		case p.action == Log && t == yes:
			p.counts.Logged.Add(1)
		case d.Allowed:
			p.counts.Allowed.Add(1)
		default:
			p.counts.Denied.Add(1)
		}
	}
	return d
}

// Chain is policies in order: everything has to pass all of them. The zero
// Chain allows everything.
type Chain []*Policy

// Check asks the policies in order until one refuses; shadow policies are asked
// and counted, but refuse nothing. A refusal wins over what is undecided. The
// policy named is the one that refused, or the last that allowed by a rule.
func (c Chain) Check(info *conn.Info, head *http.Head) Decision {
	sum := Decision{Allowed: true}
	for _, p := range c {
		d := p.Check(info, head)
		switch {
		case p.shadow:
		case d.Undecided:
			sum = d
		case !d.Allowed:
			return d
		case sum.Allowed && d.Rule != "" && p.action != Log:
			sum = d
		}
	}
	return sum
}

// NeedsHead reports that some decision of the chain hangs on requests.
func (c Chain) NeedsHead() bool {
	for _, p := range c {
		if p.NeedsHead() {
			return true
		}
	}
	return false
}

// NeedsHead reports that some decision of the policy hangs on requests.
func (p *Policy) NeedsHead() bool { return p.onHead }

func (c *condition) needsHead() bool {
	if c.op == header || c.op == path {
		return true
	}
	for i := range c.of {
		if c.of[i].needsHead() {
			return true
		}
	}
	return false
}

package authz

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/match"
)

func peer(t testing.TB, id string) *conn.Info {
	t.Helper()
	info := &conn.Info{
		Local: netip.MustParseAddrPort("10.0.0.1:8080"), Remote: netip.MustParseAddrPort("10.1.2.3:40000"), SNI: "shop.example",
	}
	if id != "" {
		var err error
		if info.Peer, err = spiffe.Parse(id); err != nil {
			t.Fatal(err)
		}
	}
	return info
}

func request(method, path string, fields ...string) *http.Head {
	h := &http.Head{}
	h.SetMethodString(method)
	h.SetAuthorityString("shop")
	h.SetPathString(path)
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
	return h
}

const cart, web = "spiffe://mesh/ns/shop/sa/cart", "spiffe://mesh/ns/shop/sa/web"

func identities(op match.Op, values ...string) (list []Principal) {
	for _, v := range values {
		list = append(list, Principal{Identity: &match.Rule{Op: op, Value: v}})
	}
	return list
}

func newPolicy(t testing.TB, action Action, rules ...Rule) *Policy {
	t.Helper()
	p, err := New(Config{Name: "p", Action: action, Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var anyone, anything = []Principal{{Any: true}}, []Permission{{Any: true}}

func TestPermissionsMatchAsEnvoyDoes(t *testing.T) {
	head := request("GET", "/a/b?c=d", "x-key", "1")
	info := peer(t, cart)
	for _, tt := range []struct {
		p    Permission
		want bool
	}{
		{Permission{Any: true}, true},
		{Permission{Path: &match.Rule{Value: "/a/b"}}, true},
		{Permission{Path: &match.Rule{Op: match.Prefix, Value: "/b"}}, false},
		{Permission{Header: &match.HeaderRule{Name: ":method", Value: "GET"}}, true},
		{Permission{Header: &match.HeaderRule{Name: "x-key", Value: "2"}}, false},
		{Permission{Ports: &Ports{8080, 8080}}, true},
		{Permission{Ports: &Ports{8081, 9000}}, false},
		{Permission{DestinationIP: netip.MustParsePrefix("10.0.0.9/24")}, true},
		{Permission{DestinationIP: netip.MustParsePrefix("10.0.1.0/24")}, false},
		{Permission{DestinationIP: netip.MustParsePrefix("::/0")}, false},
		{Permission{ServerName: &match.Rule{Op: match.Suffix, Value: ".example"}}, true},
		{Permission{Not: &Permission{Any: true}}, false},
		{Permission{Not: &Permission{Ports: &Ports{1, 2}}}, true},
		{Permission{And: []Permission{{Any: true}, {Ports: &Ports{1, 2}}}}, false},
		{Permission{Or: []Permission{{Ports: &Ports{1, 2}}, {Any: true}}}, true},
	} {
		p := newPolicy(t, Allow, Rule{Name: "r", Permissions: []Permission{tt.p}, Principals: anyone})
		if d := p.Check(info, head); d.Allowed != tt.want {
			t.Errorf("%+v: got %+v", tt.p, d)
		}
	}
}

func TestPrincipalsMatchAsEnvoyDoes(t *testing.T) {
	head := request("GET", "/", "x-key", "1")
	for _, tt := range []struct {
		p                Principal
		byCart, byNobody bool
	}{
		{Principal{Any: true}, true, true},
		{Principal{Authenticated: true}, true, false},
		{Principal{Identity: &match.Rule{Value: cart}}, true, false},
		{Principal{Identity: &match.Rule{Value: web}}, false, false},
		{Principal{Identity: &match.Rule{Op: match.Prefix, Value: "spiffe://mesh/ns/shop/"}}, true, false},
		{Principal{Identity: &match.Rule{Op: match.Prefix, Value: "spiffe://mesh/ns/shop/sa/ca"}}, true, false},
		{Principal{Identity: &match.Rule{Op: match.Prefix, Value: "spiffe://mesh/ns/sh/"}}, false, false},
		{Principal{Identity: &match.Rule{Op: match.Suffix, Value: "/sa/cart"}}, true, false},
		{Principal{Identity: &match.Rule{Op: match.Contains, Value: "/ns/shop/"}}, true, false},
		{Principal{Identity: &match.Rule{Op: match.Regex, Value: ".*"}}, true, false},
		{Principal{Identity: &match.Rule{}}, false, false},
		{Principal{Authenticated: true, Identity: &match.Rule{Value: cart}}, true, false},
		{Principal{Authenticated: true, Identity: &match.Rule{Value: web}}, false, false},
		{Principal{Not: &Principal{Identity: &match.Rule{Value: web}}}, true, true},
		{Principal{SourceIP: netip.MustParsePrefix("10.1.0.0/16")}, true, true},
		{Principal{SourceIP: netip.MustParsePrefix("10.2.0.0/16")}, false, false},
		{Principal{Header: &match.HeaderRule{Name: "x-key", Value: "1"}}, true, true},
		{Principal{Path: &match.Rule{Value: "/x"}}, false, false},
		{Principal{And: []Principal{{Authenticated: true}, {SourceIP: netip.MustParsePrefix("10.1.2.3/32")}}}, true, false},
		{Principal{Or: identities(match.Exact, web, cart)}, true, false},
	} {
		p := newPolicy(t, Allow, Rule{Name: "r", Permissions: anything, Principals: []Principal{tt.p}})
		if d := p.Check(peer(t, cart), head); d.Allowed != tt.byCart {
			t.Errorf("%+v by cart: got %+v", tt.p, d)
		}
		if d := p.Check(peer(t, ""), head); d.Allowed != tt.byNobody {
			t.Errorf("%+v by nobody: got %+v", tt.p, d)
		}
	}
}

func TestActionsDecide(t *testing.T) {
	rule := Rule{Name: "web only", Permissions: anything, Principals: identities(match.Exact, web)}
	head := request("GET", "/")
	for _, tt := range []struct {
		action Action
		id     string
		want   Decision
	}{
		{Allow, web, Decision{Allowed: true, Policy: "p", Rule: "web only"}},
		{Allow, cart, Decision{Policy: "p"}},
		{Allow, "", Decision{Policy: "p"}},
		{Deny, web, Decision{Policy: "p", Rule: "web only"}},
		{Deny, cart, Decision{Allowed: true, Policy: "p"}},
		{Log, web, Decision{Allowed: true, Policy: "p", Rule: "web only"}},
		{Log, cart, Decision{Allowed: true, Policy: "p"}},
	} {
		if got := newPolicy(t, tt.action, rule).Check(peer(t, tt.id), head); got != tt.want {
			t.Errorf("%d %s: got %+v", tt.action, tt.id, got)
		}
	}
	if newPolicy(t, Allow).Check(peer(t, web), head).Allowed {
		t.Error("an allow policy without rules allows")
	}
	if !newPolicy(t, Deny).Check(peer(t, web), head).Allowed {
		t.Error("a deny policy without rules denies")
	}
}

func TestConnectionsAreUndecidedWhereTheRequestCounts(t *testing.T) {
	get := []Permission{{Header: &match.HeaderRule{Name: ":method", Value: "GET"}}}
	notGet := []Permission{{Not: &get[0]}}
	admin := []Permission{{And: []Permission{{Ports: &Ports{8080, 8080}}, {Path: &match.Rule{Value: "/admin"}}}}}
	otherPort := []Permission{{And: []Permission{{Ports: &Ports{1, 1}}, {Path: &match.Rule{Value: "/admin"}}}}}
	allow, deny, undecided := Decision{Allowed: true}, Decision{}, Decision{Undecided: true}
	for _, tt := range []struct {
		name   string
		action Action
		rules  []Rule
		want   Decision
	}{
		{"allow GET", Allow, []Rule{{Permissions: get, Principals: anyone}}, undecided},
		{"allow GET of web", Allow, []Rule{{Permissions: get, Principals: identities(match.Exact, web)}}, deny},
		{"allow not GET", Allow, []Rule{{Permissions: notGet, Principals: anyone}}, undecided},
		{"allow GET or all", Allow, []Rule{{Permissions: get, Principals: anyone}, {Permissions: anything, Principals: anyone}}, allow},
		{"deny admin", Deny, []Rule{{Permissions: admin, Principals: anyone}}, undecided},
		{"deny admin elsewhere", Deny, []Rule{{Permissions: otherPort, Principals: anyone}}, allow},
		{"deny not GET", Deny, []Rule{{Permissions: notGet, Principals: anyone}}, undecided},
		{"deny admin or cart", Deny, []Rule{{Permissions: admin, Principals: anyone}, {Permissions: anything, Principals: identities(match.Exact, cart)}}, deny},
	} {
		p := newPolicy(t, tt.action, tt.rules...)
		got := p.Check(peer(t, cart), nil)
		got.Policy, got.Rule = "", ""
		if got != tt.want {
			t.Errorf("%s: got %+v", tt.name, got)
		}
		if p.Check(peer(t, cart), request("GET", "/")).Undecided {
			t.Errorf("%s: undecided with a request", tt.name)
		}
		if !p.NeedsHead() {
			t.Errorf("%s: does not need a head", tt.name)
		}
	}
	if newPolicy(t, Allow, Rule{Permissions: anything, Principals: anyone}).NeedsHead() {
		t.Error("a policy on connections needs a head")
	}
}

func TestTheOriginalDestinationCounts(t *testing.T) {
	p := newPolicy(t, Allow, Rule{Permissions: []Permission{{Ports: &Ports{9090, 9090}}}, Principals: anyone})
	info := peer(t, "")
	if p.Check(info, nil).Allowed {
		t.Error("port 8080 was allowed")
	}
	info.OriginalDst = netip.MustParseAddrPort("[::ffff:10.9.9.9]:9090")
	if !p.Check(info, nil).Allowed {
		t.Error("the original destination was not allowed")
	}
}

func TestZonesDoNotHideAnAddress(t *testing.T) {
	p := newPolicy(t, Deny, Rule{Permissions: anything, Principals: []Principal{{SourceIP: netip.MustParsePrefix("fe80::/10")}}})
	info := peer(t, "")
	info.Remote = netip.MustParseAddrPort("[fe80::1%eth0]:1")
	if p.Check(info, nil).Allowed {
		t.Error("an address with a zone passed")
	}
}

func TestAChainRefusesWhenAnyRefuses(t *testing.T) {
	compile := func(c Config) *Policy {
		p, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var counts, shadow Counts
	denyWeb := compile(Config{Name: "deny web", Rules: []Rule{{Name: "d", Permissions: anything, Principals: identities(match.Exact, web)}}, Counts: &counts})
	allowShop := compile(Config{Name: "allow shop", Action: Allow, Rules: []Rule{{Name: "a", Permissions: anything, Principals: identities(match.Prefix, "spiffe://mesh/ns/shop/")}}})
	shadowAll := compile(Config{Name: "shadow", Action: Allow, Shadow: true, Counts: &shadow})
	get := compile(Config{Name: "get", Rules: []Rule{{Permissions: []Permission{{Path: &match.Rule{Value: "/x"}}}, Principals: anyone}}})
	chain := Chain{denyWeb, shadowAll, allowShop}
	head := request("GET", "/")
	for _, tt := range []struct {
		chain Chain
		id    string
		head  *http.Head
		want  Decision
	}{
		{nil, "", nil, Decision{Allowed: true}},
		{chain, cart, head, Decision{Allowed: true, Policy: "allow shop", Rule: "a"}},
		{chain, web, head, Decision{Policy: "deny web", Rule: "d"}},
		{chain, "spiffe://mesh/ns/other/sa/x", head, Decision{Policy: "allow shop"}},
		{Chain{get, allowShop}, cart, nil, Decision{Undecided: true, Policy: "get"}},
		{Chain{get, denyWeb}, web, nil, Decision{Policy: "deny web", Rule: "d"}},
	} {
		if got := tt.chain.Check(peer(t, tt.id), tt.head); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.id, got, tt.want)
		}
	}
	if counts.Allowed.Load() != 2 || counts.Denied.Load() != 2 {
		t.Errorf("counted %d allowed, %d denied", counts.Allowed.Load(), counts.Denied.Load())
	}
	if shadow.Allowed.Load() != 0 || shadow.Denied.Load() != 2 {
		t.Errorf("the shadow counted %d allowed, %d denied", shadow.Allowed.Load(), shadow.Denied.Load())
	}
	if chain.NeedsHead() || !(Chain{get}).NeedsHead() {
		t.Error("NeedsHead is wrong")
	}
}

func TestErrorsNameTheRule(t *testing.T) {
	deep := Permission{Any: true}
	for range maxDepth + 2 {
		inner := deep
		deep = Permission{Not: &inner}
	}
	for want, r := range map[string]Rule{
		"needs a permission":        {Principals: anyone},
		"a condition has 0 kinds":   {Permissions: []Permission{{}}, Principals: anyone},
		"a condition has 2 kinds":   {Permissions: anything, Principals: []Principal{{Any: true, Authenticated: true}}},
		"the port range":            {Permissions: []Permission{{Ports: &Ports{2, 1}}}, Principals: anyone},
		"written as IPv6":           {Permissions: []Permission{{DestinationIP: netip.MustParsePrefix("::ffff:1.2.3.4/128")}}, Principals: anyone},
		"nest deeper":               {Permissions: []Permission{deep}, Principals: anyone},
		"compile regular":           {Permissions: anything, Principals: identities(match.Regex, "(")},
		`compile header match "x"`:  {Permissions: []Permission{{Header: &match.HeaderRule{Name: "x", Op: match.Prefix}}}, Principals: anyone},
		"the prefix, suffix or par": {Permissions: []Permission{{And: []Permission{{Path: &match.Rule{Op: match.Suffix}}}}}, Principals: anyone},
	} {
		r.Name = "bad"
		p, err := New(Config{Name: "shop", Rules: []Rule{{Name: "ok", Permissions: anything, Principals: anyone}, r}})
		if err == nil || p != nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `rule 2 "bad" of policy "shop"`) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
	if _, err := New(Config{Action: 7}); err == nil {
		t.Error("an unknown action was accepted")
	}
}

// TestTheIndexFindsWhatTryingAllFinds compares the index with all rules in turn.
func TestTheIndexFindsWhatTryingAllFinds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	id := func() string { return fmt.Sprintf("spiffe://mesh/ns/n%d/sa/s%d", r.IntN(3), r.IntN(3)) }
	var principal func(depth int) Principal
	principal = func(depth int) Principal {
		switch n := r.IntN(9); {
		case n < 3:
			return Principal{Identity: &match.Rule{Value: id()}}
		case n < 4:
			v := id()
			return Principal{Identity: &match.Rule{Op: match.Prefix, Value: v[:len(v)-r.IntN(9)]}}
		case n < 5 || depth > 2:
			return Principal{Any: true}
		case n < 6:
			return Principal{Header: &match.HeaderRule{Name: "x", Value: "1"}}
		case n < 7:
			inner := principal(depth + 1)
			return Principal{Not: &inner}
		case n < 8:
			return Principal{And: []Principal{principal(depth + 1), principal(depth + 1)}}
		}
		return Principal{Or: []Principal{principal(depth + 1), principal(depth + 1)}}
	}
	permission := func() Permission {
		switch r.IntN(4) {
		case 0:
			return Permission{Any: true}
		case 1:
			return Permission{Ports: &Ports{8080, uint16(8080 + r.IntN(100))}}
		case 2:
			return Permission{And: []Permission{{Any: true}, {Ports: &Ports{uint16(8000 + r.IntN(100)), 8101}}}}
		}
		return Permission{Or: []Permission{{Ports: &Ports{1, 2}}, {Ports: &Ports{8079, uint16(8079 + r.IntN(2))}}}}
	}
	for range 500 {
		var rules []Rule
		for range 1 + r.IntN(4) {
			rules = append(rules, Rule{Permissions: []Permission{permission()}, Principals: []Principal{principal(0)}})
		}
		p := newPolicy(t, Allow, rules...)
		for range 20 {
			info, head := peer(t, ""), request("GET", "/", "x", fmt.Sprint(r.IntN(2)))
			if r.IntN(5) > 0 {
				info = peer(t, id())
			}
			if r.IntN(4) == 0 {
				head = nil
			}
			want := no
			for i := range p.rules {
				want = max(want, p.rules[i].holds(info, head))
			}
			at, got := p.find(info, head)
			if got != want || got == yes && p.rules[at].holds(info, head) != yes {
				t.Fatalf("%s: got %d, want %d of %+v", info.Peer, got, want, rules)
			}
		}
	}
}

func manyRules(n int) (rules []Rule) {
	for i := range n {
		r := Rule{Name: fmt.Sprint(i), Permissions: []Permission{{Ports: &Ports{uint16(10000 + i%5000), uint16(10000 + i%5000)}}}, Principals: anyone}
		switch i % 3 {
		case 1:
			r.Permissions = []Permission{{Header: &match.HeaderRule{Name: ":method", Value: "GET"}}}
			r.Principals = identities(match.Exact, fmt.Sprintf("spiffe://mesh/ns/n%d/sa/s%d", i%50, i))
		case 2:
			r.Permissions = anything
			r.Principals = identities(match.Prefix, fmt.Sprintf("spiffe://mesh/ns/n%d/", i))
		}
		rules = append(rules, r)
	}
	return rules
}

func TestCheckDoesNotAllocate(t *testing.T) {
	p := newPolicy(t, Deny, manyRules(10000)...)
	chain := Chain{p, newPolicy(t, Allow, Rule{Permissions: []Permission{{Path: &match.Rule{Op: match.Prefix, Value: "/"}}}, Principals: anyone})}
	info, head := peer(t, cart), request("GET", "/")
	if n := testing.AllocsPerRun(1000, func() {
		if !chain.Check(info, head).Allowed {
			t.Fatal("denied")
		}
		chain.Check(info, nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheck(b *testing.B) {
	p := newPolicy(b, Deny, manyRules(10000)...)
	info, head := peer(b, cart), request("GET", "/")
	b.ReportAllocs()
	for b.Loop() {
		p.Check(info, head)
	}
}

package route

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/match"
)

func request(authority, path string, fields ...string) *http.Head {
	h := &http.Head{}
	h.SetMethodString("GET")
	h.SetAuthorityString(authority)
	h.SetPathString(path)
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
	return h
}

func build(t testing.TB, c Config[string]) *Table[string] {
	t.Helper()
	table, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func oneHost(routes ...Route[string]) Config[string] {
	return Config[string]{Hosts: []Host[string]{{Name: "all", Domains: []string{"*"}, Routes: routes}}}
}

func TestTheBestDomainWins(t *testing.T) {
	c := Config[string]{}
	for _, d := range []string{
		"shop.example", "shop.example:8080", "*.example", "*-b.example", "*.b.example", "shop.*", "shop.ex*", "*", "[::1]:80",
	} {
		c.Hosts = append(c.Hosts, Host[string]{Name: d, Domains: []string{strings.ToUpper(d)}, Routes: []Route[string]{{Value: d}}})
	}
	for authority, want := range map[string]string{
		"shop.example":      "shop.example",
		"shop.example:8080": "shop.example:8080",
		"shop.example:81":   "shop.ex*",
		"cart.example":      "*.example",
		"a-b.example":       "*-b.example",
		"-b.example":        "*.example",
		"x.b.example":       "*.b.example",
		".example":          "*",
		"shop.test":         "shop.*",
		"shop.":             "*",
		"shop.ex":           "shop.*",
		"other":             "*",
		"":                  "*",
		"[::1]:80":          "[::1]:80",
	} {
		if got, _ := build(t, c).Match(request(authority, "/")); got != want {
			t.Errorf("%q: got %q, want %q", authority, got, want)
		}
	}
	c.IgnorePort = true
	for authority, want := range map[string]string{
		"shop.example:8080": "shop.example", "cart.example:1": "*.example", "[::1]:80": "*",
	} {
		if got, _ := build(t, c).Match(request(authority, "/")); got != want {
			t.Errorf("%q without port: got %q, want %q", authority, got, want)
		}
	}
}

func TestWithoutDomainThereIsNoRoute(t *testing.T) {
	table := build(t, Config[string]{Hosts: []Host[string]{{Domains: []string{"a"}, Routes: []Route[string]{{Value: "x"}}}}})
	if v, ok := table.Match(request("b", "/")); ok || v != "" {
		t.Errorf("got %q", v)
	}
}

func TestConditionsMatchAsEnvoyDoes(t *testing.T) {
	no := false
	for _, tt := range []struct {
		name string
		m    Match
		yes  []*http.Head
		no   []*http.Head
	}{
		{"any", Match{}, []*http.Head{request("a", "/"), request("a", "*")}, nil},
		{"prefix", Match{Prefix: "/a"}, []*http.Head{request("a", "/a"), request("a", "/ab?c")}, []*http.Head{request("a", "/"), request("a", "/A"), request("a", "/?/a")}},
		{"prefix without case", Match{Prefix: "/A", CaseSensitive: &no}, []*http.Head{request("a", "/ab"), request("a", "/AB")}, []*http.Head{request("a", "/")}},
		{"path", Match{Path: "/a"}, []*http.Head{request("a", "/a"), request("a", "/a?b")}, []*http.Head{request("a", "/a/"), request("a", "/ab")}},
		{"path without case", Match{Path: "/a", CaseSensitive: &no}, []*http.Head{request("a", "/A?b")}, []*http.Head{request("a", "/AB")}},
		{"segments", Match{PathSeparatedPrefix: "/a"}, []*http.Head{request("a", "/a"), request("a", "/a/b"), request("a", "/a?b")}, []*http.Head{request("a", "/ab"), request("a", "/A/b")}},
		{"regex", Match{Regex: "/v[0-9]+/.*"}, []*http.Head{request("a", "/v1/x?y")}, []*http.Head{request("a", "/v1"), request("a", "/x/v1/")}},
		{"regex of alternatives", Match{Regex: "/a|/b"}, []*http.Head{request("a", "/a"), request("a", "/b")}, []*http.Head{request("a", "/ab")}},
		{"query", Match{Query: []QueryMatch{{Name: "a", Rule: match.Rule{Value: "1"}}, {Name: "b", Present: true}}},
			[]*http.Head{request("a", "/?a=1&b"), request("a", "/?b=2&a=1&a=2")},
			[]*http.Head{request("a", "/?a=1"), request("a", "/?a=2&a=1&b"), request("a", "/a=1&b"), request("a", "/?aa=1&b")}},
		{"header", Match{Headers: []match.HeaderRule{{Name: "x", Value: "1"}, {Name: ":method", Value: "GET"}}},
			[]*http.Head{request("a", "/", "x", "1")}, []*http.Head{request("a", "/"), request("a", "/", "x", "2")}},
		{"gRPC", Match{GRPC: true},
			[]*http.Head{request("a", "/", "content-type", "application/grpc"), request("a", "/", "content-type", "application/grpc+proto")},
			[]*http.Head{request("a", "/"), request("a", "/", "content-type", "application/grpc-web"), request("a", "/", "content-type", "application/json")}},
	} {
		table := build(t, oneHost(Route[string]{Match: tt.m, Value: "x"}))
		for _, h := range tt.yes {
			if _, ok := table.Match(h); !ok {
				t.Errorf("%s: %q does not match", tt.name, h.Path())
			}
		}
		connect := &http.Head{}
		connect.SetMethodString("CONNECT")
		connect.SetAuthorityString("a")
		for _, h := range append(tt.no, connect) {
			if _, ok := table.Match(h); ok {
				t.Errorf("%s: %q matches", tt.name, h.Path())
			}
		}
	}
}

func TestConnectNeedsItsOwnCondition(t *testing.T) {
	table := build(t, oneHost(
		Route[string]{Match: Match{Prefix: "/"}, Value: "prefix"}, Route[string]{Value: "any"},
		Route[string]{Match: Match{Connect: true}, Value: "connect"},
	))
	h := &http.Head{}
	h.SetMethodString("CONNECT")
	h.SetAuthorityString("db:5432")
	if got, _ := table.Match(h); got != "connect" {
		t.Errorf("got %q", got)
	}
	if got, _ := table.Match(request("a", "/")); got != "prefix" {
		t.Errorf("got %q", got)
	}
}

func TestFractionsAreExact(t *testing.T) {
	table := build(t, oneHost(
		Route[string]{Match: Match{Fraction: &Fraction{30, 100}}, Value: "part"}, Route[string]{Value: "rest"},
	))
	got := map[string]int{}
	for i := range uint64(1000) {
		v, _ := table.MatchWith(request("a", "/"), 12345+i)
		got[v]++
	}
	if got["part"] != 300 || got["rest"] != 700 {
		t.Error(got)
	}
	if (Fraction{1, 0}).Holds(0) || (Fraction{0, 1}).Holds(0) || !(Fraction{1, 1}).Holds(7) {
		t.Error("limits of a fraction are wrong")
	}
}

func TestWeightsAreExact(t *testing.T) {
	w, err := NewWeighted([]Choice[string]{{1, "a"}, {0, "never"}, {7, "b"}, {2, "c"}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for i := range uint64(1000) {
		got[w.Pick(99+i)]++
	}
	if got["a"] != 100 || got["b"] != 700 || got["c"] != 200 || len(got) != 3 {
		t.Error(got)
	}
	if n := testing.AllocsPerRun(100, func() { w.Pick(5) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if _, err := NewWeighted([]Choice[int]{{0, 1}}); err == nil {
		t.Error("a choice without weight was accepted")
	}
}

func TestErrorsNameTheRule(t *testing.T) {
	for want, c := range map[string]Config[string]{
		`route 2 "bad" of virtual host "all"`: oneHost(Route[string]{}, Route[string]{Name: "bad", Match: Match{Regex: "("}}),
		"more than one path condition":        oneHost(Route[string]{Match: Match{Path: "/a", Prefix: "/"}}),
		"ends with a slash":                   oneHost(Route[string]{Match: Match{PathSeparatedPrefix: "/a/"}}),
		"has a ? or #":                        oneHost(Route[string]{Match: Match{Path: "/a?b"}}),
		"denominator":                         oneHost(Route[string]{Match: Match{Fraction: &Fraction{1, 0}}}),
		"query parameter":                     oneHost(Route[string]{Match: Match{Query: []QueryMatch{{}}}}),
		`header match "x"`:                    oneHost(Route[string]{Match: Match{Headers: []match.HeaderRule{{Name: "x", Op: match.Regex, Value: "["}}}}),
		`domain "*" occurs twice`:             {Hosts: []Host[string]{{Domains: []string{"*", "*"}}}},
		`domain "A.b" occurs twice`:           {Hosts: []Host[string]{{Domains: []string{"a.b"}}, {Domains: []string{"A.b"}}}},
		`domain "a*b" is not valid`:           {Hosts: []Host[string]{{Domains: []string{"a*b"}}}},
		`domain "*a*" is not valid`:           {Hosts: []Host[string]{{Domains: []string{"*a*"}}}},
		`domain "" is not valid`:              {Hosts: []Host[string]{{Domains: []string{""}}}},
		`"x": it has no domains`:              {Hosts: []Host[string]{{Name: "x"}}},
	} {
		table, err := Build(c)
		if err == nil || table != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

// TestTheIndexKeepsTheOrder compares the index with trying all rules in order.
func TestTheIndexKeepsTheOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	no := false
	text := func() string {
		b := []byte("/")
		for range r.IntN(6) {
			b = append(b, "ab/A"[r.IntN(4)])
		}
		return string(b)
	}
	for range 300 {
		var routes []Route[string]
		for i := range 1 + r.IntN(40) {
			rt := Route[string]{Value: fmt.Sprint(i)}
			switch p := text(); r.IntN(6) {
			case 0:
				rt.Match.Prefix = p
			case 1:
				rt.Match.Path = p
			case 2:
				rt.Match.PathSeparatedPrefix = strings.TrimRight(p, "/")
			case 3:
				rt.Match.Regex = p + "[ab]*"
			case 4:
				rt.Match.Connect = true
			}
			if r.IntN(4) == 0 {
				rt.Match.CaseSensitive = &no
			}
			if r.IntN(2) == 0 {
				rt.Match.Headers = []match.HeaderRule{{Name: "x", Value: fmt.Sprint(r.IntN(3))}}
			}
			routes = append(routes, rt)
		}
		table := build(t, oneHost(routes...))
		for range 50 {
			h := request("a", text(), "x", fmt.Sprint(r.IntN(3)))
			want := ""
			rules := table.any.rules
			for i := range rules {
				if rules[i].holds(h, h.PathOnly(), nil) {
					want = rules[i].value
					break
				}
			}
			if got, _ := table.Match(h); got != want {
				t.Fatalf("%q: got %s, want %s of %+v", h.Path(), got, want, routes)
			}
		}
	}
}

func many(n int) Config[string] {
	var routes []Route[string]
	for i := range n {
		m := Match{PathSeparatedPrefix: fmt.Sprintf("/team%d/service%d", i%97, i)}
		switch i % 3 {
		case 1:
			m = Match{Path: fmt.Sprintf("/team%d/exact%d", i%97, i)}
		case 2:
			m = Match{Regex: fmt.Sprintf("/team%d/regex%d/[a-z]+", i%97, i)}
		}
		routes = append(routes, Route[string]{Match: m, Value: fmt.Sprint(i)})
	}
	return oneHost(append(routes, Route[string]{Match: Match{Prefix: "/"}, Value: "rest"})...)
}

func TestMatchDoesNotAllocate(t *testing.T) {
	table := build(t, many(5000))
	for _, path := range []string{"/team50/service4998/x", "/team50/exact4999", "/team49/regex4997/abc", "/nothing?q"} {
		h := request("a", path)
		if n := testing.AllocsPerRun(1000, func() {
			if _, ok := table.Match(h); !ok {
				t.Fatal("no match")
			}
			table.MatchWith(h, 3)
		}); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{10, 5000} {
		table := build(b, many(n))
		last := n - 1 - (n-1)%3
		for kind, path := range map[string]string{
			"prefix": fmt.Sprintf("/team%d/service%d/x/y", last%97, last), "rest": "/team1/index.html",
		} {
			h := request("shop.example", path)
			b.Run(fmt.Sprintf("%s-%d", kind, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					table.Match(h)
				}
			})
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a.example:80", "/a?b=1&c")
	f.Add("", "*")
	f.Add("[::1]", "/team50/service4998/")
	c := many(60)
	c.IgnorePort = true
	c.Hosts[0].Domains = []string{"*.example", "a*", "*"}
	c.Hosts[0].Routes[0].Match.Query = []QueryMatch{{Name: "b", Rule: match.Rule{Value: "1"}}}
	table := build(f, c)
	f.Fuzz(func(t *testing.T, authority, path string) { table.Match(request(authority, path)) })
}

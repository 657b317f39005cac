package match

import (
	"math"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/proxy/http"
)

func TestStringsMatchAsEnvoyDoes(t *testing.T) {
	for _, tt := range []struct {
		rule Rule
		yes  []string
		no   []string
	}{
		{Rule{Op: Exact, Value: "a.B"}, []string{"a.B"}, []string{"", "a.b", "a.B ", "xa.B"}},
		{Rule{Op: Exact}, []string{""}, []string{"a"}},
		{Rule{Op: Exact, Value: "a.B", IgnoreCase: true}, []string{"A.b", "a.b"}, []string{"a.c", "a"}},
		{Rule{Op: Prefix, Value: "/a"}, []string{"/a", "/ab"}, []string{"/", "/A", "b/a"}},
		{Rule{Op: Prefix, Value: "/A", IgnoreCase: true}, []string{"/a", "/AB"}, []string{"/"}},
		{Rule{Op: Suffix, Value: ".com"}, []string{".com", "a.com"}, []string{"com", "a.COM", ".com."}},
		{Rule{Op: Suffix, Value: ".com", IgnoreCase: true}, []string{"a.COM"}, []string{"com"}},
		{Rule{Op: Contains, Value: "aab"}, []string{"aab", "aaab", "xaaby"}, []string{"aa", "aba", "AAB"}},
		{Rule{Op: Contains, Value: "aab", IgnoreCase: true}, []string{"xAaBy"}, []string{"aa"}},
		{Rule{Op: Regex, Value: "a|bc"}, []string{"a", "bc"}, []string{"ab", "abc", "xbc", "a\n"}},
		{Rule{Op: Regex, Value: "(?i)abc"}, []string{"ABC"}, []string{"abcd"}},
	} {
		s, err := tt.rule.Compile()
		if err != nil {
			t.Fatalf("%+v: %v", tt.rule, err)
		}
		for _, v := range tt.yes {
			if !s.Match([]byte(v)) || !s.MatchString(v) {
				t.Errorf("%+v does not match %q", tt.rule, v)
			}
		}
		for _, v := range tt.no {
			if s.Match([]byte(v)) || s.MatchString(v) {
				t.Errorf("%+v matches %q", tt.rule, v)
			}
		}
	}
}

func TestBadRulesAreRefused(t *testing.T) {
	for _, r := range []Rule{
		{Op: Prefix}, {Op: Suffix}, {Op: Contains}, {Op: Present}, {Op: Range}, {Op: 99},
		{Op: Regex, Value: "("}, {Op: Regex, Value: "a", IgnoreCase: true},
		{Op: Regex, Value: strings.Repeat("a", maxRegex+1)},
		{Op: Regex, Value: "a)|(b"},
	} {
		if _, err := r.Compile(); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
	for _, r := range []HeaderRule{
		{}, {Name: ":status"}, {Name: "a", Op: Range}, {Name: "a", Op: Prefix}, {Name: "a", Op: Exact, Absent: true},
	} {
		if _, err := r.Compile(); err == nil {
			t.Errorf("%+v was accepted", r)
		}
	}
}

func head(fields ...string) *http.Head {
	h := &http.Head{}
	h.SetMethodString("POST")
	h.SetSchemeString("https")
	h.SetAuthorityString("shop.example:8443")
	h.SetPathString("/a?b=1")
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
	return h
}

func TestHeadersMatchAsEnvoyDoes(t *testing.T) {
	h := head("x-n", "5", "accept", "a", "x-two", "a", "accept", "b", "x-two", "b", "x-two", "c", "x-empty", "")
	h.AddString("x-gone", "1")
	h.Del("x-gone")
	for _, tt := range []struct {
		rule HeaderRule
		want bool
	}{
		{HeaderRule{Name: ":method", Value: "POST"}, true},
		{HeaderRule{Name: ":scheme", Value: "https"}, true},
		{HeaderRule{Name: ":authority", Op: Prefix, Value: "shop."}, true},
		{HeaderRule{Name: "Host", Op: Prefix, Value: "shop."}, true},
		{HeaderRule{Name: ":path", Value: "/a?b=1"}, true},
		{HeaderRule{Name: "X-N", Value: "5"}, true},
		{HeaderRule{Name: "accept", Value: "a,b"}, true},
		{HeaderRule{Name: "accept", Value: "a"}, false},
		{HeaderRule{Name: "x-two", Value: "a,b,c"}, true},
		{HeaderRule{Name: "x-two", Op: Regex, Value: "a,.*"}, true},
		{HeaderRule{Name: "x-n", Op: Range, From: 5, To: 6}, true},
		{HeaderRule{Name: "x-n", Op: Range, From: 4, To: 5}, false},
		{HeaderRule{Name: "x-n", Op: Range, From: 4, To: 5, Invert: true}, true},
		{HeaderRule{Name: "x-two", Op: Range, From: math.MinInt64, To: math.MaxInt64}, false},
		{HeaderRule{Name: "x-n", Value: "6", Invert: true}, true},
		{HeaderRule{Name: "x-none", Value: "6", Invert: true}, false},
		{HeaderRule{Name: "x-none", Value: "6", Invert: true, MissingAsEmpty: true}, true},
		{HeaderRule{Name: "x-none", MissingAsEmpty: true}, true},
		{HeaderRule{Name: "x-empty"}, true},
		{HeaderRule{Name: "x-none"}, false},
		{HeaderRule{Name: "x-none", Op: Present}, false},
		{HeaderRule{Name: "x-gone", Op: Present}, false},
		{HeaderRule{Name: "x-empty", Op: Present}, true},
		{HeaderRule{Name: "x-none", Op: Present, Absent: true}, true},
		{HeaderRule{Name: "x-none", Op: Present, Invert: true}, true},
		{HeaderRule{Name: "x-none", Op: Present, Invert: true, Absent: true}, false},
		{HeaderRule{Name: "x-n", Op: Present, Invert: true}, false},
		{HeaderRule{Name: "x-n", Op: Present, Absent: true}, false},
	} {
		m, err := tt.rule.Compile()
		if err != nil {
			t.Fatalf("%+v: %v", tt.rule, err)
		}
		if got := m.Match(h); got != tt.want {
			t.Errorf("%+v: got %v", tt.rule, got)
		}
	}
	if _, ok := h.Get("x-two"); !ok {
		t.Error("matching changed the head")
	}
}

func TestIntegersAreWhole(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int64
		ok   bool
	}{
		{"0", 0, true}, {"-1", -1, true}, {"+7", 7, true},
		{"9223372036854775807", math.MaxInt64, true}, {"-9223372036854775808", math.MinInt64, true},
		{"9223372036854775808", 0, false}, {"-9223372036854775809", 0, false}, {"18446744073709551617", 0, false},
		{"", 0, false}, {"-", 0, false}, {" 1", 0, false}, {"1a", 0, false}, {"-+1", 0, false},
	} {
		if n, ok := integer([]byte(tt.in)); ok != tt.ok || ok && n != tt.want {
			t.Errorf("%q: got %d, %v", tt.in, n, ok)
		}
	}
}

func TestMatchDoesNotAllocate(t *testing.T) {
	h := head("x-n", "5", "accept", "a,b")
	var list []*Header
	for _, r := range []HeaderRule{
		{Name: "x-n", Op: Range, From: 5, To: 6}, {Name: "accept", Op: Regex, Value: "a.*"},
		{Name: ":path", Op: Contains, Value: "?b"}, {Name: "x-none", Op: Present, Absent: true},
	} {
		m, err := r.Compile()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	if n := testing.AllocsPerRun(1000, func() {
		for _, m := range list {
			if !m.Match(h) {
				t.Fatal("no match")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRegex(f *testing.F) {
	f.Add("a|b", "ab")
	f.Add("a)|(b", "b")
	f.Add(`\`, "")
	f.Add("(?m)^a$", "a\nb")
	f.Fuzz(func(t *testing.T, expr, v string) {
		s, err := Rule{Op: Regex, Value: expr}.Compile()
		if err != nil {
			return
		}
		if s.Match([]byte(v)) != s.MatchString(v) {
			t.Fatal("bytes and string differ")
		}
	})
}

package http

import (
	"strings"
	"testing"
)

func TestEveryKnownNameIsLookedUp(t *testing.T) {
	for id := Name(1); id < nameCount; id++ {
		name := string(id.Bytes())
		if name == "" || name != strings.ToLower(name) {
			t.Errorf("name %d is %q", id, name)
		}
		if got := Lookup([]byte(name)); got != id {
			t.Errorf("Lookup(%q) = %d, want %d", name, got, id)
		}
		if got := lookupString(name); got != id {
			t.Errorf("lookupString(%q) = %d, want %d", name, got, id)
		}
	}
	for _, unknown := range []string{"", "x", "Host", "hosts"} {
		if got := lookupString(unknown); got != Other {
			t.Errorf("lookupString(%q) = %d", unknown, got)
		}
	}
}

func TestFieldsAreAddedReplacedAndRemoved(t *testing.T) {
	var h Head
	h.AddString("x-a", "1")
	h.AddString("host", "shop")
	h.Add([]byte("x-a"), []byte("2"))
	if v, _ := h.Get("x-a"); string(v) != "1" {
		t.Errorf("first x-a = %q", v)
	}
	h.Set("x-a", "3")
	h.SetNamed(Host, []byte("cart"))
	h.AddString("x-b", "4")
	h.Del("x-b")
	var got []string
	for i := range h.Slots() {
		if f, ok := h.At(i); ok {
			got = append(got, string(f.Name)+"="+string(f.Value))
		}
	}
	if want := "x-a=3 host=cart"; strings.Join(got, " ") != want || h.Len() != 2 {
		t.Errorf("fields %v, %d of them; want %s", got, h.Len(), want)
	}
}

func TestCopySharesNothing(t *testing.T) {
	var a, b Head
	a.SetMethodString("GET")
	a.AddString("x-a", "1")
	b.CopyFrom(&a)
	a.Reset()
	a.SetMethodString("PUT")
	a.AddString("x-a", "9")
	if v, _ := b.Get("x-a"); string(v) != "1" || string(b.Method()) != "GET" {
		t.Errorf("the copy changed: %s %s", b.Method(), v)
	}
}

func TestHostAndPath(t *testing.T) {
	for _, c := range []struct{ authority, host string }{
		{"shop", "shop"}, {"shop:80", "shop"}, {"[::1]", "[::1]"}, {"[::1]:80", "[::1]"}, {"", ""},
	} {
		var h Head
		h.SetAuthorityString(c.authority)
		if got := string(h.Host()); got != c.host {
			t.Errorf("Host of %q = %q", c.authority, got)
		}
	}
	var h Head
	h.SetPathString("/a/b?c=/d?")
	if got := string(h.PathOnly()); got != "/a/b" {
		t.Errorf("PathOnly() = %q", got)
	}
}

func TestAReusedHeadDoesNotAllocate(t *testing.T) {
	var h Head
	long := []byte(strings.Repeat("x", 100))
	got := testing.AllocsPerRun(100, func() {
		h.Reset()
		h.SetMethodString("GET")
		h.SetAuthorityString("shop:80")
		for range 10 {
			h.Add(long, long)
			h.AddString("user-agent", "curl")
		}
		h.Get("user-agent")
		h.Del("user-agent")
	})
	if got != 0 {
		t.Errorf("%v allocations", got)
	}
}

func TestEveryKindHasAWord(t *testing.T) {
	seen := map[string]bool{}
	for k := range kindCount {
		w := k.String()
		if w == "" || seen[w] {
			t.Errorf("kind %d has the word %q", k, w)
		}
		seen[w] = true
	}
}

package cli

import (
	"errors"
	"testing"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func TestAServiceStandsForItsOnlyProxy(t *testing.T) {
	missing := errors.New("missing")
	proxies := []*adminv1.Proxy{
		{Name: "hello-fshbei", Service: "hello", Connected: true},
		{Name: "hello-gone", Service: "hello"},
		{Name: "me-aaaaaa", Service: "me", Connected: true}, {Name: "me-bbbbbb", Service: "me", Connected: true},
		{Name: "job-cccccc", Connected: true},
	}
	for _, n := range []string{"1", "2", "3", "4", "5", "6", "7"} {
		proxies = append(proxies, &adminv1.Proxy{Name: "many-" + n, Service: "many", Connected: true})
	}
	for _, c := range []struct{ word, want, fails string }{
		{"hello", "hello-fshbei", ""},
		{"hello-f", "", "no proxy named hello-f is connected; did you mean hello-fshbei?"},
		{"hello-g", "", "missing"},
		{"me", "", "service me has 2 proxies: name one of me-aaaaaa or me-bbbbbb"},
		{"job", "", "no proxy named job is connected; did you mean job-cccccc?"},
		{"many", "", "service many has 7 proxies: name one of many-1, many-2, many-3, many-4, many-5 and 2 more"},
		{"other", "", "missing"},
	} {
		got, err := meant(c.word, proxies, missing)
		if got != c.want || (err == nil) != (c.fails == "") || err != nil && err.Error() != c.fails {
			t.Errorf("%s: %q, %v", c.word, got, err)
		}
	}
}

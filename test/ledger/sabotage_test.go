package ledger

import (
	"slices"
	"testing"
	"time"
)

// sabotages damage requests of a real run, in ways that its table does not
// allow. Each is one that a healthy run has been given.
var sabotages = [kinds]func(c *Client, r Request){
	Lost:      func(c *Client, r Request) { r.Behaviour = Reset; c.Do(&r) },
	Corrupted: func(c *Client, r Request) { r.Behaviour = Flipped; c.Do(&r) },
	Hung:      func(c *Client, r Request) { r.Behaviour = Silent; c.Do(&r) },
	Misrouted: func(c *Client, r Request) { r.Backend = "two"; c.Do(&r) },
	Doubled: func(c *Client, r Request) {
		c.Do(&r)
		c.Do(&r)
	},
}

// TestEverySabotageOfARealRunIsFound hides 100 of each kind among requests
// through a proxy to which nothing happens.
func TestEverySabotageOfARealRunIsFound(t *testing.T) {
	t.Parallel()
	l := New()
	w, _ := static(t, backends(t, l))
	requests := Mix(1000, 4, deadline, "one")
	want := map[ID]Kind{}
	for i := range requests {
		r := &requests[i]
		r.Behaviour = Prompt
		if i%2 == 1 {
			continue
		}
		kind := Kind(i / 2 % int(kinds))
		want[r.ID] = kind
		if kind == Doubled && (r.Method == "GET" || r.Method == "PUT") {
			r.Method = "POST"
		}
		if kind == Hung {
			r.Deadline = time.Second
		}
	}
	c := NewClient(l, w)
	pace(len(requests), 200, func(i int, _ time.Time) {
		if kind, ok := want[requests[i].ID]; ok {
			sabotages[kind](c, requests[i])
			return
		}
		c.Do(&requests[i])
	})
	c.Close()
	r := Join(Expectations(requests), l.Entries())
	var found [kinds]int
	for _, f := range r.Findings {
		if kind, ok := want[f.ID]; !ok || kind != f.Kind {
			t.Errorf("found what was not injected: %s (%v)%s", f, &requests[f.ID-1], l.story(f.ID))
			continue
		}
		delete(want, f.ID)
		found[f.Kind]++
	}
	for id, kind := range want {
		t.Errorf("request %s was to be %s, which was not found: %v%s", id, kind, &requests[id-1], l.story(id))
	}
	if !slices.Equal(found[:], []int{100, 100, 100, 100, 100}) {
		t.Errorf("found %v", found)
	}
}

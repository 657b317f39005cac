package ledger

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// healthy is a ledger of n requests to which nothing happened, five entries
// each; every fourth was to fail and did.
func healthy(n int) ([]Expectation, []Entry) {
	table := make([]Expectation, n)
	entries := make([]Entry, 0, 5*n+len(injections)) // room for what is injected
	for i := range table {
		id, at := ID(i+1), time.Duration(i)*time.Millisecond
		table[i] = Expectation{ID: id, Backends: []string{"one"}, Once: i%2 == 0, Deadline: time.Second}
		end := Entry{ID: id, Event: Complete, By: "client", At: at + time.Millisecond, Digest: uint64(id) << 32}
		if i%4 == 3 {
			table[i].End = MustFail
			end.Event, end.Digest = Failed, 0
		}
		entries = append(entries,
			Entry{ID: id, Event: Sent, By: "client", At: at, Digest: uint64(id)},
			Entry{ID: id, Event: Arrived, By: "one", At: at},
			Entry{ID: id, Event: Received, By: "one", At: at, Digest: uint64(id)},
			Entry{ID: id, Event: Answered, By: "one", At: at, Digest: uint64(id) << 32},
			end)
	}
	return table, entries
}

// injections are the ways to damage the entries of one healthy request, which
// is not idempotent and completed.
var injections = [...]struct {
	name   string
	finds  Kind
	damage func(all, of []Entry) []Entry
	stray  bool // found under the id 0
}{
	{"a loss", Lost, func(all, of []Entry) []Entry { of[4].Event = Failed; return all }, false},
	{"a double", Doubled, func(all, of []Entry) []Entry { return append(all, of[1]) }, false},
	{"a byte swapped on the way there", Corrupted, func(all, of []Entry) []Entry { of[2].Digest ^= 1; return all }, false},
	{"a byte swapped on the way back", Corrupted, func(all, of []Entry) []Entry { of[4].Digest ^= 1; return all }, false},
	{"the answer of another request", Corrupted, func(all, of []Entry) []Entry { of[4].Digest += 1 << 32; return all }, false},
	{"an answer that nobody gave", Corrupted, func(all, of []Entry) []Entry { of[3] = of[2]; return all }, false},
	{"a request that nobody sent", Corrupted, func(all, of []Entry) []Entry { return append(all, Entry{Event: Arrived, By: "one"}) }, true},
	{"a misroute", Misrouted, func(all, of []Entry) []Entry { of[1].By = "two"; return all }, false},
	{"a hang to the end", Hung, func(all, of []Entry) []Entry { of[4] = of[3]; return all }, false},
	{"a hang", Hung, func(all, of []Entry) []Entry { of[4].At += 2*time.Second + time.Millisecond; return all }, false},
}

func TestAHealthyLedgerHasNoFindings(t *testing.T) {
	table, entries := healthy(1000)
	r := Join(table, entries)
	if len(r.Findings) > 0 || r.Completed != 750 || r.Refused != 250 {
		t.Errorf("%+v", r)
	}
}

func TestACompleteAnswerOfABrokenBackendIsCorrupted(t *testing.T) {
	table, entries := healthy(4)
	entries[19].Event, entries[19].Digest = Complete, entries[18].Digest
	if r := Join(table, entries); len(r.Findings) != 1 || r.Findings[0].Kind != Corrupted || r.Findings[0].ID != 4 {
		t.Errorf("%+v", r)
	}
}

// TestInjectedFaultsAreFound damages, 100 times, one request of many in each
// way. LEDGER_REQUESTS says how many there are.
func TestInjectedFaultsAreFound(t *testing.T) {
	n := 1000
	if s := os.Getenv("LEDGER_REQUESTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	table, entries := healthy(n)
	found := map[string]int{}
	for range 100 {
		damaged, undo := entries, [len(injections)][5]Entry{}
		want := map[Finding]string{}
		victims := random.Perm(n / 4)[:len(injections)]
		for k, x := range injections {
			of := entries[20*victims[k]:][:5]
			undo[k] = [5]Entry(of)
			damaged = x.damage(damaged, of)
			id := of[0].ID
			if x.stray {
				id = 0
			}
			want[Finding{Kind: x.finds, ID: id}] = x.name
		}
		r := Join(table, damaged)
		for _, f := range r.Findings {
			name, ok := want[Finding{Kind: f.Kind, ID: f.ID}]
			if !ok {
				t.Errorf("found what was not injected, or twice: %s", f)
			}
			delete(want, Finding{Kind: f.Kind, ID: f.ID})
			found[name]++
		}
		for f, name := range want {
			t.Errorf("%s in request %s was not found", name, f.ID)
		}
		for k := range injections {
			copy(entries[20*victims[k]:], undo[k][:])
		}
	}
	for _, x := range injections {
		t.Logf("%s among %d requests: found %d of 100", x.name, n, found[x.name])
	}
}

package ledger

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// number reads an environment variable that make ledger sets.
func number(t testing.TB, variable string, otherwise int) int {
	t.Helper()
	s := os.Getenv(variable)
	if s == "" {
		return otherwise
	}
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		t.Fatalf("%s=%q is no number of requests", variable, s)
	}
	return n
}

// volume says how many requests a test sends at which rate. Those of go test are
// few and run beside each other; make ledger asks for many, one test at a time.
func volume(t *testing.T, requests, rate int) (int, int) {
	t.Helper()
	if os.Getenv("LEDGER_REQUESTS") == "" {
		t.Parallel()
	}
	return number(t, "LEDGER_REQUESTS", requests), number(t, "LEDGER_RATE", rate)
}

// deadline is generous: a busy machine is slow, but nothing waits for ever.
const deadline = time.Minute

// backends starts one and two.
func backends(t testing.TB, l *Ledger) []*Backend {
	t.Helper()
	var all []*Backend
	for _, name := range []string{"one", "two"} {
		b, err := NewBackend(name, l)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(b.Close)
		all = append(all, b)
	}
	return all
}

// run sends requests into a world and joins what came of them.
func run(t testing.TB, l *Ledger, w World, requests []Request, rate int) *Report {
	t.Helper()
	c := NewClient(l, w)
	latencies := c.Load(requests, rate)
	c.Close()
	r := Join(Expectations(requests), l.Entries())
	t.Log("\n" + Table(requests, r, latencies))
	return r
}

// shown is how many findings of a kind a failed test tells in full.
const shown = 8

// clean fails the test for each finding.
func clean(t testing.TB, l *Ledger, requests []Request, r *Report) {
	t.Helper()
	var told [kinds]int
	for _, f := range r.Findings {
		if told[f.Kind]++; told[f.Kind] > shown {
			continue
		}
		about := ""
		if n := int(f.ID); n > 0 && n <= len(requests) {
			about = fmt.Sprintf(" (%v)", &requests[n-1])
		}
		t.Errorf("%s%s%s", f, about, l.story(f.ID))
	}
}

// TestTheLedgerIsCleanWithNothingBetween holds that client, backends and table
// agree.
func TestTheLedgerIsCleanWithNothingBetween(t *testing.T) {
	n, rate := volume(t, 500, 150)
	l := New()
	all := backends(t, l)
	requests := Mix(n, 1, deadline, "one", "two")
	for i := range requests {
		if r := &requests[i]; r.Behaviour == Long {
			r.Behaviour = Prompt // the client takes notice of what a proxy is to keep from it
		}
	}
	clean(t, l, requests, run(t, l, Direct(all...), requests, rate))
}

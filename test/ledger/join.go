package ledger

import (
	"fmt"
	"slices"
	"time"
)

// End is how a request may end by the table.
type End uint8

const (
	MustComplete End = iota
	MayFail
	MustFail // its backend gives no complete answer
)

// Expectation is a request's row of the table.
type Expectation struct {
	ID       ID
	Backends []string // that may get it
	Once     bool     // not idempotent: at most one of them, once
	End      End
	Deadline time.Duration // from Sent to the end
}

// grace is what a request may take past its deadline.
const grace = time.Second

// Kind is a way to break the promise.
type Kind uint8

const (
	Lost      Kind = iota // no complete answer, and the table does not allow that
	Doubled               // a request that is not idempotent reached backends twice
	Corrupted             // bytes that are not those sent, or of another request
	Misrouted             // a backend that the table does not name
	Hung                  // no end by the deadline and a second
	kinds
)

// names is never written.
var names = [kinds]string{"lost", "doubled", "corrupted", "misrouted", "hung"}

func (k Kind) String() string { return names[k] }

// Finding is one broken promise.
type Finding struct {
	Kind Kind
	ID   ID
	Text string
}

func (f Finding) String() string { return fmt.Sprintf("%s: request %s: %s", f.Kind, f.ID, f.Text) }

// Report is what a join finds.
type Report struct {
	Requests, Completed, Refused int // Refused failed, as the table allows
	Findings                     []Finding
}

// Count returns how many findings are of a kind.
func (r *Report) Count(k Kind) int {
	n := 0
	for _, f := range r.Findings {
		if f.Kind == k {
			n++
		}
	}
	return n
}

// history is all that happened to one request.
type history struct {
	expected           Expectation
	sent, ends         []Entry
	arrived            []Entry
	received, answered []Entry
}

// Join holds what happened against what was allowed.
func Join(table []Expectation, entries []Entry) *Report {
	histories := make([]history, len(table))
	byID := make(map[ID]*history, len(table))
	for i, e := range table {
		histories[i].expected = e
		byID[e.ID] = &histories[i]
	}
	r := &Report{Requests: len(table)}
	for _, e := range entries {
		h := byID[e.ID]
		if h == nil {
			r.found(Corrupted, e.ID, "%s has it, but nobody was to send it", e.By)
			continue
		}
		h.add(e)
	}
	for i := range histories {
		r.judge(&histories[i])
	}
	return r
}

func (h *history) add(e Entry) {
	var to *[]Entry
	switch e.Event {
	case Sent:
		to = &h.sent
	case Complete, Failed:
		to = &h.ends
	case Arrived:
		to = &h.arrived
	case Received:
		to = &h.received
	case Answered:
		to = &h.answered
	}
	*to = append(*to, e)
}

func (r *Report) found(k Kind, id ID, format string, args ...any) {
	r.Findings = append(r.Findings, Finding{k, id, fmt.Sprintf(format, args...)})
}

func (r *Report) judge(h *history) {
	x := &h.expected
	if len(h.sent) == 0 {
		r.found(Lost, x.ID, "it was never sent")
		return
	}
	for _, e := range h.arrived {
		if !slices.Contains(x.Backends, e.By) {
			r.found(Misrouted, x.ID, "%s got it, only %v may", e.By, x.Backends)
		}
	}
	if x.Once && len(h.arrived) > 1 {
		r.found(Doubled, x.ID, "backends got it %d times", len(h.arrived))
	}
	for _, e := range h.received {
		if e.Digest != h.sent[0].Digest {
			r.found(Corrupted, x.ID, "%s received another body than was sent", e.By)
		}
	}
	r.judgeEnd(h)
}

// judgeEnd judges what the client saw, by one finding at the most.
func (r *Report) judgeEnd(h *history) {
	x, sent := &h.expected, h.sent[0]
	switch {
	case len(h.ends) == 0:
		r.found(Hung, x.ID, "it never ended")
		return
	case len(h.ends) > len(h.sent):
		r.found(Corrupted, x.ID, "it ended %d times", len(h.ends))
		return
	}
	end := h.ends[0]
	complete := end.Event == Complete
	switch took := end.At - sent.At; {
	case took > x.Deadline+grace:
		r.found(Hung, x.ID, "it ended after %v, its deadline is %v: %s", took.Round(time.Millisecond), x.Deadline, end.Note)
	case complete && x.End == MustFail:
		r.found(Corrupted, x.ID, "its client has a complete answer that its backend did not give")
	case complete && !slices.ContainsFunc(h.answered, func(e Entry) bool { return e.Digest == end.Digest }):
		r.found(Corrupted, x.ID, "its client has an answer that no backend gave")
	case complete:
		r.Completed++
	case x.End == MustComplete:
		r.found(Lost, x.ID, "%s", end.Note)
	default:
		r.Refused++
	}
}

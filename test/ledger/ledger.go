// Package ledger counts whether anything was lost. Each request of a run has an
// id and bodies that follow from it; its client and the backends append what
// happens to it, and a join afterwards holds that against a table of what was
// allowed. What it counts is 0 in every run; anything else is a defect.
//
// A run is a world (addresses that lead to the backends through what is under
// test), a mix of requests and an open-loop load. Disturbing the world while
// the load runs, such as by a restart, is the caller's affair: the table says
// what that may cost.
package ledger

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ID is a request's. 0 is that of bytes that name none.
type ID uint64

func (id ID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Event is what happened.
type Event uint8

// Sent, Complete and Failed are a client's, Arrived, Received and Answered a
// backend's.
const (
	Sent     Event = iota // the request begins, with this body
	Complete              // the answer ended in order, with this body
	Failed                // there is no complete answer
	Arrived               // the request's head is here
	Received              // the request ended in order, with this body
	Answered              // an answer with this body begins
)

func (e Event) String() string {
	return [...]string{"sent", "complete", "failed", "arrived", "received", "answered"}[e]
}

// Entry is a line of the ledger.
type Entry struct {
	ID     ID
	Event  Event
	By     string        // the client or the backend
	At     time.Duration // since the ledger began
	Digest uint64        // of a body
	Note   string        // why it failed
}

// Ledger may be appended to from any goroutine.
type Ledger struct {
	begun   time.Time
	mu      sync.Mutex
	entries []Entry
}

// New begins a ledger.
func New() *Ledger { return &Ledger{begun: time.Now()} }

// Append adds an entry and dates it.
func (l *Ledger) Append(e Entry) {
	e.At = time.Since(l.begun)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
}

// story tells what happened to one request.
func (l *Ledger) story(id ID) string {
	var b strings.Builder
	for _, e := range l.Entries() {
		if e.ID == id {
			fmt.Fprintf(&b, "\n\t%v %s %s %x %s", e.At, e.By, e.Event, e.Digest, e.Note)
		}
	}
	return b.String()
}

// Entries returns all entries so far.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries[:len(l.entries):len(l.entries)]
}

package xds

import (
	"maps"
	"slices"
)

// EventKind tells what a response says about a resource.
type EventKind uint8

const (
	// Changed: the resource is new or has a new version.
	Changed EventKind = iota + 1
	// Removed: a resource that the client held is gone.
	Removed
	// Absent: a name that the client asked for does not exist (yet).
	Absent
)

func (k EventKind) String() string {
	switch k {
	case Changed:
		return "changed"
	case Removed:
		return "removed"
	case Absent:
		return "absent"
	}
	return "unknown"
}

// Event is one resource's news.
type Event struct {
	Kind     EventKind
	Resource Resource // of Removed and Absent: name and type only
}

// Subscriptions is the client's side of delta streams: what is wanted, what is
// held, and what must be said next. It outlives a stream; after a new one was
// opened, Reconnected makes it say everything again. It is not safe for
// concurrent use.
type Subscriptions struct {
	types []*subscription // in order of first use
}

type subscription struct {
	typeURL string
	wanted  map[string]bool // names, and Wildcard
	held    map[string]held
	told    bool // this stream has carried a request for the type
	add     map[string]bool
	remove  map[string]bool
	open    []openResponse
	answers []answer
}

type held struct {
	accepted string // version in use, "" for none
	seen     string // version of the last response, accepted or not decided yet
}

// openResponse is a response that was neither accepted nor refused yet.
type openResponse struct {
	nonce string
	sent  []Resource // names and versions; a removal has no version
}

type answer struct{ nonce, detail string }

func (s *Subscriptions) of(typeURL string) *subscription {
	for _, t := range s.types {
		if t.typeURL == typeURL {
			return t
		}
	}
	t := &subscription{
		typeURL: typeURL,
		wanted:  make(map[string]bool), held: make(map[string]held),
		add: make(map[string]bool), remove: make(map[string]bool),
	}
	s.types = append(s.types, t)
	return t
}

// Subscribe asks for resources. Names that are subscribed already change
// nothing.
func (s *Subscriptions) Subscribe(typeURL string, names ...string) {
	t := s.of(typeURL)
	for _, name := range names {
		if t.wanted[name] {
			continue
		}
		t.wanted[name] = true
		delete(t.remove, name)
		t.add[name] = true
	}
}

// Unsubscribe forgets resources. Their removal is not reported.
func (s *Subscriptions) Unsubscribe(typeURL string, names ...string) {
	t := s.of(typeURL)
	for _, name := range names {
		if !t.wanted[name] {
			continue
		}
		delete(t.wanted, name)
		delete(t.add, name)
		t.remove[name] = true
		if name == Wildcard {
			maps.DeleteFunc(t.held, func(name string, _ held) bool { return !t.wanted[name] })
		} else if !t.wanted[Wildcard] {
			delete(t.held, name)
		}
	}
}

// Restore declares a resource that the client holds from an earlier life (its
// last good state on disk), so that the server does not send it again. Call it
// before the first Next.
func (s *Subscriptions) Restore(typeURL, name, version string) {
	s.of(typeURL).held[name] = held{accepted: version, seen: version}
}

// Reconnected starts over on a new stream: every subscription is said again,
// with the versions held, and answers to the old stream's responses are
// dropped.
func (s *Subscriptions) Reconnected() {
	for _, t := range s.types {
		t.told = false
		t.open, t.answers = nil, nil
		clear(t.remove)
		clear(t.add)
		for name := range t.wanted {
			t.add[name] = true
		}
		for name, h := range t.held {
			if h.accepted == "" {
				delete(t.held, name)
				continue
			}
			t.held[name] = held{accepted: h.accepted, seen: h.accepted}
		}
	}
}

// HandleResponse takes a response and returns what is new in it, in the
// response's order. The caller decides about the events and then calls Ack or
// Nack with the response's type and nonce; both must be called for a response
// without events too.
func (s *Subscriptions) HandleResponse(r *DeltaResponse) []Event {
	t := s.of(r.TypeURL)
	events := make([]Event, 0, len(r.Resources)+len(r.Removed))
	open := openResponse{nonce: r.Nonce}
	for _, res := range r.Resources {
		if !t.wants(res.Name) {
			continue // crossed our unsubscription
		}
		res.TypeURL = r.TypeURL
		open.sent = append(open.sent, Resource{Name: res.Name, Version: res.Version})
		h := t.held[res.Name]
		if h.seen == res.Version && res.Version != "" {
			continue
		}
		h.seen = res.Version
		t.held[res.Name] = h
		events = append(events, Event{Kind: Changed, Resource: res})
	}
	for _, name := range r.Removed {
		if !t.wants(name) {
			continue
		}
		kind := Absent
		if _, ok := t.held[name]; ok {
			kind = Removed
			delete(t.held, name)
		} else if !t.wanted[name] {
			continue
		}
		events = append(events, Event{Kind: kind, Resource: Resource{Name: name, TypeURL: r.TypeURL}})
	}
	t.open = append(t.open, open)
	return events
}

func (t *subscription) wants(name string) bool { return t.wanted[name] || t.wanted[Wildcard] }

// Ack accepts a response.
func (s *Subscriptions) Ack(typeURL, nonce string) { s.Nack(typeURL, nonce, nil) }

// Nack accepts a response but for the resources named; of those the version
// held before stays. Without any it is Ack.
func (s *Subscriptions) Nack(typeURL, nonce string, rejected []Rejection) {
	t := s.of(typeURL)
	i := slices.IndexFunc(t.open, func(o openResponse) bool { return o.nonce == nonce })
	if i < 0 {
		return // of an earlier stream
	}
	sent := t.open[i].sent
	t.open = slices.Delete(t.open, i, i+1)
	for _, res := range sent {
		h, ok := t.held[res.Name]
		if !ok || h.seen != res.Version {
			continue // unsubscribed or replaced meanwhile
		}
		switch {
		case !slices.ContainsFunc(rejected, func(r Rejection) bool { return r.Name == res.Name }):
			h.accepted = res.Version
			t.held[res.Name] = h
		case h.accepted == "":
			delete(t.held, res.Name)
		default:
			h.seen = h.accepted
			t.held[res.Name] = h
		}
	}
	t.answers = append(t.answers, answer{nonce, formatRejections(rejected)})
}

// Next returns the requests to send now, in order. A second call returns none
// until something has happened.
func (s *Subscriptions) Next() []*DeltaRequest {
	var requests []*DeltaRequest
	for _, t := range s.types {
		for _, a := range t.answers {
			requests = append(requests, &DeltaRequest{TypeURL: t.typeURL, Nonce: a.nonce, Error: a.detail})
		}
		t.answers = nil
		if r := t.changes(); r != nil {
			requests = append(requests, r)
		}
	}
	return requests
}

// changes returns the request that brings the server's idea of the subscription
// up to date, nil when it is.
func (t *subscription) changes() *DeltaRequest {
	r := &DeltaRequest{TypeURL: t.typeURL}
	if t.told {
		r.Unsubscribe = sortedNames(t.remove)
	}
	clear(t.remove)
	r.Subscribe = sortedNames(t.add)
	clear(t.add)
	if len(r.Subscribe) == 0 && (len(r.Unsubscribe) == 0 || !t.told) {
		// A first request without names would mean everything.
		return nil
	}
	if !t.told {
		t.told = true
		for name, h := range t.held {
			if h.accepted == "" || !t.wants(name) {
				continue
			}
			if r.InitialVersions == nil {
				r.InitialVersions = make(map[string]string, len(t.held))
			}
			r.InitialVersions[name] = h.accepted
		}
	}
	return r
}

// Version returns the version of a resource that was accepted last, "" for
// none.
func (s *Subscriptions) Version(typeURL, name string) string {
	return s.of(typeURL).held[name].accepted
}

func sortedNames(set map[string]bool) []string {
	if len(set) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(set))
}

package xds

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// View is what one client may see of one state of the mesh. It must be
// immutable.
type View interface {
	// Resource returns a resource, nil where there is none or the client may
	// not see it.
	Resource(typeURL, name string) *Resource
	// Names lists every visible resource of a type, for wildcard
	// subscriptions.
	Names(typeURL string) []string
}

// Limits bound what one client can make a session hold. Zero values mean the
// defaults.
type Limits struct {
	Names         int // subscribed names of one type; 65,536
	NameBytes     int // of one name; 1,024
	Types         int // 16
	ResponseBytes int // bodies in one delta response; 2 MiB, below grpc-go's limit of a message
}

// ErrLimit is returned for requests that ask for more than the Limits allow.
var ErrLimit = errors.New("more is subscribed than the server allows")

// Session is the server's side of one stream: what was asked, sent and
// acknowledged. A stream is either delta (Request, Next) or state of the world
// (RequestSotW, NextSotW).
//
// At most one response of a type is unanswered at any time, so a slow client
// costs nothing but its newest view. Order makes before it breaks: clusters,
// endpoints, listeners, routes; then, when all of those are acknowledged, the
// removals in reverse order. It is not safe for concurrent use.
type Session struct {
	limits Limits
	view   View
	types  []*sessionType // in order of delivery
	serial uint64
}

// NewSession returns a session that answers nothing before Target was called.
func NewSession(limits Limits) *Session {
	limits.Names = cmp.Or(limits.Names, 65536)
	limits.NameBytes = cmp.Or(limits.NameBytes, 1024)
	limits.Types = cmp.Or(limits.Types, 16)
	limits.ResponseBytes = cmp.Or(limits.ResponseBytes, 2<<20)
	return &Session{limits: limits}
}

// sessionType is the state of one resource type.
type sessionType struct {
	typeURL  string
	rank     int
	begun    bool // a request has come
	wildcard bool
	legacy   bool // wildcard because no name was ever given (state of the world)
	entries  map[string]*entry
	named    int // entries that are subscribed by name
	dirty    bool

	nonce  string // of the response that was not answered yet, or empty
	flight []flown
}

// entry is what the client knows of one name.
type entry struct {
	named    bool
	sent     *Resource // last sent and not removed since
	absent   bool      // last told that it does not exist
	resend   bool      // asked for anew: send whatever the version
	acked    string    // version the client uses, "" for none
	rejected *rejected // cleared by the next acceptance
}

type rejected struct{ version, detail string }

// flown is a resource (or removal, without version) in an unanswered response.
type flown struct{ name, version string }

func rank(typeURL string) int {
	switch typeURL {
	case ClusterType:
		return 1
	case EndpointType:
		return 2
	case ListenerType:
		return 3
	case RouteType:
		return 4
	}
	return 0
}

func (s *Session) of(typeURL string) (*sessionType, error) {
	for _, t := range s.types {
		if t.typeURL == typeURL {
			return t, nil
		}
	}
	if len(s.types) >= s.limits.Types || len(typeURL) > s.limits.NameBytes {
		return nil, fmt.Errorf("subscribe to %.100q: at most %d types: %w", typeURL, s.limits.Types, ErrLimit)
	}
	t := &sessionType{typeURL: typeURL, rank: rank(typeURL), entries: make(map[string]*entry)}
	s.types = append(s.types, t)
	slices.SortStableFunc(s.types, func(a, b *sessionType) int { return cmp.Compare(a.rank, b.rank) })
	return t, nil
}

// Target sets the view that the client is to be brought to.
func (s *Session) Target(v View) {
	s.view = v
	for _, t := range s.types {
		t.dirty = true
	}
}

// Request takes a delta request. An error means that the stream must end.
func (s *Session) Request(r *DeltaRequest) error {
	t, err := s.of(r.TypeURL)
	if err != nil {
		return err
	}
	t.answer(r.Nonce, r.Error)
	t.dirty = true
	first := !t.begun
	t.begun = true
	subscribe := r.Subscribe
	if first && len(subscribe) == 0 && t.allowsWildcard() {
		subscribe = []string{Wildcard}
	}
	for _, name := range subscribe {
		if name == Wildcard {
			t.wildcard = t.allowsWildcard()
			continue
		}
		if err := t.subscribe(name, s.limits); err != nil {
			return err
		}
	}
	if first {
		if len(r.InitialVersions) > s.limits.Names {
			return fmt.Errorf("declare %d initial versions: %w", len(r.InitialVersions), ErrLimit)
		}
		t.declare(r.InitialVersions)
	}
	for _, name := range r.Unsubscribe {
		t.unsubscribe(name)
	}
	return nil
}

// allowsWildcard: only what a proxy may want whole. Endpoints and routes are
// always asked for by name.
func (t *sessionType) allowsWildcard() bool {
	return t.typeURL == ClusterType || t.typeURL == ListenerType
}

func (t *sessionType) subscribe(name string, limits Limits) error {
	if name == "" || len(name) > limits.NameBytes {
		return fmt.Errorf("subscribe to a name of %d bytes: %w", len(name), ErrLimit)
	}
	e := t.entries[name]
	if e == nil {
		e = &entry{}
		t.entries[name] = e
	}
	if !e.named {
		if t.named >= limits.Names {
			return fmt.Errorf("subscribe to %q: at most %d names: %w", name, limits.Names, ErrLimit)
		}
		e.named = true
		t.named++
	}
	// The protocol: a resource that is asked for again is sent again.
	e.resend = true
	return nil
}

// declare takes what the client holds from an earlier stream.
func (t *sessionType) declare(versions map[string]string) {
	for name, version := range versions {
		e := t.entries[name]
		if e == nil {
			if !t.wildcard {
				continue
			}
			e = &entry{}
			t.entries[name] = e
		}
		if version == "" {
			continue
		}
		e.sent = &Resource{Name: name, Version: version}
		e.acked = version
		e.resend = false
	}
}

func (t *sessionType) unsubscribe(name string) {
	if name == Wildcard {
		t.wildcard = false
		for name, e := range t.entries {
			if !e.named {
				delete(t.entries, name)
			}
		}
		return
	}
	e := t.entries[name]
	if e == nil || !e.named {
		return
	}
	t.named--
	if !t.wildcard {
		delete(t.entries, name)
		return
	}
	// The protocol: under a wildcard the client cannot tell whether it still
	// gets the resource, so it is told.
	e.named, e.resend = false, true
}

// answer takes the ACK or NACK of the unanswered response. Any other nonce is
// of a response that is of no interest any more.
func (t *sessionType) answer(nonce, message string) {
	if nonce == "" || nonce != t.nonce {
		return
	}
	var refused map[string]string
	if message != "" {
		names := make([]string, 0, len(t.flight))
		for _, f := range t.flight {
			if f.version != "" {
				names = append(names, f.name)
			}
		}
		refused = attributeRejections(message, names)
	}
	for _, f := range t.flight {
		e := t.entries[f.name]
		detail, isRefused := refused[f.name]
		switch {
		case e == nil:
		case f.version == "":
			e.acked, e.rejected = "", nil
		case isRefused:
			e.rejected = &rejected{version: f.version, detail: detail}
		default:
			e.acked, e.rejected = f.version, nil
		}
	}
	t.nonce, t.flight = "", nil
}

// pending is what a type has to tell.
type pending struct {
	updates  []*Resource
	absents  []string // asked for, never held, not there
	removals []string // held and gone
}

func (p *pending) empty() bool {
	return len(p.updates) == 0 && len(p.absents) == 0 && len(p.removals) == 0
}

// pending compares what the client was told with the view. It costs a look-up
// for each name of the type, and nothing when nothing has happened since it
// found nothing.
func (t *sessionType) pending(v View) pending {
	var p pending
	if !t.dirty || v == nil {
		return p
	}
	if t.wildcard {
		for _, name := range v.Names(t.typeURL) {
			if t.entries[name] == nil {
				t.entries[name] = &entry{}
			}
		}
	}
	for name, e := range t.entries {
		r := v.Resource(t.typeURL, name)
		switch {
		case r != nil:
			if e.sent == nil || e.sent.Version != r.Version || e.resend {
				p.updates = append(p.updates, r)
			}
		case e.sent != nil:
			p.removals = append(p.removals, name)
		case !e.named && !e.resend:
			delete(t.entries, name) // came and went before it was sent
		case !e.absent || e.resend:
			p.absents = append(p.absents, name)
		}
	}
	slices.SortFunc(p.updates, func(a, b *Resource) int { return cmp.Compare(a.Name, b.Name) })
	slices.Sort(p.absents)
	slices.Sort(p.removals)
	t.dirty = !p.empty()
	return p
}

// Next returns the next response to send, false when there is none now. The
// caller asks again after every Request and Target, until false.
func (s *Session) Next() (*DeltaResponse, bool) {
	removals := make([]pending, len(s.types))
	settled := true
	for i, t := range s.types {
		p := t.pending(s.view)
		if t.nonce != "" {
			settled = false
			if len(p.updates) > 0 {
				// What depends on these must not overtake them.
				return nil, false
			}
			continue
		}
		if len(p.updates) > 0 || len(p.absents) > 0 {
			return s.update(t, p), true
		}
		removals[i] = p
	}
	if !settled {
		return nil, false
	}
	for i, t := range slices.Backward(s.types) {
		if len(removals[i].removals) > 0 {
			return s.remove(t, removals[i].removals), true
		}
	}
	return nil, false
}

func (s *Session) update(t *sessionType, p pending) *DeltaResponse {
	r := &DeltaResponse{TypeURL: t.typeURL, Nonce: s.begin(t)}
	size := 0
	for _, res := range p.updates {
		if size > 0 && size+len(res.Body) > s.limits.ResponseBytes {
			break // the rest follows when these are acknowledged
		}
		size += len(res.Body)
		t.send(res)
		r.Resources = append(r.Resources, *res)
	}
	for _, name := range p.absents {
		t.forget(name)
	}
	r.Removed = p.absents
	return r
}

func (s *Session) remove(t *sessionType, names []string) *DeltaResponse {
	r := &DeltaResponse{TypeURL: t.typeURL, Nonce: s.begin(t), Removed: names}
	for _, name := range names {
		t.forget(name)
	}
	return r
}

func (s *Session) begin(t *sessionType) string {
	s.serial++
	t.nonce = strconv.FormatUint(s.serial, 10)
	return t.nonce
}

func (t *sessionType) send(r *Resource) {
	t.hold(r)
	t.flight = append(t.flight, flown{r.Name, r.Version})
}

func (t *sessionType) hold(r *Resource) {
	e := t.entries[r.Name]
	e.sent, e.absent, e.resend = r, false, false
}

// forget notes that the client was told that name is not there.
func (t *sessionType) forget(name string) {
	e := t.entries[name]
	if !e.named {
		delete(t.entries, name)
		return
	}
	e.sent, e.absent, e.resend, e.rejected = nil, true, false, nil
	t.flight = append(t.flight, flown{name: name})
}

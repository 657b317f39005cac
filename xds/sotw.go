package xds

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
)

// RequestSotW takes a request of a state-of-the-world stream, which always says
// all names. An error means that the stream must end.
func (s *Session) RequestSotW(r *SotWRequest) error {
	t, err := s.of(r.TypeURL)
	if err != nil {
		return err
	}
	t.answer(r.Nonce, r.Error)
	t.dirty = true
	// The protocol: a client that never named anything wants everything; once
	// it has named something, no names mean nothing.
	if !t.begun || t.legacy {
		t.legacy = len(r.Names) == 0 && t.allowsWildcard()
	}
	t.begun = true
	wildcard := t.legacy || slices.Contains(r.Names, Wildcard) && t.allowsWildcard()
	if t.wildcard && !wildcard {
		t.unsubscribe(Wildcard)
	}
	t.wildcard = wildcard
	names := make(map[string]bool, len(r.Names))
	for _, name := range r.Names {
		if name == Wildcard {
			continue
		}
		names[name] = true
		if e := t.entries[name]; e != nil && e.named {
			continue
		}
		if err := t.subscribe(name, s.limits); err != nil {
			return fmt.Errorf("request %s: %w", t.typeURL, err)
		}
	}
	for name, e := range t.entries {
		if e.named && !names[name] {
			t.unsubscribe(name)
		}
	}
	return nil
}

// NextSotW returns the next response to send, false when there is none now.
// Clusters and listeners are always sent whole, and what is gone stays in them
// until everything that replaces it is acknowledged; endpoints and routes are
// sent alone, and their removal is never said, as the protocol has no word for
// it.
func (s *Session) NextSotW() (*SotWResponse, bool) {
	settled := true
	gone := make([]bool, len(s.types))
	for i, t := range s.types {
		p := t.pending(s.view)
		if t.nonce != "" {
			settled = false
			if len(p.updates) > 0 {
				return nil, false
			}
			continue
		}
		if !t.allowsWildcard() {
			for _, name := range slices.Concat(p.absents, p.removals) {
				t.forget(name)
			}
			t.flight = nil
			if len(p.updates) > 0 {
				return s.partial(t, p.updates), true
			}
			continue
		}
		if len(p.updates) > 0 || len(p.absents) > 0 {
			return s.whole(t, p, true), true
		}
		gone[i] = len(p.removals) > 0
	}
	if !settled {
		return nil, false
	}
	for i, t := range slices.Backward(s.types) {
		if gone[i] {
			return s.whole(t, t.pending(s.view), false), true
		}
	}
	return nil, false
}

// partial answers with the changed resources of a type.
func (s *Session) partial(t *sessionType, updates []*Resource) *SotWResponse {
	r := &SotWResponse{TypeURL: t.typeURL, Nonce: s.begin(t)}
	for _, res := range updates {
		t.send(res)
		r.Resources = append(r.Resources, *res)
	}
	r.Version = collectiveVersion(t)
	return r
}

// whole answers with every resource of a type, and with those that are gone
// while keepGone is set.
func (s *Session) whole(t *sessionType, p pending, keepGone bool) *SotWResponse {
	r := &SotWResponse{TypeURL: t.typeURL, Nonce: s.begin(t)}
	for _, name := range p.absents {
		t.forget(name)
	}
	if !keepGone {
		for _, name := range p.removals {
			t.forget(name)
		}
	}
	for _, res := range p.updates {
		t.hold(res)
	}
	for name, e := range t.entries {
		if e.sent != nil {
			r.Resources = append(r.Resources, *e.sent)
			t.flight = append(t.flight, flown{name, e.sent.Version})
		}
	}
	slices.SortFunc(r.Resources, func(a, b Resource) int { return cmp.Compare(a.Name, b.Name) })
	r.Version = collectiveVersion(t)
	return r
}

// collectiveVersion hashes all that the client holds of a type, so that equal
// states have equal versions on all servers.
func collectiveVersion(t *sessionType) string {
	lines := make([]string, 0, len(t.entries))
	for name, e := range t.entries {
		if e.sent != nil {
			lines = append(lines, name+"\x00"+e.sent.Version+"\x00")
		}
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, line := range lines {
		h.Write([]byte(line))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

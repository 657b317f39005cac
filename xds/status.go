package xds

import (
	"cmp"
	"slices"
)

// State is how far one resource has come on one stream.
type State struct {
	Name    string
	Wanted  string // version in the newest view, "" where it does not exist
	Acked   string // version the client uses, "" for none
	Refused string // version that the client refused last, while it uses another
	Detail  string // why
}

// Current reports that the client has what it should have.
func (s *State) Current() bool { return s.Wanted == s.Acked }

// Types lists the types that the client has asked for, in order of delivery.
func (s *Session) Types() []string {
	types := make([]string, len(s.types))
	for i, t := range s.types {
		types[i] = t.typeURL
	}
	return types
}

// States returns the state of every resource of a type that the client asked
// for, by name.
func (s *Session) States(typeURL string) []State {
	i := slices.IndexFunc(s.types, func(t *sessionType) bool { return t.typeURL == typeURL })
	if i < 0 || s.view == nil {
		return nil
	}
	t := s.types[i]
	states := make([]State, 0, len(t.entries))
	for name, e := range t.entries {
		st := State{Name: name, Acked: e.acked}
		if r := s.view.Resource(typeURL, name); r != nil {
			st.Wanted = r.Version
		}
		if e.rejected != nil {
			st.Refused, st.Detail = e.rejected.version, e.rejected.detail
		}
		states = append(states, st)
	}
	slices.SortFunc(states, func(a, b State) int { return cmp.Compare(a.Name, b.Name) })
	return states
}

// Settled reports that the client has acknowledged everything of the newest
// view that concerns it: nothing is to be sent, unanswered or refused. A client
// that has asked for nothing yet is settled.
func (s *Session) Settled() bool {
	if s.view == nil {
		return false
	}
	for _, t := range s.types {
		if t.nonce != "" {
			return false
		}
		if p := t.pending(s.view); !p.empty() {
			return false
		}
		for _, e := range t.entries {
			if e.rejected != nil && e.sent != nil && e.rejected.version == e.sent.Version {
				return false
			}
		}
	}
	return true
}

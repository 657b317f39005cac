package balance

import (
	"cmp"
	"net/netip"
	"slices"
)

// Set is the membership of a cluster. It is immutable; its endpoints are not.
type Set struct {
	endpoints []*Endpoint
	specs     []Spec // of the endpoint at the same place
	byID      map[Identity]*Endpoint
}

// NewSet builds the set of those specs, taking over each endpoint that prev,
// which may be nil, has under the same identity. Of several specs with one
// identity the first counts. New endpoints have no Transport: the caller sets
// it before it publishes the set.
func NewSet(prev *Set, specs []Spec) *Set {
	s := &Set{
		endpoints: make([]*Endpoint, 0, len(specs)),
		specs:     make([]Spec, 0, len(specs)),
		byID:      make(map[Identity]*Endpoint, len(specs)),
	}
	for _, spec := range specs {
		if s.byID[spec.Identity] != nil {
			continue
		}
		spec.Weight = max(spec.Weight, 1)
		e := prev.Lookup(spec.Identity)
		if e == nil {
			e = &Endpoint{
				Identity: spec.Identity, Zone: spec.Zone, Workload: spec.Workload,
				Version: spec.Version, Namespace: spec.Namespace,
			}
			e.Addr, _ = netip.ParseAddrPort(spec.Address)
		}
		e.weight.Store(spec.Weight)
		e.health.Store(uint32(spec.Health))
		s.byID[spec.Identity] = e
		s.endpoints = append(s.endpoints, e)
		s.specs = append(s.specs, spec)
	}
	return s
}

// Lookup returns the endpoint of that identity, nil if there is none.
func (s *Set) Lookup(id Identity) *Endpoint {
	if s == nil {
		return nil
	}
	return s.byID[id]
}

// Endpoints returns all endpoints. It must not be changed.
func (s *Set) Endpoints() []*Endpoint {
	if s == nil {
		return nil
	}
	return s.endpoints
}

// Specs returns what each of Endpoints was described as. It must not be changed.
func (s *Set) Specs() []Spec {
	if s == nil {
		return nil
	}
	return s.specs
}

// Gone returns the endpoints of prev that s no longer has, for their transports
// to be drained.
func (s *Set) Gone(prev *Set) []*Endpoint {
	var gone []*Endpoint
	for _, e := range prev.Endpoints() {
		if s.Lookup(e.Identity) != e {
			gone = append(gone, e)
		}
	}
	return gone
}

// levels returns the groups to try one after the other: the healthy endpoints
// by priority, then the degraded ones by priority.
func (s *Set) levels() []*level {
	type place struct {
		health   Health
		priority uint32
	}
	groups := map[place]*level{}
	var order []place
	for i, spec := range s.Specs() {
		if spec.Health > Degraded {
			continue
		}
		p := place{spec.Health, spec.Priority}
		l := groups[p]
		if l == nil {
			l = &level{}
			groups[p] = l
			order = append(order, p)
		}
		l.endpoints = append(l.endpoints, s.endpoints[i])
		l.weights = append(l.weights, spec.Weight)
		l.keys = append(l.keys, spec.HashKey)
	}
	slices.SortFunc(order, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.health, b.health), cmp.Compare(a.priority, b.priority))
	})
	levels := make([]*level, 0, len(order))
	for _, p := range order {
		levels = append(levels, groups[p])
	}
	return levels
}

package authz

import (
	"strings"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// index finds the rules that can match a connection. A rule stands in it under
// everything of one kind that it requires: the exact IDs, else the beginnings
// of IDs up to a slash (a namespace, a trust domain), else the ports; or in
// rest, which is always searched.
type index struct {
	identities map[string][]int32
	namespaces map[string][]int32
	ports      map[uint16][]int32
	rest       []int32
}

// maxKeys is how many ports a rule may stand under before it goes to rest.
const maxKeys = 64

func (p *Policy) index() {
	x := index{identities: map[string][]int32{}, namespaces: map[string][]int32{}, ports: map[uint16][]int32{}}
	for i := range p.rules {
		r, at := &p.rules[i], int32(i)
		if ids, ok := r.principal.requires(exactIdentity); ok {
			put(x.identities, ids, at)
		} else if spaces, ok := r.principal.requires(identitySpace); ok {
			put(x.namespaces, spaces, at)
		} else if ports, ok := r.permission.requiredPorts(); ok {
			put(x.ports, ports, at)
		} else {
			x.rest = append(x.rest, at)
		}
	}
	p.byKey = x
}

func put[K comparable](m map[K][]int32, keys []K, at int32) {
	for _, k := range keys {
		if l := m[k]; len(l) == 0 || l[len(l)-1] != at {
			m[k] = append(l, at)
		}
	}
}

// find returns a rule that matches, or says that it is unknown whether one does.
// Of several that match it is always the same one.
func (p *Policy) find(info *conn.Info, head *http.Head) (int32, truth) {
	x := &p.byKey
	s := search{rules: p.rules, info: info, head: head}
	if !info.Peer.IsZero() {
		id := info.Peer.String()
		if s.any(x.identities[id]) {
			return s.matched, yes
		}
		if len(x.namespaces) > 0 {
			for i := strings.LastIndexByte(id, '/'); i >= 0; i = strings.LastIndexByte(id[:i], '/') {
				if s.any(x.namespaces[id[:i+1]]) {
					return s.matched, yes
				}
			}
		}
	}
	if s.any(x.ports[destinationOf(info).Port()]) || s.any(x.rest) {
		return s.matched, yes
	}
	return 0, s.best
}

// search is one find: what it looks for and what it found.
type search struct {
	rules   []rule
	info    *conn.Info
	head    *http.Head
	matched int32
	best    truth
}

// any reports whether one of the listed rules matches.
func (s *search) any(list []int32) bool {
	for _, i := range list {
		t := s.rules[i].holds(s.info, s.head)
		if t == yes {
			s.matched = i
			return true
		}
		s.best = max(s.best, t)
	}
	return false
}

// exactIdentity and identitySpace return the key that an identity test requires.
func exactIdentity(c *condition) (string, bool) { return c.text.Exact() }

func identitySpace(c *condition) (string, bool) {
	prefix := c.text.Prefix()
	i := strings.LastIndexByte(prefix, '/')
	return prefix[:i+1], i >= 0
}

// requires returns keys of which the peer must have one for the condition to
// hold; ok is false where there is no such set.
func (c *condition) requires(key func(*condition) (string, bool)) (keys []string, ok bool) {
	switch c.op {
	case identity:
		k, ok := key(c)
		return []string{k}, ok
	case and:
		for i := range c.of {
			if keys, ok := c.of[i].requires(key); ok {
				return keys, true
			}
		}
	case or:
		for i := range c.of {
			more, ok := c.of[i].requires(key)
			if !ok {
				return nil, false
			}
			keys = append(keys, more...)
		}
		return keys, true
	}
	return nil, false
}

// requiredPorts is requires for destination ports.
func (c *condition) requiredPorts() (ports []uint16, ok bool) {
	switch c.op {
	case port:
		if int(c.ports.To)-int(c.ports.From) >= maxKeys {
			return nil, false
		}
		for p := int(c.ports.From); p <= int(c.ports.To); p++ {
			ports = append(ports, uint16(p))
		}
		return ports, true
	case and:
		for i := range c.of {
			if ports, ok := c.of[i].requiredPorts(); ok {
				return ports, true
			}
		}
	case or:
		for i := range c.of {
			more, ok := c.of[i].requiredPorts()
			if !ok {
				return nil, false
			}
			if ports = append(ports, more...); len(ports) > maxKeys {
				return nil, false
			}
		}
		return ports, true
	}
	return nil, false
}

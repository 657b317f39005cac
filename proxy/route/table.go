package route

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"github.com/leno-mesh/leno/proxy/http"
)

// Table maps request heads to values. It is immutable and safe for concurrent use.
type Table[T any] struct {
	ignorePort bool
	exact      map[string]*host[T]
	suffixes   wildcards[T]
	prefixes   wildcards[T]
	any        *host[T]
}

// wildcards finds a host by the longest part of the authority.
type wildcards[T any] struct {
	lengths []int // descending
	hosts   map[string]*host[T]
}

// Build compiles a configuration. Its error names every rule that is wrong.
func Build[T any](c Config[T]) (*Table[T], error) {
	t := &Table[T]{
		ignorePort: c.IgnorePort,
		exact:      map[string]*host[T]{},
		suffixes:   wildcards[T]{hosts: map[string]*host[T]{}},
		prefixes:   wildcards[T]{hosts: map[string]*host[T]{}},
	}
	var errs []error
	for i := range c.Hosts {
		vh := &c.Hosts[i]
		h, err := newHost(vh)
		if err != nil {
			errs = append(errs, err)
		}
		if len(vh.Domains) == 0 {
			errs = append(errs, fmt.Errorf("build virtual host %q: it has no domains", vh.Name))
		}
		for _, d := range vh.Domains {
			if err := t.addDomain(d, h); err != nil {
				errs = append(errs, fmt.Errorf("build virtual host %q: %w", vh.Name, err))
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	t.suffixes.sort()
	t.prefixes.sort()
	return t, nil
}

func (t *Table[T]) addDomain(domain string, h *host[T]) error {
	d := strings.ToLower(domain)
	into := t.exact
	switch {
	case d == "*":
		if t.any != nil {
			return errors.New(`the domain "*" occurs twice`)
		}
		t.any = h
		return nil
	case strings.HasPrefix(d, "*"):
		d, into = d[1:], t.suffixes.hosts
	case strings.HasSuffix(d, "*"):
		d, into = d[:len(d)-1], t.prefixes.hosts
	}
	if d == "" || strings.Contains(d, "*") {
		return fmt.Errorf("the domain %q is not valid: a * may stand only at its beginning or at its end", domain)
	}
	if _, taken := into[d]; taken {
		return fmt.Errorf("the domain %q occurs twice", domain)
	}
	into[d] = h
	return nil
}

func (w *wildcards[T]) sort() {
	for d := range w.hosts {
		if !slices.Contains(w.lengths, len(d)) {
			w.lengths = append(w.lengths, len(d))
		}
	}
	slices.Sort(w.lengths)
	slices.Reverse(w.lengths)
}

// Match returns the value of the route that the request takes; ok is false
// where no route takes it.
func (t *Table[T]) Match(h *http.Head) (value T, ok bool) {
	return t.match(h, rand.Uint64)
}

// MatchWith is Match with a given random number for all fractions.
func (t *Table[T]) MatchWith(h *http.Head, random uint64) (value T, ok bool) {
	return t.match(h, func() uint64 { return random })
}

func (t *Table[T]) match(h *http.Head, random func() uint64) (value T, ok bool) {
	vh := t.host(h)
	if vh == nil {
		return value, false
	}
	if r := vh.match(h, random); r != nil {
		return r.value, true
	}
	return value, false
}

func (t *Table[T]) host(h *http.Head) *host[T] {
	a := h.Authority()
	if t.ignorePort {
		a = h.Host()
	}
	if vh, ok := t.exact[string(a)]; ok {
		return vh
	}
	// A wildcard stands for at least one byte.
	for _, n := range t.suffixes.lengths {
		if n < len(a) {
			if vh, ok := t.suffixes.hosts[string(a[len(a)-n:])]; ok {
				return vh
			}
		}
	}
	for _, n := range t.prefixes.lengths {
		if n < len(a) {
			if vh, ok := t.prefixes.hosts[string(a[:n])]; ok {
				return vh
			}
		}
	}
	return t.any
}

// holds checks everything that the index did not.
func (r *rule[T]) holds(h *http.Head, path []byte, random func() uint64) bool {
	if !r.holdsPath(h, path) || r.grpc && !isGRPC(h) {
		return false
	}
	for _, m := range r.headers {
		if !m.Match(h) {
			return false
		}
	}
	if len(r.query) > 0 {
		_, raw, _ := bytes.Cut(h.Path(), []byte("?"))
		for i := range r.query {
			if !r.query[i].holds(raw) {
				return false
			}
		}
	}
	return r.part == nil || r.part.Holds(random())
}

func (r *rule[T]) holdsPath(h *http.Head, path []byte) bool {
	if r.kind == connect {
		return string(h.Method()) == "CONNECT" && h.Protocol == ""
	}
	if len(path) == 0 {
		return false
	}
	n := len(r.path)
	switch r.kind {
	case exactPath:
		return len(path) == n && r.equal(path)
	case prefixPath:
		return len(path) >= n && r.equal(path[:n])
	case segmentPath:
		return len(path) >= n && r.equal(path[:n]) && (len(path) == n || path[n] == '/')
	case regexPath:
		return r.regex.Match(path)
	}
	return true
}

func (r *rule[T]) equal(p []byte) bool {
	if !r.fold {
		return string(p) == r.path
	}
	for i, c := range p {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != r.path[i] {
			return false
		}
	}
	return true
}

// holds looks at the first parameter of that name alone.
func (q *query) holds(raw []byte) bool {
	for len(raw) > 0 {
		var pair []byte
		pair, raw, _ = bytes.Cut(raw, []byte("&"))
		name, value, _ := bytes.Cut(pair, []byte("="))
		if string(name) == q.name {
			return q.text == nil || q.text.Match(value)
		}
	}
	return false
}

func isGRPC(h *http.Head) bool {
	const grpc = "application/grpc"
	ct, _ := h.GetNamed(http.ContentType)
	return len(ct) >= len(grpc) && string(ct[:len(grpc)]) == grpc && (len(ct) == len(grpc) || ct[len(grpc)] == '+')
}

// literalPrefix returns what every whole match of the expression begins with.
func literalPrefix(expr string) string {
	re, err := regexp.Compile(expr)
	if err != nil {
		return ""
	}
	prefix, _ := re.LiteralPrefix()
	return prefix
}

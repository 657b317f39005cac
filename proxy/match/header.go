package match

import (
	"bytes"
	"fmt"

	"github.com/leno-mesh/leno/proxy/http"
)

// HeaderRule is a test of one header field as configured. The names :method,
// :authority, :path and :scheme stand for the pseudo-fields, and host for
// :authority, which is where heads keep it.
type HeaderRule struct {
	Name       string
	Op         Op
	Value      string
	IgnoreCase bool
	// From and To bound Range: the value is a decimal integer at least From
	// and less than To.
	From, To int64
	// Absent turns Present around.
	Absent bool
	// Invert turns the result around. A field that is missing still does not
	// match, unless MissingAsEmpty is set or the rule is one of presence.
	Invert bool
	// MissingAsEmpty compares a missing field as an empty one.
	MissingAsEmpty bool
}

// Header is a compiled HeaderRule.
type Header struct {
	name           string
	id             http.Name
	pseudo         pseudo
	op             Op
	text           *String // nil for Present and Range
	from, to       int64
	present        bool
	invert         bool
	missingAsEmpty bool
}

type pseudo uint8

const (
	field pseudo = iota
	method
	authority
	path
	scheme
)

// Compile checks and compiles the rule.
func (r HeaderRule) Compile() (*Header, error) {
	h := &Header{
		name: lower(r.Name), op: r.Op, from: r.From, to: r.To,
		present: !r.Absent, invert: r.Invert, missingAsEmpty: r.MissingAsEmpty,
	}
	switch h.name {
	case "":
		return nil, fmt.Errorf("compile header match: the name is empty")
	case ":method":
		h.pseudo = method
	case ":authority", "host":
		h.pseudo = authority
	case ":path":
		h.pseudo = path
	case ":scheme":
		h.pseudo = scheme
	default:
		if h.name[0] == ':' {
			return nil, fmt.Errorf("compile header match: %q is no request pseudo-header", h.name)
		}
		h.id = http.Lookup([]byte(h.name))
	}
	if r.Absent && r.Op != Present {
		return nil, fmt.Errorf("compile header match %q: absence applies to presence alone", h.name)
	}
	switch r.Op {
	case Present:
	case Range:
		if r.From >= r.To {
			return nil, fmt.Errorf("compile header match %q: the range from %d to below %d is empty", h.name, r.From, r.To)
		}
	default:
		text, err := Rule{Op: r.Op, Value: r.Value, IgnoreCase: r.IgnoreCase}.Compile()
		if err != nil {
			return nil, fmt.Errorf("compile header match %q: %w", h.name, err)
		}
		h.text = text
	}
	return h, nil
}

// Match reports whether the head matches.
func (m *Header) Match(h *http.Head) bool {
	v, ok := m.value(h)
	if m.op == Present {
		return (ok || m.missingAsEmpty) == m.present != m.invert
	}
	if !ok && !m.missingAsEmpty {
		return false
	}
	if m.op == Range {
		n, ok := integer(v)
		return (ok && n >= m.from && n < m.to) != m.invert
	}
	return m.text.Match(v) != m.invert
}

// value returns all values of the field, joined with commas.
func (m *Header) value(h *http.Head) ([]byte, bool) {
	var v []byte
	switch m.pseudo {
	case method:
		v = h.Method()
	case authority:
		v = h.Authority()
	case path:
		v = h.Path()
	case scheme:
		v = h.Scheme()
	default:
		return m.fields(h)
	}
	return v, len(v) > 0
}

func (m *Header) fields(h *http.Head) ([]byte, bool) {
	var v []byte
	count := 0
	for i := range h.Slots() {
		f, ok := h.At(i)
		if !ok || f.ID != m.id || m.id == http.Other && string(f.Name) != m.name {
			continue
		}
		switch count {
		case 0:
			v = f.Value
		case 1:
			// The values are views of the head: joined is a copy.
			joined := make([]byte, 0, 2*(len(v)+len(f.Value)+1))
			v = append(append(append(joined, v...), ','), f.Value...)
		default:
			v = append(append(v, ','), f.Value...)
		}
		count++
	}
	return v, count > 0
}

// integer parses a whole decimal int64, as Envoy does: no spaces, an optional
// sign, and nothing that overflows.
func integer(v []byte) (int64, bool) {
	digits, negative := bytes.CutPrefix(v, []byte("-"))
	if !negative {
		digits = bytes.TrimPrefix(digits, []byte("+"))
	}
	if len(digits) == 0 || len(digits) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if negative {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

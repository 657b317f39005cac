package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"go.yaml.in/yaml/v3"
)

// FieldError is one thing that is wrong in a file.
type FieldError struct {
	Line int
	Path string // of proto names, empty for the file itself
	Text string
}

func (e *FieldError) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("line %d: %s", e.Line, e.Text)
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Path, e.Text)
}

const (
	maxErrors = 20
	maxNodes  = 1 << 20 // bounds what aliases of aliases can multiply to
)

// ReadYAML reads one document of YAML, which JSON is a subset of, into the
// empty message m by the rules of proto3 JSON. A field that Leno does not
// support is an error; the Report names those that are ignored. The error joins
// up to 20 *FieldErrors, one a line.
func ReadYAML(b []byte, m Message) (Report, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(b))
	var document yaml.Node
	if err := decoder.Decode(&document); err != nil {
		if errors.Is(err, io.EOF) {
			return Report{}, &FieldError{Line: 1, Text: "the document is empty"}
		}
		return Report{}, fmt.Errorf("parse YAML: %w", err)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return Report{}, &FieldError{Line: second.Line, Text: "only one document is allowed"}
	} else if !errors.Is(err, io.EOF) {
		return Report{}, fmt.Errorf("parse YAML: %w", err)
	}
	return ReadNode(&document, m)
}

// ReadNode is ReadYAML for a part of a document that is parsed already.
func ReadNode(n *yaml.Node, m Message) (Report, error) {
	r := &reader{}
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	r.message(n, m, 0)
	if r.more > 0 {
		r.errs = append(r.errs, fmt.Errorf("and %d more", r.more))
	}
	return r.report, errors.Join(r.errs...)
}

type reader struct {
	report Report
	path   path
	errs   []error
	more   int // errors that are not in errs
	nodes  int
	full   bool // maxNodes was reached
	secret bool // no content in errors, please
}

func (r *reader) fail(n *yaml.Node, at, format string, args ...any) {
	if len(r.errs) == maxErrors {
		r.more++
		return
	}
	r.errs = append(r.errs, &FieldError{n.Line, at, fmt.Sprintf(format, args...)})
}

// enter counts a node, follows an alias, and returns nil when a limit is
// reached.
func (r *reader) enter(n *yaml.Node, depth int) *yaml.Node {
	r.nodes++
	if r.full {
		return nil
	}
	if r.nodes > maxNodes {
		r.full = true
		r.fail(n, r.path.String(), "the document is too large")
		return nil
	}
	if depth > maxDepth {
		r.fail(n, r.path.String(), "it is nested too deeply")
		return nil
	}
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

func (r *reader) message(n *yaml.Node, m Message, depth int) {
	if n = r.enter(n, depth); n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, r.path.String(), "want a mapping, have %s", r.describe(n))
		return
	}
	if a, ok := m.(*Any); ok {
		r.any(n, a, depth)
		return
	}
	r.members(n, m, depth, false)
}

// any reads a google.protobuf.Any, whose "@type" says what the others are.
func (r *reader) any(n *yaml.Node, a *Any, depth int) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if value := n.Content[i+1]; n.Content[i].Value == "@type" && value.Kind == yaml.ScalarNode {
			a.TypeURL = value.Value
		}
	}
	if a.TypeURL == "" {
		r.fail(n, r.path.with("@type"), "it is missing")
		return
	}
	m := New(a.TypeURL)
	if m == nil {
		r.fail(n, r.path.String(), "Leno does not support the type %s", a.TypeURL)
		return
	}
	a.Message = m
	r.members(n, m, depth+1, true)
}

// members reads the keys of a mapping as the fields of m; packed tells that m
// stands in an Any.
func (r *reader) members(n *yaml.Node, m Message, depth int, packed bool) {
	s := m.schema()
	seen := make(map[string]bool, len(n.Content)/2)
	taken := map[uint8]string{} // by oneof, the member that is set
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		if key.Kind != yaml.ScalarNode {
			r.fail(key, r.path.String(), "a key must be a name, this is %s", r.describe(key))
			continue
		}
		if packed && name == "@type" && !seen[name] {
			seen[name] = true
			continue
		}
		at := s.byName(name)
		if at < 0 {
			r.unread(key, s, name)
			continue
		}
		f := &s.fields[at]
		if seen[f.name] {
			r.fail(key, r.path.with(f.name), "it is given twice")
			continue
		}
		seen[f.name] = true
		if isNull(value) {
			continue
		}
		if f.oneof > 0 {
			if other := taken[f.oneof]; other != "" {
				r.fail(key, r.path.with(f.name), "only one of it and %s may be set", other)
				continue
			}
			taken[f.oneof] = f.name
		}
		outer := r.secret
		r.secret = outer || f.secret
		r.field(value, m, at, f, depth)
		r.secret = outer
	}
}

// unread records a key that is not read.
func (r *reader) unread(key *yaml.Node, s *schema, name string) {
	in := func(list string) (found string) {
		pairs(list, func(_, field string) bool {
			if sameName(field, name) {
				found = field
			}
			return found == ""
		})
		return found
	}
	if field := in(s.harmless); field != "" {
		r.report.ignored(r.path, field)
		return
	}
	if field := in(s.refused); field != "" {
		r.fail(key, r.path.with(field), "Leno does not support this field")
		return
	}
	r.fail(key, r.path.with(name), "there is no such field in %s", s.name)
}

func (r *reader) field(n *yaml.Node, m Message, i int, f *field, depth int) {
	switch {
	case f.kind.isMap():
		r.mapping(n, m.at(i), f, depth+1)
	case !f.many:
		r.single(n, m, i, f, depth)
	default:
		if n = r.enter(n, depth); n == nil {
			return
		}
		if n.Kind != yaml.SequenceNode {
			r.fail(n, r.path.with(f.name), "want a list, have %s", r.describe(n))
			return
		}
		for k, element := range n.Content {
			if f.kind == kindMessage {
				r.child(element, m, i, f, depth)
				continue
			}
			r.path = append(r.path, step{name: f.name, index: k})
			r.scalar(element, m.at(i), f, depth)
			r.path = r.path[:len(r.path)-1]
		}
	}
}

func (r *reader) single(n *yaml.Node, m Message, i int, f *field, depth int) {
	switch f.kind {
	case kindMessage:
		r.child(n, m, i, f, depth)
	case kindStruct:
		r.path = append(r.path, step{name: f.name, index: -1})
		*m.at(i).(*map[string]any) = r.structure(n, depth+1)
		r.path = r.path[:len(r.path)-1]
	default:
		r.path = append(r.path, step{name: f.name, index: -1})
		r.scalar(n, m.at(i), f, depth)
		r.path = r.path[:len(r.path)-1]
	}
}

func (r *reader) child(n *yaml.Node, m Message, i int, f *field, depth int) {
	child, k := m.grow(i)
	r.path = append(r.path, step{name: f.name, index: k})
	r.message(n, child, depth+1)
	r.path = r.path[:len(r.path)-1]
}

func (r *reader) mapping(n *yaml.Node, p any, f *field, depth int) {
	r.path = append(r.path, step{name: f.name, index: -1})
	defer func() { r.path = r.path[:len(r.path)-1] }()
	r.entries(n, depth, func(key string, value *yaml.Node) {
		at := &r.path[len(r.path)-1]
		at.key, at.keyed = key, true
		switch p := p.(type) {
		case *map[string]string:
			var text string
			r.scalar(value, &text, f, depth)
			put(p, key, text)
		case *map[string]map[string]any:
			put(p, key, r.structure(value, depth+1))
		case mapping:
			r.message(value, p.put(key), depth+1)
		}
	})
}

// entries calls read for each key of a mapping.
func (r *reader) entries(n *yaml.Node, depth int, read func(key string, value *yaml.Node)) {
	if n = r.enter(n, depth); n == nil {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n, r.path.String(), "want a mapping, have %s", r.describe(n))
		return
	}
	seen := make(map[string]bool, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.fail(key, r.path.String(), "a key must be a name, this is %s", r.describe(key))
		case seen[key.Value]:
			r.fail(key, r.path.with(key.Value), "it is given twice")
		default:
			seen[key.Value] = true
			read(key.Value, n.Content[i+1])
		}
	}
}

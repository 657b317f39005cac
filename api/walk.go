package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const maxDepth = 64

// walker turns a YAML tree into a JSON tree, checking it against a Go type, and
// notes the line of each field.
type walker struct {
	*decoder
	object string
	lines  map[string]int
}

// line returns the line of a field, or of what holds it when it is not written.
func (w *walker) line(path string) int {
	for {
		if line, ok := w.lines[path]; ok {
			return line
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return w.lines[""]
		}
		path = path[:cut]
	}
}

func (w *walker) wrong(node *yaml.Node, path, format string, args ...any) any {
	w.fail(node.Line, w.object, path, format, args...)
	return nil
}

// walk returns the JSON value of a node, nil for null or after an error.
func (w *walker) walk(node *yaml.Node, t reflect.Type, path string, depth int) any {
	w.nodes++
	if w.nodes > maxNodes || depth > maxDepth {
		if w.nodes <= maxNodes+1 {
			w.nodes = maxNodes + 2
			w.wrong(node, path, "the file is nested or repeated too much")
		}
		return nil
	}
	if node.Kind == yaml.AliasNode {
		return w.walk(node.Alias, t, path, depth+1)
	}
	if _, ok := w.lines[path]; !ok {
		w.lines[path] = node.Line
	}
	if node.Tag == "!!null" {
		return nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case reflect.TypeFor[intstr.IntOrString]():
		if node.Kind == yaml.ScalarNode && node.Tag == "!!str" {
			return node.Value
		}
		return w.integer(node, reflect.TypeFor[int32](), path, "a number or a name")
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime]():
		var at metav1.Time
		if node.Kind != yaml.ScalarNode || json.Unmarshal([]byte(quote(node.Value)), &at) != nil {
			return w.wrong(node, path, "must be a time such as 2026-01-02T15:04:05Z")
		}
		return node.Value
	}
	switch t.Kind() {
	case reflect.Struct:
		return w.fields(node, t, path, depth)
	case reflect.Map:
		return w.entries(node, t, path, depth)
	case reflect.Slice:
		return w.items(node, t, path, depth)
	case reflect.String:
		return w.text(node, path)
	case reflect.Bool:
		var b bool
		if node.Kind != yaml.ScalarNode || node.Tag != "!!bool" || node.Decode(&b) != nil {
			return w.wrong(node, path, "must be true or false, not %s", describe(node))
		}
		return b
	}
	return w.integer(node, t, path, "a whole number")
}

func quote(s string) string {
	data, _ := json.Marshal(s) // a string always has a JSON form
	return string(data)
}

func describe(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	if node.Tag == "!!str" {
		return fmt.Sprintf("the text %q", node.Value)
	}
	return node.Value
}

func (w *walker) integer(node *yaml.Node, t reflect.Type, path, want string) any {
	var n int64
	if node.Kind != yaml.ScalarNode || node.Tag != "!!int" || node.Decode(&n) != nil {
		return w.wrong(node, path, "must be %s, not %s", want, describe(node))
	}
	switch {
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uintptr && (n < 0 || t.OverflowUint(uint64(n))),
		t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 && t.OverflowInt(n):
		return w.wrong(node, path, "%d is out of range", n)
	}
	return n
}

func (w *walker) text(node *yaml.Node, path string) any {
	switch {
	case node.Kind != yaml.ScalarNode:
		return w.wrong(node, path, "must be text, not %s", describe(node))
	case node.Tag != "!!str" && node.Tag != "!!timestamp":
		return w.wrong(node, path, "must be text; put %s in quotes", node.Value)
	}
	return node.Value
}

func (w *walker) items(node *yaml.Node, t reflect.Type, path string, depth int) any {
	if node.Kind != yaml.SequenceNode {
		return w.wrong(node, path, "must be a list, not %s", describe(node))
	}
	out := make([]any, 0, len(node.Content))
	for i, item := range node.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.Tag == "!!null" {
			w.wrong(item, at, "the item is empty")
			continue
		}
		out = append(out, w.walk(item, t.Elem(), at, depth+1))
	}
	return out
}

func (w *walker) entries(node *yaml.Node, t reflect.Type, path string, depth int) any {
	out := make(map[string]any)
	w.pairs(node, path, func(key, value *yaml.Node) {
		out[key.Value] = w.walk(value, t.Elem(), join(path, key.Value), depth+1)
	})
	return out
}

func (w *walker) fields(node *yaml.Node, t reflect.Type, path string, depth int) any {
	out := make(map[string]any)
	fields := fieldsOf(t)
	w.pairs(node, path, func(key, value *yaml.Node) {
		at := join(path, key.Value)
		if at == "status" || at == "metadata.managedFields" {
			return // the server's own; present in what was printed before
		}
		field, ok := fields[key.Value]
		if !ok {
			w.wrong(key, at, "unknown field%s", suggest(key.Value, fields))
			return
		}
		w.lines[at] = key.Line
		if v := w.walk(value, field, at, depth+1); v != nil {
			out[key.Value] = v
		}
	})
	return out
}

// pairs calls each for the entries of a mapping; it refuses what is none, and
// keys that come twice.
func (w *walker) pairs(node *yaml.Node, path string, each func(key, value *yaml.Node)) {
	if node.Kind != yaml.MappingNode {
		w.wrong(node, path, "must be an object, not %s", describe(node))
		return
	}
	first := make(map[string]int, len(node.Content)/2)
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		line, twice := first[key.Value]
		switch {
		case key.Kind != yaml.ScalarNode:
			w.wrong(key, path, "a field's name must be text, not %s", describe(key))
		case key.Tag == "!!merge":
			w.wrong(key, join(path, key.Value), "merge keys are not supported; write the fields out")
		case twice:
			w.wrong(key, join(path, key.Value), "the field is already given at line %d", line)
		default:
			first[key.Value] = key.Line
			each(key, node.Content[i+1])
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// fieldsOf returns the types of a struct's JSON fields, those of embedded
// structs included.
func fieldsOf(t reflect.Type) map[string]reflect.Type {
	out := make(map[string]reflect.Type, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case name == "" && (f.Anonymous || strings.Contains(options, "inline")):
			for inner, innerType := range fieldsOf(f.Type) {
				out[inner] = innerType
			}
		case name != "":
			out[name] = f.Type
		}
	}
	return out
}

func suggest(name string, fields map[string]reflect.Type) string {
	names := make([]string, 0, len(fields))
	for f := range fields {
		if strings.EqualFold(f, name) {
			return fmt.Sprintf(", did you mean %s?", f)
		}
		names = append(names, f)
	}
	if near := nearestSorted(name, names); near != "" {
		return fmt.Sprintf(", did you mean %s?", near)
	}
	return ""
}

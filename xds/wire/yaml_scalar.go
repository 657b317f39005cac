package wire

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// describe names what a node is, for error messages.
func (r *reader) describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	if r.secret {
		return "something else"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!str":
		return "the text " + quote(n.Value)
	case "!!int", "!!float":
		return "the number " + quote(n.Value)
	}
	return quote(n.Value)
}

func quote(s string) string { return strconv.Quote(shorten(s, 40)) }

// scalar reads the value of a field, whose path is the reader's.
func (r *reader) scalar(n *yaml.Node, p any, f *field, depth int) {
	if n = r.enter(n, depth); n == nil {
		return
	}
	v, want := convert(n, f)
	if want != "" {
		r.fail(n, r.path.String(), "want %s, have %s", want, r.describe(n))
		return
	}
	store(p, v)
}

// convert returns the value of a node, or what it should have been.
func convert(n *yaml.Node, f *field) (v scalar, want string) {
	if n.Kind != yaml.ScalarNode {
		return v, wants(f)
	}
	tag := n.ShortTag()
	isText := tag == "!!str" || tag == "!!timestamp"
	ok := false
	switch f.kind {
	case kindString, kindStringMap:
		v.text, ok = n.Value, isText && utf8.ValidString(n.Value)
	case kindBytes:
		v.data, ok = fromBase64(n.Value)
		ok = ok && tag != "!!binary"
	case kindBool:
		v.bits, ok = boolBits(strings.EqualFold(n.Value, "true")), tag == "!!bool"
	case kindInt32, kindInt64:
		v.bits, ok = signed(n.Value, f.kind)
	case kindUint32, kindUint64:
		v.bits, ok = unsigned(n.Value, f.kind)
	case kindDouble:
		var d float64
		d, ok = double(n.Value)
		v.bits = math.Float64bits(d)
	case kindEnum:
		v.bits, ok = enumValue(n, f.enum)
	case kindDuration:
		var d time.Duration
		d, ok = parseDuration(n.Value)
		v.bits, ok = uint64(d), ok && isText
	}
	if !ok {
		return v, wants(f)
	}
	return v, ""
}

func wants(f *field) string {
	switch f.kind {
	case kindString, kindStringMap:
		return "text (quote it)"
	case kindBytes:
		return "text in base64"
	case kindBool:
		return "true or false"
	case kindInt32, kindInt64:
		return fmt.Sprintf("a whole number of %d bits", f.kind.size())
	case kindUint32, kindUint64:
		return fmt.Sprintf("a whole number of %d bits, not negative", f.kind.size())
	case kindDouble:
		return "a number"
	case kindEnum:
		return "one of " + strings.Join(f.enum.names, ", ")
	case kindDuration:
		return `a duration such as "0.25s"`
	}
	return "another value"
}

func (k kind) size() int {
	if k == kindInt32 || k == kindUint32 {
		return 32
	}
	return 64
}

// signed and unsigned read whole numbers: proto3 JSON allows them to be quoted
// and to have an exponent.
func signed(s string, k kind) (uint64, bool) {
	n, err := strconv.ParseInt(s, 0, k.size())
	if err != nil {
		d, ok := whole(s)
		n = int64(d)
		limit := math.Ldexp(1, k.size()-1)
		return uint64(n), ok && d >= -limit && d < limit
	}
	return uint64(n), true
}

func unsigned(s string, k kind) (uint64, bool) {
	n, err := strconv.ParseUint(s, 0, k.size())
	if err != nil {
		d, ok := whole(s)
		if !ok || d < 0 || d >= math.Ldexp(1, k.size()) {
			return 0, false
		}
		return uint64(d), true
	}
	return n, true
}

// whole reads a whole number that is written as 1.0 or 1e3, while a double
// holds it exactly.
func whole(s string) (float64, bool) {
	if !strings.ContainsAny(s, ".eE") {
		return 0, false
	}
	d, err := strconv.ParseFloat(s, 64)
	return d, err == nil && d == math.Trunc(d) && math.Abs(d) <= 1<<53
}

func double(s string) (float64, bool) {
	switch s {
	case "NaN", ".nan", ".NaN", ".NAN":
		return math.NaN(), true
	case "Infinity", ".inf", "+.inf", ".Inf":
		return math.Inf(1), true
	case "-Infinity", "-.inf", "-.Inf":
		return math.Inf(-1), true
	}
	d, err := strconv.ParseFloat(s, 64)
	return d, err == nil && !math.IsInf(d, 0) && !math.IsNaN(d)
}

func enumValue(n *yaml.Node, e *enum) (uint64, bool) {
	if v, ok := e.number(n.Value); ok {
		return uint64(int64(v)), true
	}
	v, ok := signed(n.Value, kindInt32)
	if ok {
		_, ok = e.name(int32(v))
	}
	return v, ok
}

func fromBase64(s string) ([]byte, bool) {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		encoding = base64.RawURLEncoding
	}
	data, err := encoding.DecodeString(strings.TrimRight(s, "="))
	return data, err == nil
}

// parseDuration reads seconds with at most nine decimals and the suffix s.
func parseDuration(text string) (time.Duration, bool) {
	number, ok := strings.CutSuffix(text, "s")
	if !ok {
		return 0, false
	}
	number, negative := strings.CutPrefix(number, "-")
	integer, fraction, dotted := strings.Cut(number, ".")
	if integer == "" || dotted && fraction == "" || len(fraction) > 9 || !digits(integer) || !digits(fraction) {
		return 0, false
	}
	seconds, err := strconv.ParseInt(integer, 10, 64)
	if err != nil {
		return 0, false
	}
	nanos, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if negative {
		seconds, nanos = -seconds, -nanos
	}
	return toDuration(seconds, nanos)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// structure reads a google.protobuf.Struct.
func (r *reader) structure(n *yaml.Node, depth int) map[string]any {
	m := map[string]any{}
	r.entries(n, depth, func(key string, value *yaml.Node) {
		r.path = append(r.path, step{name: key, index: -1})
		m[key] = r.value(value, depth+1)
		r.path = r.path[:len(r.path)-1]
	})
	return m
}

// value reads a google.protobuf.Value.
func (r *reader) value(n *yaml.Node, depth int) any {
	if n = r.enter(n, depth); n == nil {
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return r.structure(n, depth)
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for k, e := range n.Content {
			r.path = append(r.path, step{index: k})
			list = append(list, r.value(e, depth+1))
			r.path = r.path[:len(r.path)-1]
		}
		return list
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		if v, ok := signed(n.Value, kindInt64); ok {
			return float64(int64(v))
		}
		fallthrough
	case "!!float":
		if v, ok := double(n.Value); ok {
			return v
		}
	}
	return n.Value
}

package wire

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendJSON appends m to b as proto3 JSON with the API's own field names, as
// Envoy's /config_dump prints it. Private keys and other secrets are written as
// "[redacted]"; an unresolved Any shows only its type.
func AppendJSON(b []byte, m Message) []byte {
	return (&printer{b: b}).message(m, false).b
}

type printer struct{ b []byte }

const redacted = "[redacted]"

func (w *printer) raw(text string) *printer {
	w.b = append(w.b, text...)
	return w
}

// comma separates list elements and members.
func (w *printer) comma(first *bool) {
	if !*first {
		w.raw(",")
	}
	*first = false
}

func (w *printer) key(first *bool, name string) {
	w.comma(first)
	w.text(name).raw(":")
}

// message writes m; below a secret field every text but a file's name is
// redacted.
func (w *printer) message(m Message, secret bool) *printer {
	w.raw("{")
	first := true
	if a, ok := m.(*Any); ok {
		if a.TypeURL != "" {
			w.key(&first, "@type")
			w.text(a.TypeURL)
		}
		if m = a.Message; m == nil {
			return w.raw("}")
		}
	}
	s := m.schema()
	for i := range s.fields {
		w.field(&first, m, i, &s.fields[i], secret || s.fields[i].secret)
	}
	return w.raw("}")
}

func (w *printer) field(first *bool, m Message, i int, f *field, secret bool) {
	if f.kind == kindMessage {
		w.list(f, func(k int) bool {
			child := m.child(i, k)
			return child != nil && w.element(first, f, k, func() { w.message(child, secret) })
		})
		return
	}
	switch p := m.at(i).(type) {
	case *map[string]any:
		if *p != nil {
			w.key(first, f.name)
			w.value(*p, secret)
		}
	case *map[string]string:
		object(w, first, f, sortedKeys(*p), func(key string) { w.string((*p)[key], secret) })
	case *map[string]map[string]any:
		object(w, first, f, sortedKeys(*p), func(key string) { w.value((*p)[key], secret) })
	case mapping:
		object(w, first, f, p.keys(), func(key string) { w.message(p.value(key), secret) })
	default:
		secret = secret && f.name != "filename" && f.name != "environment_variable"
		w.list(f, func(k int) bool {
			v, ok := load(p, f, k)
			return ok && w.element(first, f, k, func() { w.scalar(f, v, secret) })
		})
	}
}

// list writes the values of a field until next returns false.
func (w *printer) list(f *field, next func(k int) bool) {
	k := 0
	for next(k) {
		k++
	}
	if f.many && k > 0 {
		w.raw("]")
	}
}

// element writes the kth value of a field, with the field's name before the
// first.
func (w *printer) element(first *bool, f *field, k int, write func()) bool {
	switch {
	case k > 0:
		w.raw(",")
	case f.many:
		w.key(first, f.name)
		w.raw("[")
	default:
		w.key(first, f.name)
	}
	write()
	return true
}

func object(w *printer, first *bool, f *field, keys []string, write func(key string)) {
	if len(keys) == 0 {
		return
	}
	w.key(first, f.name)
	w.raw("{")
	inner := true
	for _, key := range keys {
		w.key(&inner, key)
		write(key)
	}
	w.raw("}")
}

func (w *printer) scalar(f *field, v scalar, secret bool) {
	switch f.kind {
	case kindString:
		w.string(v.text, secret)
	case kindBytes:
		w.string(base64.StdEncoding.EncodeToString(v.data), secret)
	case kindBool:
		w.b = strconv.AppendBool(w.b, v.bits != 0)
	case kindInt32:
		w.b = strconv.AppendInt(w.b, int64(v.bits), 10)
	case kindUint32:
		w.b = strconv.AppendUint(w.b, v.bits, 10)
	case kindInt64:
		w.text(strconv.FormatInt(int64(v.bits), 10))
	case kindUint64:
		w.text(strconv.FormatUint(v.bits, 10))
	case kindDouble:
		w.number(math.Float64frombits(v.bits))
	case kindEnum:
		if name, known := f.enum.name(int32(v.bits)); known {
			w.text(name)
		} else {
			w.raw(name)
		}
	case kindDuration:
		w.duration(time.Duration(v.bits))
	}
}

func (w *printer) number(v float64) {
	switch {
	case math.IsNaN(v):
		w.text("NaN")
	case math.IsInf(v, 1):
		w.text("Infinity")
	case math.IsInf(v, -1):
		w.text("-Infinity")
	default:
		w.b = strconv.AppendFloat(w.b, v, 'g', -1, 64)
	}
}

// duration writes seconds with 0, 3, 6 or 9 decimals.
func (w *printer) duration(v time.Duration) {
	w.raw(`"`)
	seconds, nanos := int64(v/time.Second), int64(v%time.Second)
	if v < 0 {
		w.raw("-")
		seconds, nanos = -seconds, -nanos
	}
	w.b = strconv.AppendInt(w.b, seconds, 10)
	if nanos > 0 {
		digits := strconv.FormatInt(1e9+nanos, 10)[1:]
		for digits[len(digits)-3:] == "000" {
			digits = digits[:len(digits)-3]
		}
		w.raw(".").raw(digits)
	}
	w.raw(`s"`)
}

// value writes a value of a Struct.
func (w *printer) value(v any, secret bool) {
	switch v := v.(type) {
	case string:
		w.string(v, secret)
	case bool:
		w.b = strconv.AppendBool(w.b, v)
	case float64:
		w.number(v)
	case int:
		w.b = strconv.AppendInt(w.b, int64(v), 10)
	case map[string]any:
		w.raw("{")
		first := true
		for _, key := range sortedKeys(v) {
			w.key(&first, key)
			w.value(v[key], secret)
		}
		w.raw("}")
	case []any:
		w.raw("[")
		first := true
		for _, e := range v {
			w.comma(&first)
			w.value(e, secret)
		}
		w.raw("]")
	default:
		w.raw("null")
	}
}

func (w *printer) string(text string, secret bool) {
	if secret {
		text = redacted
	}
	w.text(text)
}

func (w *printer) text(s string) *printer {
	const hex = "0123456789abcdef"
	w.raw(`"`)
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b = append(w.b, '\\', byte(r))
		case r == '\n':
			w.raw(`\n`)
		case r == '\t':
			w.raw(`\t`)
		case r == '\r':
			w.raw(`\r`)
		case r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff:
			// Control characters, and what YAML does not take as text.
			w.b = append(w.b, '\\', 'u', hex[r>>12], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			w.b = utf8.AppendRune(w.b, r)
		}
	}
	return w.raw(`"`)
}

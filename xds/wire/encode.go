package wire

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// AppendProto appends the protobuf encoding of m to b. It is deterministic:
// fields by number, maps by key.
func AppendProto(b []byte, m Message) []byte {
	if a, ok := m.(*Any); ok && a.Message != nil {
		b = appendText(b, 1, a.TypeURL)
		return appendSized(b, 2, func(b []byte) []byte { return AppendProto(b, a.Message) })
	}
	s := m.schema()
	for i := range s.fields {
		b = appendField(b, m, i, &s.fields[i])
	}
	return b
}

func appendField(b []byte, m Message, i int, f *field) []byte {
	num := protowire.Number(f.number)
	if f.kind == kindMessage {
		for k := 0; ; k++ {
			child := m.child(i, k)
			if child == nil {
				return b
			}
			b = appendSized(b, num, func(b []byte) []byte { return AppendProto(b, child) })
		}
	}
	switch p := m.at(i).(type) {
	case *map[string]any:
		if *p == nil {
			return b
		}
		return appendSized(b, num, func(b []byte) []byte { return appendStruct(b, *p) })
	case *map[string]string, *map[string]map[string]any, mapping:
		return appendMap(b, num, p)
	default:
		return appendScalars(b, f, p)
	}
}

func appendScalars(b []byte, f *field, p any) []byte {
	num := protowire.Number(f.number)
	if f.packable() {
		if _, ok := load(p, f, 0); !ok {
			return b
		}
		return appendSized(b, num, func(b []byte) []byte {
			for k := 0; ; k++ {
				v, ok := load(p, f, k)
				if !ok {
					return b
				}
				b = appendNumber(b, f.kind, v)
			}
		})
	}
	for k := 0; ; k++ {
		v, ok := load(p, f, k)
		switch {
		case !ok:
			return b
		case f.kind == kindDuration:
			b = appendSized(b, num, func(b []byte) []byte { return appendDuration(b, time.Duration(v.bits)) })
		case f.wrapped:
			b = appendSized(b, num, func(b []byte) []byte { return appendWrapped(b, f.kind, v) })
		default:
			b = appendScalar(b, num, f.kind, v)
		}
	}
}

func appendScalar(b []byte, num protowire.Number, k kind, v scalar) []byte {
	switch k {
	case kindString:
		return appendText(b, num, v.text)
	case kindBytes:
		b = protowire.AppendTag(b, num, protowire.BytesType)
		return protowire.AppendBytes(b, v.data)
	}
	b = protowire.AppendTag(b, num, k.wireType())
	return appendNumber(b, k, v)
}

func appendNumber(b []byte, k kind, v scalar) []byte {
	if k == kindDouble {
		return protowire.AppendFixed64(b, v.bits)
	}
	return protowire.AppendVarint(b, v.bits)
}

// appendWrapped writes the value field of a wrapper, which is absent if zero.
func appendWrapped(b []byte, k kind, v scalar) []byte {
	if v.bits == 0 {
		return b
	}
	return appendScalar(b, 1, k, v)
}

func appendDuration(b []byte, v time.Duration) []byte {
	if seconds := v / time.Second; seconds != 0 {
		b = appendScalar(b, 1, kindInt64, scalar{bits: uint64(seconds)})
	}
	if nanos := v % time.Second; nanos != 0 {
		b = appendScalar(b, 2, kindInt64, scalar{bits: uint64(nanos)})
	}
	return b
}

func appendText(b []byte, num protowire.Number, text string) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	return protowire.AppendString(b, text)
}

// appendSized writes a field of bytes whose length is known only once write
// has written them.
func appendSized(b []byte, num protowire.Number, write func([]byte) []byte) []byte {
	b = protowire.AppendTag(b, num, protowire.BytesType)
	start := len(b)
	b = append(b, 0) // most lengths take one byte
	b = write(b)
	length := len(b) - start - 1
	if length < 0x80 {
		b[start] = byte(length)
		return b
	}
	more := protowire.SizeVarint(uint64(length)) - 1
	b = append(b, make([]byte, more)...)
	copy(b[start+1+more:], b[start+1:start+1+length])
	protowire.AppendVarint(b[:start], uint64(length))
	return b
}

func appendMap(b []byte, num protowire.Number, p any) []byte {
	entry := func(key string, value func([]byte) []byte) {
		b = appendSized(b, num, func(b []byte) []byte {
			return value(appendText(b, 1, key))
		})
	}
	switch p := p.(type) {
	case *map[string]string:
		for _, key := range sortedKeys(*p) {
			entry(key, func(b []byte) []byte { return appendText(b, 2, (*p)[key]) })
		}
	case *map[string]map[string]any:
		for _, key := range sortedKeys(*p) {
			entry(key, func(b []byte) []byte {
				return appendSized(b, 2, func(b []byte) []byte { return appendStruct(b, (*p)[key]) })
			})
		}
	case mapping:
		for _, key := range p.keys() {
			entry(key, func(b []byte) []byte {
				return appendSized(b, 2, func(b []byte) []byte { return AppendProto(b, p.value(key)) })
			})
		}
	}
	return b
}

func appendStruct(b []byte, m map[string]any) []byte {
	for _, key := range sortedKeys(m) {
		b = appendSized(b, 1, func(b []byte) []byte {
			b = appendText(b, 1, key)
			return appendSized(b, 2, func(b []byte) []byte { return appendValue(b, m[key]) })
		})
	}
	return b
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case float64:
		return appendScalar(b, 2, kindDouble, scalar{bits: math.Float64bits(v)})
	case int:
		return appendScalar(b, 2, kindDouble, scalar{bits: math.Float64bits(float64(v))})
	case string:
		return appendText(b, 3, v)
	case bool:
		return appendScalar(b, 4, kindBool, scalar{bits: boolBits(v)})
	case map[string]any:
		return appendSized(b, 5, func(b []byte) []byte { return appendStruct(b, v) })
	case []any:
		return appendSized(b, 6, func(b []byte) []byte {
			for _, e := range v {
				b = appendSized(b, 1, func(b []byte) []byte { return appendValue(b, e) })
			}
			return b
		})
	}
	return appendScalar(b, 1, kindBool, scalar{})
}

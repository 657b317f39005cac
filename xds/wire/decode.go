package wire

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Unmarshal merges the protobuf encoding b into m. An error means that b is
// malformed and m must not be used. Strings and bytes are copies of b, except
// the Value of an unresolved Any, which aliases it.
func Unmarshal(b []byte, m Message) (Report, error) {
	d := decoder{}
	if err := d.message(b, m, 0); err != nil {
		return d.report, fmt.Errorf("read %s: %w", Name(m), err)
	}
	return d.report, nil
}

type decoder struct {
	report Report
	path   path
	recent [64]string // strings seen, so that repeated ones are held once
}

var (
	errDepth    = errors.New("messages nest too deeply")
	errUTF8     = errors.New("a string is not valid UTF-8")
	errTwice    = errors.New("a map entry has two values")
	errSplit    = errors.New("a google.protobuf.Any is given in parts")
	errDuration = errors.New("a duration is out of range")
)

func (d *decoder) message(b []byte, m Message, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	s := m.schema()
	hint := 0
	for len(b) > 0 {
		number, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return d.malformed(n)
		}
		b = b[n:]
		i := s.byNumber(int32(number), hint)
		if i < 0 || !s.fields[i].takes(typ) {
			n = protowire.ConsumeFieldValue(number, typ, b)
			if n < 0 {
				return d.malformed(n)
			}
			d.skipped(s, number, i)
			b = b[n:]
			continue
		}
		hint = i
		n, err := d.field(b, m, s, i, typ, depth)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// skipped records a field that was set and is not read.
func (d *decoder) skipped(s *schema, number protowire.Number, i int) {
	if i >= 0 {
		d.report.unsupported(d.path, s.fields[i].name, " (wrong wire type)")
		return
	}
	text := strconv.Itoa(int(number))
	find := func(list string) (found string) {
		pairs(list, func(number, name string) bool {
			if number == text {
				found = name
			}
			return found == ""
		})
		return found
	}
	if name := find(s.harmless); name != "" {
		d.report.ignored(d.path, name)
		return
	}
	if name := find(s.refused); name != "" {
		text = name
	}
	d.report.unsupported(d.path, text, "")
}

// unknown records a field of a wrapper, duration, Struct or map entry.
func (d *decoder) unknown(f *field, number protowire.Number) {
	d.report.unsupported(d.path, f.name, fmt.Sprintf(".%d", number))
}

func (d *decoder) malformed(code int) error {
	err := protowire.ParseError(code)
	if at := d.path.String(); at != "" {
		return fmt.Errorf("%s: %w", at, err)
	}
	return err
}

func (d *decoder) fail(name string, err error) error {
	return fmt.Errorf("%s: %w", d.path.with(name), err)
}

// takes tells whether a field may arrive with a wire type.
func (f *field) takes(typ protowire.Type) bool {
	return typ == f.wireType() || typ == protowire.BytesType && f.packable()
}

func (f *field) packable() bool {
	return f.many && !f.wrapped && f.kind >= kindBool && f.kind <= kindEnum
}

func (f *field) wireType() protowire.Type {
	if f.wrapped {
		return protowire.BytesType
	}
	return f.kind.wireType()
}

func (k kind) wireType() protowire.Type {
	switch k {
	case kindBool, kindInt32, kindInt64, kindUint32, kindUint64, kindEnum:
		return protowire.VarintType
	case kindDouble:
		return protowire.Fixed64Type
	}
	return protowire.BytesType
}

// field reads one value, whose tag is consumed, and returns its length.
func (d *decoder) field(b []byte, m Message, s *schema, i int, typ protowire.Type, depth int) (int, error) {
	f := &s.fields[i]
	set(m, s, i)
	if typ != protowire.BytesType {
		v, n := number(f.kind, b)
		if n < 0 {
			return 0, d.malformed(n)
		}
		d.store(m.at(i), f, v)
		return n, nil
	}
	data, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return 0, d.malformed(n)
	}
	return n, d.bytes(data, m, s, i, depth)
}

func (d *decoder) bytes(data []byte, m Message, s *schema, i, depth int) error {
	f := &s.fields[i]
	switch {
	case f.kind == kindMessage:
		child, k := m.grow(i)
		d.path = append(d.path, step{name: f.name, index: k})
		err := d.child(data, child, f.raw, depth+1)
		d.path = d.path[:len(d.path)-1]
		return err
	case f.kind == kindStruct:
		return d.structure(data, f, m.at(i).(*map[string]any), depth+1)
	case f.kind.isMap():
		return d.entry(data, f, m.at(i), depth+1)
	case f.kind == kindDuration:
		return d.duration(data, f, m.at(i))
	case f.wrapped:
		return d.wrapper(data, f, m.at(i))
	case f.packable():
		return d.packed(data, f, m.at(i))
	case f.kind == kindBytes && s != &schemaAny:
		data = append([]byte{}, data...)
		fallthrough
	case f.kind == kindBytes:
		store(m.at(i), scalar{data: data})
		return nil
	}
	text, err := d.text(data, f)
	store(m.at(i), scalar{text: text})
	return err
}

func (d *decoder) store(p any, f *field, v scalar) {
	if f.kind == kindEnum {
		v.bits = uint64(int64(int32(v.bits)))
		if _, known := f.enum.name(int32(v.bits)); !known {
			d.report.unsupported(d.path, f.name, fmt.Sprintf(" (value %d)", int32(v.bits)))
		}
	}
	store(p, v)
}

func (d *decoder) child(data []byte, m Message, raw bool, depth int) error {
	a, isAny := m.(*Any)
	if !isAny {
		return d.message(data, m, depth)
	}
	before := a.Message
	a.Message = nil
	if err := d.message(data, a, depth); err != nil || raw {
		return err
	}
	if before != nil && a.Value == nil {
		// The field occurs twice, the second time without a value.
		return fmt.Errorf("%s: %w", d.path, errSplit)
	}
	return d.resolve(a, depth)
}

func (d *decoder) resolve(a *Any, depth int) error {
	value := a.Value
	a.Value = nil
	m := New(a.TypeURL)
	if m == nil {
		d.report.unsupported(d.path, "", fmt.Sprintf(" (type %q)", shorten(a.TypeURL, 200)))
		return nil
	}
	a.Message = m
	return d.message(value, m, depth+1)
}

func (d *decoder) text(data []byte, f *field) (string, error) {
	if !utf8.Valid(data) {
		return "", d.fail(f.name, errUTF8)
	}
	if len(data) == 0 || len(data) > 64 {
		return string(data), nil
	}
	slot := &d.recent[(len(data)*31+int(data[0])*7+int(data[len(data)-1])+int(data[len(data)/2])*3)%len(d.recent)]
	if *slot != string(data) {
		*slot = string(data)
	}
	return *slot, nil
}

// number reads a value of fixed or variable length; n is negative on error.
func number(k kind, b []byte) (v scalar, n int) {
	if k.wireType() == protowire.Fixed64Type {
		u, n := protowire.ConsumeFixed64(b)
		return scalar{bits: u}, n
	}
	u, n := protowire.ConsumeVarint(b)
	return scalar{bits: u}, n
}

func (d *decoder) packed(data []byte, f *field, p any) error {
	for len(data) > 0 {
		v, n := number(f.kind, data)
		if n < 0 {
			return d.malformed(n)
		}
		d.store(p, f, v)
		data = data[n:]
	}
	return nil
}

// wrapper reads the value field of a google.protobuf wrapper of a number.
func (d *decoder) wrapper(data []byte, f *field, p any) error {
	v, _ := load(p, f, 0)
	err := d.fields(data, f.name, func(number protowire.Number, typ protowire.Type, _ []byte, read scalar) error {
		if number != 1 || typ != f.kind.wireType() {
			d.unknown(f, number)
			return nil
		}
		v = read
		return nil
	}, f.kind)
	store(p, v)
	return err
}

func (d *decoder) duration(data []byte, f *field, p any) error {
	var seconds, nanos int64
	if v, ok := load(p, f, 0); ok {
		seconds, nanos = int64(v.bits)/1e9, int64(v.bits)%1e9
	}
	err := d.fields(data, f.name, func(number protowire.Number, typ protowire.Type, _ []byte, v scalar) error {
		switch {
		case number == 1 && typ == protowire.VarintType:
			seconds = int64(v.bits)
		case number == 2 && typ == protowire.VarintType:
			nanos = int64(int32(v.bits))
		default:
			d.unknown(f, number)
		}
		return nil
	}, kindInt64)
	if err != nil {
		return err
	}
	v, ok := toDuration(seconds, nanos)
	if !ok {
		return d.fail(f.name, errDuration)
	}
	store(p, scalar{bits: uint64(v)})
	return nil
}

// toDuration reports whether seconds and nanoseconds are well formed and within
// the range of a time.Duration.
func toDuration(seconds, nanos int64) (time.Duration, bool) {
	const most = math.MaxInt64/1_000_000_000 - 1
	if seconds > most || seconds < -most || nanos > 999999999 || nanos < -999999999 {
		return 0, false
	}
	if seconds > 0 && nanos < 0 || seconds < 0 && nanos > 0 {
		return 0, false
	}
	return time.Duration(seconds*1e9 + nanos), true
}

// fields calls read for each field of a small message: with its bytes, or with
// its number read as kind k.
func (d *decoder) fields(data []byte, name string,
	read func(protowire.Number, protowire.Type, []byte, scalar) error, k kind,
) error {
	for len(data) > 0 {
		num, typ, n := protowire.ConsumeTag(data)
		if n < 0 {
			return d.fail(name, protowire.ParseError(n))
		}
		data = data[n:]
		n = protowire.ConsumeFieldValue(num, typ, data)
		if n < 0 {
			return d.fail(name, protowire.ParseError(n))
		}
		var value []byte
		var v scalar
		switch typ {
		case protowire.BytesType:
			value, _ = protowire.ConsumeBytes(data)
		case k.wireType():
			v, _ = number(k, data)
		case protowire.VarintType:
			v, _ = number(kindUint64, data)
		}
		if err := read(num, typ, value, v); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

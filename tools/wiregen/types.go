package main

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// scalarTypes are the Go type and the kind of each scalar that the runtime
// knows; xds/wire/scalar.go lists the same ones.
var scalarTypes = map[protoreflect.Kind][2]string{
	protoreflect.StringKind: {"string", "kindString"},
	protoreflect.BytesKind:  {"[]byte", "kindBytes"},
	protoreflect.BoolKind:   {"bool", "kindBool"},
	protoreflect.Int32Kind:  {"int32", "kindInt32"},
	protoreflect.Int64Kind:  {"int64", "kindInt64"},
	protoreflect.Uint32Kind: {"uint32", "kindUint32"},
	protoreflect.Uint64Kind: {"uint64", "kindUint64"},
	protoreflect.DoubleKind: {"float64", "kindDouble"},
}

var wrappers = map[protoreflect.FullName]protoreflect.Kind{
	"google.protobuf.BoolValue":   protoreflect.BoolKind,
	"google.protobuf.UInt32Value": protoreflect.Uint32Kind,
	"google.protobuf.UInt64Value": protoreflect.Uint64Kind,
}

// optional and repeated are the scalars that may be so.
var (
	optional = []protoreflect.Kind{
		protoreflect.StringKind, protoreflect.BytesKind, protoreflect.BoolKind, protoreflect.Uint32Kind, protoreflect.Uint64Kind,
	}
	repeated = []protoreflect.Kind{protoreflect.StringKind, protoreflect.BytesKind, protoreflect.Uint32Kind}
)

// typeOf fills in the Go type of a field and how the runtime reaches it.
func (r *resolver) typeOf(f *fieldType) error {
	d := f.desc
	f.many = d.IsList()
	f.at = "&m.%s"
	if d.IsMap() {
		return r.mapType(f)
	}
	if d.Kind() == protoreflect.EnumKind {
		return r.enumField(f)
	}
	if d.Message() != nil {
		return r.messageField(f)
	}
	scalar, ok := scalarTypes[d.Kind()]
	if !ok {
		return fmt.Errorf("type %s is not supported", d.Kind())
	}
	f.kind = scalar[1]
	f.goType = scalar[0]
	switch {
	case f.many && !slices.Contains(repeated, d.Kind()):
		return fmt.Errorf("a repeated %s is not supported", d.Kind())
	case f.many:
		f.goType = "[]" + f.goType
	case !d.HasPresence():
	case !slices.Contains(optional, d.Kind()) || d.Kind() == protoreflect.BytesKind && f.oneof == 0:
		return fmt.Errorf("an optional %s is not supported", d.Kind())
	case d.Kind() != protoreflect.BytesKind:
		f.goType = "*" + f.goType
	}
	return nil
}

func (r *resolver) enumField(f *fieldType) error {
	if f.many {
		return fmt.Errorf("a repeated enum is not supported")
	}
	var err error
	if f.enum, err = r.enum(f.desc.Enum()); err != nil {
		return err
	}
	f.kind = "kindEnum"
	f.goType = f.enum.goName
	f.at = "(*int32)(&m.%s)"
	if f.desc.HasPresence() {
		f.goType = "*" + f.goType
		f.at = "optionalEnum[" + f.enum.goName + "]{&m.%s}"
	}
	return nil
}

func (r *resolver) messageField(f *fieldType) error {
	name := f.desc.Message().FullName()
	if inner, ok := wrappers[name]; ok {
		scalar := scalarTypes[inner]
		if f.many {
			return fmt.Errorf("repeated %s is not supported", name)
		}
		f.wrap, f.kind, f.goType = true, scalar[1], "*"+scalar[0]
		return nil
	}
	switch name {
	case "google.protobuf.Duration":
		if f.many {
			return fmt.Errorf("a repeated Duration is not supported")
		}
		f.kind, f.goType = "kindDuration", "*time.Duration"
		return nil
	case "google.protobuf.Struct":
		if f.many {
			return fmt.Errorf("a repeated Struct is not supported")
		}
		f.kind, f.goType = "kindStruct", "map[string]any"
		return nil
	}
	goName, err := r.messageName(f, f.desc.Message())
	if err != nil {
		return err
	}
	f.kind, f.goType = "kindMessage", "*"+goName
	if f.many {
		f.goType = "[]" + f.goType
	}
	return nil
}

func (r *resolver) messageName(f *fieldType, d protoreflect.MessageDescriptor) (string, error) {
	if d.FullName() == "google.protobuf.Any" {
		return "Any", nil
	}
	m := r.messages[d.FullName()]
	if m == nil {
		return "", fmt.Errorf("its type %s is not listed", d.FullName())
	}
	f.target = m
	return m.goName, nil
}

func (r *resolver) mapType(f *fieldType) error {
	value := f.desc.MapValue()
	if f.desc.MapKey().Kind() != protoreflect.StringKind {
		return fmt.Errorf("a map by %s is not supported", f.desc.MapKey().Kind())
	}
	switch {
	case value.Kind() == protoreflect.StringKind:
		f.kind, f.goType = "kindStringMap", "map[string]string"
	case value.Message() == nil:
		return fmt.Errorf("a map of %s is not supported", value.Kind())
	case value.Message().FullName() == "google.protobuf.Struct":
		f.kind, f.goType = "kindStructMap", "map[string]map[string]any"
	default:
		goName, err := r.messageName(f, value.Message())
		if err != nil {
			return err
		}
		f.kind, f.goType = "kindMessageMap", "map[string]*"+goName
		f.at = "mapOf[" + goName + ", *" + goName + "]{&m.%s}"
	}
	return nil
}

func (r *resolver) enum(d protoreflect.EnumDescriptor) (*enumType, error) {
	if e := r.enums[d.FullName()]; e != nil {
		return e, nil
	}
	e := &enumType{desc: d}
	name := strings.TrimPrefix(string(d.FullName()), string(d.ParentFile().Package())+".")
	e.goName = goCamel(name)
	e.prefix = e.goName
	if parent, ok := d.Parent().(protoreflect.MessageDescriptor); ok {
		e.prefix = strings.TrimSuffix(e.goName, "_"+goCamel(string(d.Name())))
		if m := r.messages[parent.FullName()]; m != nil && m.goName != e.prefix {
			e.prefix = m.goName
			e.goName = m.goName + "_" + goCamel(string(d.Name()))
		}
	}
	if err := r.claim(e.goName, d.FullName()); err != nil {
		return nil, err
	}
	r.enums[d.FullName()] = e
	return e, nil
}

// goCamel names things as protoc-gen-go does.
func goCamel(s string) string {
	lower := func(c byte) bool { return 'a' <= c && c <= 'z' }
	var b []byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.' && i+1 < len(s) && lower(s[i+1]):
		case c == '.':
			b = append(b, '_')
		case c == '_' && (i == 0 || s[i-1] == '.'):
			b = append(b, 'X')
		case c == '_' && i+1 < len(s) && lower(s[i+1]):
		case '0' <= c && c <= '9':
			b = append(b, c)
		default:
			if lower(c) {
				c -= 'a' - 'A'
			}
			b = append(b, c)
			for ; i+1 < len(s) && lower(s[i+1]); i++ {
				b = append(b, s[i+1])
			}
		}
	}
	return string(b)
}

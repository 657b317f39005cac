package main

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cncf/xds/go/udpa/annotations"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"
)

// api is what is generated.
type api struct {
	messages []*message
	enums    []*enumType
}

type message struct {
	entry  *entry
	desc   protoreflect.MessageDescriptor
	goName string
	fields []*fieldType
}

type fieldType struct {
	desc   protoreflect.FieldDescriptor
	goName string
	goType string
	kind   string
	at     string // the expression that at returns, %s for the field
	many   bool
	wrap   bool
	secret bool
	raw    bool
	oneof  int
	enum   *enumType
	target *message // the message's type, nil for Any
}

type enumType struct {
	desc   protoreflect.EnumDescriptor
	goName string
	prefix string // of the constants
}

type resolver struct {
	messages map[protoreflect.FullName]*message
	enums    map[protoreflect.FullName]*enumType
	goNames  map[string]protoreflect.FullName
}

func resolve(entries []*entry) (*api, error) {
	r := &resolver{
		messages: map[protoreflect.FullName]*message{},
		enums:    map[protoreflect.FullName]*enumType{},
		goNames:  map[string]protoreflect.FullName{},
	}
	var out api
	for _, e := range entries {
		desc, err := find(e)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", e.line, err)
		}
		m := &message{entry: e, desc: desc, goName: e.goName}
		if m.goName == "" {
			m.goName = goCamel(strings.TrimPrefix(e.name, string(desc.ParentFile().Package())+"."))
		}
		if err := r.claim(m.goName, desc.FullName()); err != nil {
			return nil, fmt.Errorf("line %d: %w", e.line, err)
		}
		r.messages[desc.FullName()] = m
		out.messages = append(out.messages, m)
	}
	for _, m := range out.messages {
		if err := r.resolveFields(m); err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", m.entry.line, m.entry.name, err)
		}
	}
	if err := r.unused(&out); err != nil {
		return nil, err
	}
	for _, e := range r.enums {
		out.enums = append(out.enums, e)
	}
	slices.SortFunc(out.enums, func(a, b *enumType) int { return strings.Compare(a.goName, b.goName) })
	return &out, nil
}

func (r *resolver) claim(goName string, name protoreflect.FullName) error {
	if other, taken := r.goNames[goName]; taken {
		return fmt.Errorf("%s and %s would both be %s: rename one", other, name, goName)
	}
	r.goNames[goName] = name
	return nil
}

// find returns the descriptor of a listed message.
func find(e *entry) (protoreflect.MessageDescriptor, error) {
	if e.declared {
		return declare(e)
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(e.name))
	if err != nil {
		return nil, fmt.Errorf("find %s: %w (is its package among the imports?)", e.name, err)
	}
	m, ok := d.(protoreflect.MessageDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is not a message", e.name)
	}
	return m, nil
}

// declare builds the descriptor of a message that the list declares.
func declare(e *entry) (protoreflect.MessageDescriptor, error) {
	dot := strings.LastIndexByte(e.name, '.')
	m := &descriptorpb.DescriptorProto{Name: proto.String(e.name[dot+1:])}
	for _, f := range e.declares {
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
			Name:     proto.String(f.name),
			Number:   proto.Int32(f.number),
			Label:    descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			Type:     descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(),
			TypeName: proto.String("." + f.typeName),
		})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name:        proto.String(e.name + ".proto"),
		Package:     proto.String(e.name[:dot]),
		Syntax:      proto.String("proto3"),
		Dependency:  []string{"google/protobuf/duration.proto", "google/protobuf/wrappers.proto"},
		MessageType: []*descriptorpb.DescriptorProto{m},
	}, protoregistry.GlobalFiles)
	if err != nil {
		return nil, fmt.Errorf("declare %s: %w", e.name, err)
	}
	return file.Messages().Get(0), nil
}

func (r *resolver) resolveFields(m *message) error {
	e := m.entry
	all := m.desc.Fields()
	for _, names := range [][]string{e.fields, e.harmless, e.raw, e.secret} {
		for _, name := range names {
			if all.ByName(protoreflect.Name(name)) == nil {
				return fmt.Errorf("there is no field %s", name)
			}
		}
	}
	for i := range all.Len() {
		d := all.Get(i)
		name := string(d.Name())
		if !e.all && !slices.Contains(e.fields, name) {
			continue
		}
		if slices.Contains(e.harmless, name) {
			return fmt.Errorf("%s is both read and ignored", name)
		}
		f := &fieldType{desc: d, goName: goCamel(name), raw: slices.Contains(e.raw, name)}
		f.secret = slices.Contains(e.secret, name) || sensitive(d)
		if o := d.ContainingOneof(); o != nil && !o.IsSynthetic() {
			f.oneof = o.Index() + 1
		}
		if err := r.typeOf(f); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		m.fields = append(m.fields, f)
	}
	slices.SortFunc(m.fields, func(a, b *fieldType) int { return int(a.desc.Number() - b.desc.Number()) })
	return nil
}

// sensitive tells whether the API marks a field as holding a secret.
func sensitive(d protoreflect.FieldDescriptor) bool {
	options := d.Options()
	return proto.HasExtension(options, annotations.E_Sensitive) &&
		proto.GetExtension(options, annotations.E_Sensitive).(bool)
}

// unused refuses messages of the list that nothing leads to.
func (r *resolver) unused(a *api) error {
	used := map[*message]bool{}
	for _, m := range a.messages {
		for _, f := range m.fields {
			used[f.target] = true
		}
	}
	for _, m := range a.messages {
		if !m.entry.anyable && !m.entry.root && !used[m] {
			return fmt.Errorf("line %d: no listed field is a %s", m.entry.line, m.entry.name)
		}
	}
	return nil
}

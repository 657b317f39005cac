package wire

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/maglev/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/random/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/ring_hash/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/round_robin/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	_ "github.com/leno-mesh/leno/api/agent/v1"
)

// roots are the messages from which every other one is reached.
func roots() []Message {
	return append([]Message{
		new(Bootstrap), new(DiscoveryRequest), new(DiscoveryResponse), new(DeltaDiscoveryRequest),
		new(DeltaDiscoveryResponse), new(IssueRequest), new(IssueResponse), new(AgentReport), new(Command),
	}, packable()...)
}

// packable are the messages that an Any may hold and the registry knows.
func packable() []Message {
	return []Message{
		new(Listener), new(TlsInspector), new(HttpInspector), new(OriginalDst), new(ProxyProtocol),
		new(HttpConnectionManager), new(Router), new(RouteConfiguration), new(HttpRBAC), new(HttpRBACPerRoute),
		new(NetworkRBAC), new(TcpProxy), new(Cluster), new(RoundRobin), new(Random), new(LeastRequest),
		new(RingHash), new(Maglev), new(HttpProtocolOptions), new(ClusterLoadAssignment),
		new(DownstreamTlsContext), new(UpstreamTlsContext), new(Secret), new(RawBuffer),
	}
}

// every returns the roots and all messages below them.
func every() []Message {
	var list []Message
	seen := map[string]bool{"google.protobuf.Any": true}
	var visit func(m Message)
	visit = func(m Message) {
		if seen[Name(m)] {
			return
		}
		seen[Name(m)] = true
		list = append(list, fresh(m))
		for i, f := range m.schema().fields {
			switch f.kind {
			case kindMessage:
				child, _ := m.grow(i)
				visit(child)
			case kindMessageMap:
				visit(m.at(i).(mapping).put("x"))
			}
		}
	}
	for _, m := range roots() {
		visit(m)
	}
	return list
}

// fresh returns an empty message of the type of m.
func fresh(m Message) Message {
	return reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message)
}

func peer(t testing.TB, m Message) proto.Message {
	mt, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName(Name(m)))
	if err != nil {
		t.Fatal(err)
	}
	return mt.New().Interface()
}

// filler makes random messages out of the fields that are read.
type filler struct {
	t       testing.TB
	rng     *rand.Rand
	secrets bool // also secret fields
	yaml    bool // only text that YAML can hold
}

func (g *filler) fill(to protoreflect.Message, m Message, depth int) {
	s := m.schema()
	for i := range s.fields {
		f := &s.fields[i]
		if f.secret && !g.secrets || g.rng.IntN(6) < depth-2 || g.rng.IntN(3) == 0 {
			continue
		}
		d := to.Descriptor().Fields().ByNumber(protoreflect.FieldNumber(f.number))
		switch {
		case d.IsMap():
			entries := to.Mutable(d).Map()
			for range g.rng.IntN(3) {
				key := protoreflect.ValueOfString(g.text()).MapKey()
				value := entries.NewValue()
				if d.MapValue().Message() == nil {
					value = protoreflect.ValueOfString(g.text())
				} else {
					g.message(value.Message(), d.MapValue().Message(), m, i, f, depth)
				}
				entries.Set(key, value)
			}
		case d.IsList():
			list := to.Mutable(d).List()
			for range g.rng.IntN(4) {
				value := list.NewElement()
				if d.Message() != nil {
					g.message(value.Message(), d.Message(), m, i, f, depth)
				} else {
					value = g.scalar(d)
				}
				list.Append(value)
			}
		case d.Message() != nil:
			g.message(to.Mutable(d).Message(), d.Message(), m, i, f, depth)
		default:
			to.Set(d, g.scalar(d))
		}
	}
}

func (g *filler) message(to protoreflect.Message, d protoreflect.MessageDescriptor, m Message, i int, f *field, depth int) {
	fields := d.Fields()
	switch {
	case d.FullName() == "google.protobuf.Duration":
		sign := int64(g.rng.IntN(3) - 1)
		to.Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(sign*g.rng.Int64N(1<<32)))
		to.Set(fields.ByName("nanos"), protoreflect.ValueOfInt32(int32(sign*g.rng.Int64N(1000)*[]int64{0, 1, 1000, 1000000}[g.rng.IntN(4)])))
	case d.FullName() == "google.protobuf.Struct":
		proto.Merge(to.Interface(), g.structure(depth))
	case d.FullName() == "google.protobuf.Any":
		types := packable()
		inner := types[g.rng.IntN(len(types))]
		message := peer(g.t, inner)
		g.fill(message.ProtoReflect(), inner, depth+1)
		packed, err := anypb.New(message)
		if err != nil {
			g.t.Fatal(err)
		}
		proto.Merge(to.Interface(), packed)
	case f.wrapped:
		to.Set(fields.ByNumber(1), g.scalar(fields.ByNumber(1)))
	case f.kind == kindMessageMap:
		g.fill(to, m.at(i).(mapping).put("x"), depth+1)
	default:
		child, _ := m.grow(i)
		g.fill(to, child, depth+1)
	}
}

func (g *filler) structure(depth int) *structpb.Struct {
	s := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for range g.rng.IntN(4) {
		s.Fields[g.text()] = g.value(depth)
	}
	return s
}

func (g *filler) value(depth int) *structpb.Value {
	n := 6
	if depth > 5 {
		n = 4
	}
	switch g.rng.IntN(n) {
	case 0:
		return structpb.NewNullValue()
	case 1:
		return structpb.NewNumberValue(g.rng.NormFloat64())
	case 2:
		return structpb.NewStringValue(g.text())
	case 3:
		return structpb.NewBoolValue(g.rng.IntN(2) == 0)
	case 4:
		return structpb.NewStructValue(g.structure(depth + 1))
	}
	list := &structpb.ListValue{}
	for range g.rng.IntN(3) {
		list.Values = append(list.Values, g.value(depth+1))
	}
	return structpb.NewListValue(list)
}

func (g *filler) text() string {
	texts := []string{"", "a", "outbound|80||x.default", "null", "true", "12", "\x00\x1f\"\\\n\té", "日本語", "#:- {", " x ", "0.25s", "<<", "2001-01-01", "\u007f\u0085\u2028\ufeff"}
	if g.yaml { // which has no such characters, or takes them for a line's end
		texts = texts[:len(texts)-1]
	}
	return texts[g.rng.IntN(len(texts))]
}

func (g *filler) scalar(d protoreflect.FieldDescriptor) protoreflect.Value {
	zero := g.rng.IntN(5) == 0
	n := g.rng.Uint64()
	if zero {
		n = 0
	}
	switch d.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(g.text())
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(g.text() + "\xff\xfe"[:n%3]))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n%2 == 1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(int64(n)) * 1e-9)
	case protoreflect.EnumKind:
		values := d.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(int(n % uint64(values.Len()))).Number())
	}
	g.t.Fatalf("no random %s", d.Kind())
	return protoreflect.Value{}
}

// each calls check with random messages of every type.
func each(t *testing.T, g filler, check func(t *testing.T, m Message, peer proto.Message)) {
	for _, m := range every() {
		t.Run(Name(m), func(t *testing.T) {
			for seed := range uint64(40) {
				g.t, g.rng = t, rand.New(rand.NewPCG(seed, 1))
				p := peer(t, m)
				g.fill(p.ProtoReflect(), fresh(m), 0)
				check(t, fresh(m), p)
			}
		})
	}
}

func marshal(t *testing.T, p proto.Message) []byte {
	b, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func clean(t *testing.T, r Report, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Unsupported) > 0 || len(r.Ignored) > 0 {
		t.Fatalf("fields that are read were reported: %+v", r)
	}
}

func TestEveryListedFieldSurvivesReadingAndWriting(t *testing.T) {
	each(t, filler{secrets: true}, func(t *testing.T, m Message, p proto.Message) {
		report, err := Unmarshal(marshal(t, p), m)
		clean(t, report, err)
		back := peer(t, m)
		if err := proto.Unmarshal(AppendProto(nil, m), back); err != nil {
			t.Fatal(err)
		}
		if !sameProto(p, back) {
			t.Fatalf("want\n%s\nhave\n%s", protojson.Format(p), protojson.Format(back))
		}
	})
}

// sameProto compares canonical encodings, for those within an Any are bytes.
func sameProto(a, b proto.Message) bool {
	x, errX := protojson.Marshal(a)
	y, errY := protojson.Marshal(b)
	return errX == nil && errY == nil && cmp.Equal(generic(x), generic(y))
}

func generic(b []byte) (v any) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

func TestJSONEqualsProtojson(t *testing.T) {
	each(t, filler{}, func(t *testing.T, m Message, p proto.Message) {
		if hasRaw(m) {
			t.Skip("resources are not resolved")
		}
		report, err := Unmarshal(marshal(t, p), m)
		clean(t, report, err)
		want, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		have := AppendJSON(nil, m)
		if !json.Valid(have) {
			t.Fatalf("not JSON: %s", have)
		}
		if diff := cmp.Diff(generic(want), generic(have)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestReadYAMLEqualsProtojson(t *testing.T) {
	each(t, filler{secrets: true, yaml: true}, func(t *testing.T, m Message, p proto.Message) {
		if hasRaw(m) {
			t.Skip("resources are not resolved")
		}
		for _, names := range []bool{true, false} {
			text, err := protojson.MarshalOptions{UseProtoNames: names}.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			m := fresh(m)
			report, err := ReadYAML(text, m)
			if err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
			clean(t, report, nil)
			back := peer(t, m)
			if err := proto.Unmarshal(AppendProto(nil, m), back); err != nil {
				t.Fatal(err)
			}
			if !sameProto(p, back) {
				t.Fatalf("want\n%s\nhave\n%s", protojson.Format(p), protojson.Format(back))
			}
		}
	})
}

func hasRaw(m Message) bool {
	switch m.(type) {
	case *DiscoveryResponse, *DeltaDiscoveryResponse, *Resource:
		return true
	}
	return false
}

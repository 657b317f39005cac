package wire

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWhatIsNotReadIsReportedByPath(t *testing.T) {
	strange := &anypb.Any{TypeUrl: "type.googleapis.com/example.Custom", Value: []byte("x")}
	tests := []struct {
		name                 string
		into                 Message
		from                 proto.Message
		unsupported, ignored []string
	}{
		{
			"route with a field that routes", new(RouteConfiguration),
			&routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{}, {Routes: []*routev3.Route{{
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					Priority:         corev3.RoutingPriority_HIGH,
					ClusterSpecifier: &routev3.RouteAction_ClusterHeader{ClusterHeader: "x"},
					//lint:ignore SA1019 deprecated, and still set by some
					Cors: &routev3.CorsPolicy{},
				}},
			}}}}},
			[]string{"virtual_hosts[1].routes[0].route.cors", "virtual_hosts[1].routes[0].route.cluster_header"},
			[]string{"virtual_hosts[1].routes[0].route.priority"},
		},
		{
			"weaker verification", new(DownstreamTlsContext),
			&tlsv3.DownstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
				ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
					AllowExpiredCertificate: true, Crl: &corev3.DataSource{},
				}},
			}},
			[]string{
				"common_tls_context.validation_context.crl",
				"common_tls_context.validation_context.allow_expired_certificate",
			},
			nil,
		},
		{
			"types that are not known", new(Listener),
			&listenerv3.Listener{StatPrefix: "x", FilterChains: []*listenerv3.FilterChain{{
				Filters:         []*listenerv3.Filter{{ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: strange}}},
				TransportSocket: &corev3.TransportSocket{ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: &anypb.Any{}}},
			}}},
			[]string{
				`filter_chains[0].filters[0].typed_config (type "type.googleapis.com/example.Custom")`,
				`filter_chains[0].transport_socket.typed_config (type "")`,
			},
			[]string{"stat_prefix"},
		},
		{
			"fields within an Any of a map", new(Cluster),
			&clusterv3.Cluster{TypedExtensionProtocolOptions: map[string]*anypb.Any{
				"a.b": pack(t, &endpointv3.ClusterLoadAssignment{NamedEndpoints: map[string]*endpointv3.Endpoint{"x": {}}}),
			}},
			[]string{`typed_extension_protocol_options["a.b"].named_endpoints`},
			nil,
		},
		{
			"a value that the API does not have", new(Cluster),
			&clusterv3.Cluster{LbPolicy: 99},
			[]string{"lb_policy (value 99)"},
			nil,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := proto.MarshalOptions{Deterministic: true}.Marshal(test.from)
			if err != nil {
				t.Fatal(err)
			}
			report, err := Unmarshal(b, test.into)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.unsupported, report.Unsupported); diff != "" {
				t.Error("unsupported:", diff)
			}
			if diff := cmp.Diff(test.ignored, report.Ignored); diff != "" {
				t.Error("ignored:", diff)
			}
		})
	}
}

func bytesField(number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), value)
}

func varintField(number protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), value)
}

func TestUnknownNumbersAndWireTypesAreReported(t *testing.T) {
	b := slices.Concat(varintField(1000, 1), varintField(1, 1), bytesField(2, varintField(77, 1)))
	report, err := Unmarshal(b, new(Listener))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"1000", "name (wrong wire type)", "address.77"}
	if diff := cmp.Diff(want, report.Unsupported); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownFieldsOfSmallMessagesAreReported(t *testing.T) {
	unknown := varintField(9, 1)
	value := func(fields ...[]byte) []byte { return bytesField(1, bytesField(2, slices.Concat(fields...))) }
	tests := []struct {
		name string
		into Message
		b    []byte
		want string
	}{
		{"duration", new(Cluster), bytesField(4, unknown), "connect_timeout.9"},
		{"wrapper", new(Http2ProtocolOptions), bytesField(2, unknown), "max_concurrent_streams.9"},
		{"map entry", new(RBAC), bytesField(2, unknown), "policies.9"},
		{"struct", new(Node), bytesField(3, unknown), "metadata.9"},
		{"struct entry", new(Node), bytesField(3, bytesField(1, unknown)), "metadata.9"},
		{"value", new(Node), bytesField(3, value(unknown)), "metadata.9"},
		{"list", new(Node), bytesField(3, value(bytesField(6, unknown))), "metadata.9"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			report, err := Unmarshal(test.b, test.into)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{test.want}, report.Unsupported); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNumbersThatJSONLacksAreText(t *testing.T) {
	m := &Node{Metadata: map[string]any{"a": math.NaN(), "b": math.Inf(1), "c": math.Inf(-1), "d": 7}}
	want := `{"metadata":{"a":"NaN","b":"Infinity","c":"-Infinity","d":7}}`
	if have := string(AppendJSON(nil, m)); have != want {
		t.Errorf("want %s, have %s", want, have)
	}
	var back Node
	report, err := Unmarshal(AppendProto(nil, m), &back)
	clean(t, report, err)
	if !math.IsNaN(back.Metadata["a"].(float64)) || back.Metadata["d"] != 7.0 {
		t.Errorf("%v", back.Metadata)
	}
	for text, want := range map[string]float64{"NaN": math.NaN(), "'Infinity'": math.Inf(1), "-.inf": math.Inf(-1), "'1.5'": 1.5} {
		var p Percent
		if _, err := ReadYAML([]byte("value: "+text), &p); err != nil || p.Value != want && !math.IsNaN(want) {
			t.Errorf("%s: %v, %v", text, p.Value, err)
		}
	}
}

func TestAPackedMessageIsUnpacked(t *testing.T) {
	m := &Filter{Name: "tcp", TypedConfig: Pack(&TcpProxy{Cluster: new("a")})}
	var back Filter
	report, err := Unmarshal(AppendProto(nil, m), &back)
	clean(t, report, err)
	if diff := cmp.Diff(m, &back); diff != "" {
		t.Error(diff)
	}
}

func TestMalformedBytesAreRefused(t *testing.T) {
	deep := []byte{}
	for range 200 {
		deep = bytesField(8, deep) // Permission.not_rule
	}
	values := []byte{}
	for range 200 {
		values = bytesField(6, bytesField(1, values)) // Value.list_value.values
	}
	groups := slices.Repeat(protowire.AppendTag(nil, 900, protowire.StartGroupType), 20000)
	duration := func(fields ...[]byte) []byte { return bytesField(4, slices.Concat(fields...)) }
	typed := bytesField(1, []byte("type.googleapis.com/envoy.config.cluster.v3.Cluster"))
	split := bytesField(24, bytesField(3, slices.Concat(typed, bytesField(2, nil))))
	split = append(split, bytesField(24, bytesField(3, typed))...)
	tests := []struct {
		name string
		into Message
		b    []byte
		want error
	}{
		{"tag", new(Cluster), []byte{0xff}, nil},
		{"field number zero", new(Cluster), []byte{0x02, 0x00}, nil},
		{"length past the end", new(Cluster), []byte{0x0a, 0xff, 0xff, 0xff, 0x7f}, nil},
		{"end of no group", new(Cluster), protowire.AppendTag(nil, 900, protowire.EndGroupType), nil},
		{"groups without end", new(Cluster), groups, nil},
		{"not UTF-8", new(Cluster), bytesField(1, []byte("\xff")), errUTF8},
		{"messages too deep", new(RBAC), bytesField(2, bytesField(2, bytesField(1, deep))), errDepth},
		{"values too deep", new(Node), bytesField(3, bytesField(1, bytesField(2, values))), errDepth},
		{"seconds out of range", new(Cluster), duration(varintField(1, 1<<62)), errDuration},
		{"signs differ", new(Cluster), duration(varintField(1, 1), varintField(2, ^uint64(0))), errDuration},
		{"nanoseconds out of range", new(Cluster), duration(varintField(2, 1e9)), errDuration},
		{"an Any in parts", new(Cluster), split, errSplit},
		{"two values for a key", new(RBAC), bytesField(2, slices.Concat(bytesField(2, nil), bytesField(2, nil))), errTwice},
		{"packed past the end", new(RetryPolicy), bytesField(7, []byte{0x80}), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Unmarshal(test.b, test.into)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
}

func TestMessagesThatOccurTwiceAreMerged(t *testing.T) {
	seconds := func(s, n int64) []byte {
		b, err := proto.Marshal(&durationpb.Duration{Seconds: s, Nanos: int32(n)})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := slices.Concat(
		bytesField(4, seconds(3, 0)), bytesField(4, seconds(0, 5)),
		bytesField(14, bytesField(2, varintField(1, 7))), bytesField(14, bytesField(2, nil)),
		bytesField(3, bytesField(2, []byte("a"))), bytesField(3, bytesField(1, nil)),
	)
	var m Cluster
	report, err := Unmarshal(b, &m)
	clean(t, report, err)
	if *m.ConnectTimeout != 3*time.Second+5 {
		t.Errorf("connect_timeout %v", *m.ConnectTimeout)
	}
	if *m.Http2ProtocolOptions.MaxConcurrentStreams != 7 {
		t.Errorf("max_concurrent_streams %d", *m.Http2ProtocolOptions.MaxConcurrentStreams)
	}
	if m.EdsClusterConfig.ServiceName != "a" || m.EdsClusterConfig.EdsConfig == nil {
		t.Errorf("eds_cluster_config %+v", m.EdsClusterConfig)
	}
}

func TestTheLastMemberOfAOneofWins(t *testing.T) {
	b := slices.Concat(bytesField(1, []byte("/a")), bytesField(12, nil), bytesField(2, []byte("/b")))
	var m RouteMatch
	report, err := Unmarshal(b, &m)
	clean(t, report, err)
	if m.Prefix != nil || m.ConnectMatcher != nil || m.Path == nil || *m.Path != "/b" {
		t.Errorf("%s", AppendJSON(nil, &m))
	}
}

func TestNumbersAreReadPackedAndUnpacked(t *testing.T) {
	packed := protowire.AppendVarint(protowire.AppendVarint(nil, 500), 502)
	b := slices.Concat(bytesField(7, packed), varintField(7, 503))
	var m RetryPolicy
	report, err := Unmarshal(b, &m)
	clean(t, report, err)
	if diff := cmp.Diff([]uint32{500, 502, 503}, m.RetriableStatusCodes); diff != "" {
		t.Error(diff)
	}
}

func TestResourcesOfAResponseAreLeftAsBytes(t *testing.T) {
	value := bytesField(1, []byte("c"))
	inner := slices.Concat(bytesField(1, []byte("type.googleapis.com/envoy.config.cluster.v3.Cluster")), bytesField(2, value))
	b := bytesField(2, slices.Concat(bytesField(3, []byte("c")), bytesField(2, inner)))
	var m DeltaDiscoveryResponse
	report, err := Unmarshal(b, &m)
	clean(t, report, err)
	resource := m.Resources[0].Resource
	if resource.Message != nil || string(resource.Value) != string(value) {
		t.Fatalf("%+v", resource)
	}
	c := New(resource.TypeURL)
	report, err = Unmarshal(resource.Value, c)
	clean(t, report, err)
	if c.(*Cluster).Name != "c" {
		t.Errorf("%+v", c)
	}
}

func TestAReportIsBounded(t *testing.T) {
	b := slices.Repeat(slices.Concat(varintField(1000, 1), bytesField(28, nil)), 10000)
	report, err := Unmarshal(b, new(Listener))
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Unsupported) != maxReported || len(report.Ignored) != maxReported {
		t.Errorf("%d unsupported, %d ignored", len(report.Unsupported), len(report.Ignored))
	}
}

func TestRepeatedStringsAreHeldOnce(t *testing.T) {
	one := func(zone string) []byte { return bytesField(2, bytesField(1, bytesField(2, []byte(zone)))) }
	b := bytesField(1, []byte("x"))
	for range 100 {
		b = append(b, one("europe-west1-b")...)
	}
	var m ClusterLoadAssignment
	allocs := testing.AllocsPerRun(10, func() {
		m = ClusterLoadAssignment{}
		report, err := Unmarshal(b, &m)
		clean(t, report, err)
	})
	// An endpoint group and a locality each, and a few for the lists.
	if allocs > 230 {
		t.Errorf("%v allocations", allocs)
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	key := "-----BEGIN PRIVATE KEY-----"
	for _, source := range []*DataSource{{InlineString: &key}, {InlineBytes: []byte(key)}} {
		m := &Secret{Name: "a", TlsCertificate: &TlsCertificate{
			CertificateChain: &DataSource{InlineString: new("chain")}, PrivateKey: source,
		}}
		dump := string(AppendJSON(nil, m))
		if strings.Contains(dump, "BEGIN") || !strings.Contains(dump, `"[redacted]"`) || !strings.Contains(dump, `"chain"`) {
			t.Error(dump)
		}
	}
	if dump := string(AppendJSON(nil, &IssueRequest{Token: "leno1.x.y"})); strings.Contains(dump, "leno1") {
		t.Error(dump)
	}
	response := &DeltaDiscoveryResponse{Resources: []*Resource{{Resource: &Any{TypeURL: "a/b", Value: []byte(key)}}}}
	if dump := string(AppendJSON(nil, response)); dump != `{"resources":[{"resource":{"@type":"a/b"}}]}` {
		t.Error(dump)
	}
}

func TestSecretsAreNotInTheErrorsOfAFile(t *testing.T) {
	for _, text := range []string{
		"tls_certificate: { private_key: hunter2 }",
		"tls_certificate: { private_key: [hunter2] }",
		"tls_certificate: { private_key: { inline_bytes: hunter2! } }",
		"tls_certificate: { private_key: { inline_string: 2, inline_bytes: [hunter2] } }",
	} {
		_, err := ReadYAML([]byte(text), new(Secret))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

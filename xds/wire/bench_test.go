package wire

import (
	"fmt"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/proto"
)

// assignment is a cluster of 1000 endpoints in three zones.
func assignment(b *testing.B) []byte {
	m := &ClusterLoadAssignment{ClusterName: "shop/cart/80"}
	for zone := range 3 {
		group := &LocalityLbEndpoints{Locality: &Locality{Region: "eu", Zone: fmt.Sprint("eu-", zone)}}
		for i := range 334 {
			group.LbEndpoints = append(group.LbEndpoints, &LbEndpoint{
				Endpoint: &Endpoint{Address: &Address{SocketAddress: &SocketAddress{
					Address: fmt.Sprintf("10.%d.%d.%d", zone, i/256, i%256), PortValue: new(uint32(8443)),
				}}},
				HealthStatus:        HealthStatus_HEALTHY,
				LoadBalancingWeight: new(uint32(1)),
				Metadata: &Metadata{FilterMetadata: map[string]map[string]any{
					"envoy.transport_socket_match": {"tlsMode": "mesh"},
				}},
			})
		}
		m.Endpoints = append(m.Endpoints, group)
	}
	return AppendProto(nil, m)
}

func BenchmarkUnmarshalEndpoints(b *testing.B) {
	data := assignment(b)
	b.Run("wire", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := Unmarshal(data, new(ClusterLoadAssignment)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("protobuf", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if err := proto.Unmarshal(data, new(endpointv3.ClusterLoadAssignment)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	var m ClusterLoadAssignment
	data := assignment(b)
	if _, err := Unmarshal(data, &m); err != nil {
		b.Fatal(err)
	}
	var out []byte
	b.Run("proto", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out = AppendProto(out[:0], &m)
		}
	})
	b.Run("json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out = AppendJSON(out[:0], &m)
		}
	})
}

func BenchmarkReadYAML(b *testing.B) {
	text := testFile(b, "front-proxy.yaml")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ReadYAML(text, new(Bootstrap)); err != nil {
			b.Fatal(err)
		}
	}
}

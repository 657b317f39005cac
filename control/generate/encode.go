package generate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/leno-mesh/leno/xds"
)

// encoder marshals the parts of one resource and keeps the first error, which
// only text that is not UTF-8 can cause.
type encoder struct{ err error }

func (e *encoder) any(m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	if err := anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}); err != nil && e.err == nil {
		e.err = err
	}
	return out
}

// result is an encoded resource, or why there is none.
type result struct {
	resource *xds.Resource
	err      error
}

// resource encodes a whole resource. Its version is a hash of its bytes, equal
// on all servers.
func (e *encoder) resource(name string, m proto.Message) result {
	body := e.any(m)
	if e.err != nil {
		return result{err: fmt.Errorf("encode %s: %w", name, e.err)}
	}
	sum := sha256.Sum256(body.Value)
	return result{resource: &xds.Resource{
		Name: name, Version: hex.EncodeToString(sum[:8]), TypeURL: body.TypeUrl, Body: body.Value,
	}}
}

// ads says that a resource is to be asked for on the same stream.
func ads() *core.ConfigSource {
	return &core.ConfigSource{
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
		ResourceApiVersion:    core.ApiVersion_V3,
	}
}

func socketAddress(host string, port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: host, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
	}}}
}

func duration(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func yes() *wrapperspb.BoolValue { return wrapperspb.Bool(true) }

func number(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }

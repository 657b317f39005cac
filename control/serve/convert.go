package serve

import (
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/leno-mesh/leno/xds"
)

func deltaRequest(r *discovery.DeltaDiscoveryRequest) *xds.DeltaRequest {
	return &xds.DeltaRequest{
		TypeURL:         r.GetTypeUrl(),
		Subscribe:       r.GetResourceNamesSubscribe(),
		Unsubscribe:     r.GetResourceNamesUnsubscribe(),
		InitialVersions: r.GetInitialResourceVersions(),
		Nonce:           r.GetResponseNonce(),
		Error:           refusal(r.GetErrorDetail() != nil, r.GetErrorDetail().GetMessage()),
	}
}

func sotwRequest(r *discovery.DiscoveryRequest) *xds.SotWRequest {
	return &xds.SotWRequest{
		TypeURL: r.GetTypeUrl(),
		Version: r.GetVersionInfo(),
		Names:   r.GetResourceNames(),
		Nonce:   r.GetResponseNonce(),
		Error:   refusal(r.GetErrorDetail() != nil, r.GetErrorDetail().GetMessage()),
	}
}

// refusal returns why a response was refused, "" when it was not.
func refusal(refused bool, message string) string {
	if refused && message == "" {
		return "refused without a reason"
	}
	return message
}

// nextDelta shares the encoded bodies: only the envelope is made anew.
func nextDelta(s *xds.Session) (*discovery.DeltaDiscoveryResponse, bool) {
	r, ok := s.Next()
	if !ok {
		return nil, false
	}
	out := &discovery.DeltaDiscoveryResponse{
		TypeUrl: r.TypeURL, Nonce: r.Nonce, RemovedResources: r.Removed,
		Resources: make([]*discovery.Resource, len(r.Resources)),
	}
	for i := range r.Resources {
		res := &r.Resources[i]
		out.Resources[i] = &discovery.Resource{
			Name: res.Name, Version: res.Version, Resource: &anypb.Any{TypeUrl: res.TypeURL, Value: res.Body},
		}
	}
	return out, true
}

func nextSotW(s *xds.Session) (*discovery.DiscoveryResponse, bool) {
	r, ok := s.NextSotW()
	if !ok {
		return nil, false
	}
	out := &discovery.DiscoveryResponse{
		TypeUrl: r.TypeURL, Nonce: r.Nonce, VersionInfo: r.Version,
		Resources: make([]*anypb.Any, len(r.Resources)),
	}
	for i := range r.Resources {
		out.Resources[i] = &anypb.Any{TypeUrl: r.Resources[i].TypeURL, Value: r.Resources[i].Body}
	}
	return out, true
}

package generate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// commonTLS is TLS 1.3 with the proxy's own certificate.
func (e *encoder) commonTLS(alpn []string) *tls.CommonTlsContext {
	return &tls.CommonTlsContext{
		TlsParams: &tls.TlsParameters{
			TlsMinimumProtocolVersion: tls.TlsParameters_TLSv1_3,
			TlsMaximumProtocolVersion: tls.TlsParameters_TLSv1_3,
		},
		TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{{Name: ownCertificate}},
		AlpnProtocols:                  alpn,
	}
}

func (e *encoder) socket(context proto.Message) *core.TransportSocket {
	return &core.TransportSocket{Name: tlsSocket, ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: e.any(context)}}
}

// downstreamTLS takes only peers with a certificate of the mesh.
func (e *encoder) downstreamTLS() *core.TransportSocket {
	common := e.commonTLS([]string{"h2", "http/1.1"})
	common.ValidationContextType = &tls.CommonTlsContext_CombinedValidationContext{
		CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
			DefaultValidationContext:         &tls.CertificateValidationContext{},
			ValidationContextSdsSecretConfig: &tls.SdsSecretConfig{Name: trustBundle},
		},
	}
	return e.socket(&tls.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: yes()})
}

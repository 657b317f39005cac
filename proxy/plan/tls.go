package plan

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds/wire"
)

// The secrets that stand for the mesh identity of the proxy and its trust.
const (
	ownSecret   = "default"
	trustSecret = "ROOTCA"
)

func (b *builder) serverTLS(c *Chain, w *wire.TransportSocket) error {
	if w.TypedConfig == nil {
		return errors.New("typed_config: is missing")
	}
	switch m := w.TypedConfig.Message.(type) {
	case *wire.RawBuffer:
		return nil
	case *wire.DownstreamTlsContext:
		s, err := b.tlsServer(m)
		if err != nil {
			return fmt.Errorf("typed_config.%w", err)
		}
		c.TLS = s
		return nil
	}
	return fmt.Errorf("typed_config: Leno does not support the transport socket %s", w.Name)
}

func (b *builder) clientTLS(c *Cluster, w *wire.TransportSocket) error {
	if w.TypedConfig == nil {
		return errors.New("typed_config: is missing")
	}
	switch m := w.TypedConfig.Message.(type) {
	case *wire.RawBuffer:
		return nil
	case *wire.UpstreamTlsContext:
		t, err := b.tlsClient(m, c.HTTP2)
		if err != nil {
			return fmt.Errorf("typed_config.%w", err)
		}
		c.TLS = t
		return nil
	}
	return fmt.Errorf("typed_config: Leno does not support the transport socket %s", w.Name)
}

func (b *builder) tlsServer(m *wire.DownstreamTlsContext) (*tls.Server, error) {
	k := m.CommonTlsContext
	if k == nil {
		return nil, errors.New("common_tls_context: is missing")
	}
	if m.RequireSni != nil && *m.RequireSni {
		return nil, errors.New("require_sni: Leno chooses filter chains by server_names; name them there")
	}
	config := tls.ServerConfig{ALPN: k.AlpnProtocols}
	var err error
	if config.MinVersion, config.MaxVersion, err = versions(k.TlsParams); err != nil {
		return nil, err
	}
	required := m.RequireClientCertificate != nil && *m.RequireClientCertificate
	if b.ofMesh(k) {
		config.Identity = b.env.Identity
		if !required {
			return nil, errors.New("require_client_certificate: must be true in the mesh")
		}
		if config.AllowedIDs, err = meshIDs(k); err != nil {
			return nil, err
		}
		config.MinVersion, config.MaxVersion = 0, 0
		return tls.NewServer(config)
	}
	if config.Certificates, err = b.certificates(k); err != nil {
		return nil, err
	}
	v, err := b.validation(k)
	if err != nil {
		return nil, err
	}
	switch {
	case v == nil && required:
		return nil, errors.New("common_tls_context.validation_context: is missing, and clients have to show a certificate")
	case v == nil:
		config.Client = tls.NoClient
	default:
		config.Client = tls.OptionalClient
		if required {
			config.Client = tls.RequireClient
		}
		config.TrustedCA, config.Allowed = v.roots, v.names
	}
	return tls.NewServer(config)
}

func (b *builder) tlsClient(m *wire.UpstreamTlsContext, http2 bool) (*tls.Client, error) {
	k := m.CommonTlsContext
	if k == nil {
		return nil, errors.New("common_tls_context: is missing")
	}
	config := tls.ClientConfig{SNI: m.Sni, ALPN: k.AlpnProtocols}
	if len(config.ALPN) == 0 && http2 {
		config.ALPN = []string{"h2"}
	}
	var err error
	if config.MinVersion, config.MaxVersion, err = versions(k.TlsParams); err != nil {
		return nil, err
	}
	if b.ofMesh(k) {
		config.Identity = b.env.Identity
		if config.ExpectedIDs, err = meshIDs(k); err != nil {
			return nil, err
		}
		if len(config.ExpectedIDs) == 0 {
			return nil, errors.New("common_tls_context.combined_validation_context.default_validation_context.match_typed_subject_alt_names: no identity of the endpoint is named")
		}
		config.MinVersion, config.MaxVersion = 0, 0
		return tls.NewClient(config)
	}
	certificates, err := b.certificates(k)
	if err != nil {
		return nil, err
	}
	if len(certificates) > 1 {
		return nil, errors.New("common_tls_context.tls_certificates: a client shows one certificate")
	}
	if len(certificates) == 1 {
		config.Certificate = &certificates[0]
	}
	v, err := b.validation(k)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, errors.New("common_tls_context.validation_context: is missing; Leno does not talk to an endpoint that it cannot verify")
	}
	config.TrustedCA, config.Allowed, config.AnyName = v.roots, v.names, len(v.names) == 0
	return tls.NewClient(config)
}

// ofMesh reports that a context uses the identity of the mesh.
func (b *builder) ofMesh(k *wire.CommonTlsContext) bool {
	return b.env.Identity != nil && len(k.TlsCertificateSdsSecretConfigs) == 1 && k.TlsCertificateSdsSecretConfigs[0].Name == ownSecret
}

// meshIDs returns the exact SPIFFE IDs that a mesh context names; nil if it
// names none. It demands that the mesh's trust verifies the peer.
func meshIDs(k *wire.CommonTlsContext) ([]spiffe.ID, error) {
	var v *wire.CertificateValidationContext
	trusted := k.ValidationContextSdsSecretConfig
	if cv := k.CombinedValidationContext; cv != nil {
		v, trusted = cv.DefaultValidationContext, cv.ValidationContextSdsSecretConfig
	}
	if trusted == nil || trusted.Name != trustSecret {
		return nil, errors.New("common_tls_context.combined_validation_context: the peer is not verified by the secret " + trustSecret)
	}
	if v == nil {
		return nil, nil
	}
	if v.TrustedCa != nil || len(v.MatchSubjectAltNames) > 0 {
		return nil, errors.New("common_tls_context.combined_validation_context.default_validation_context: the mesh verifies by its own trust and match_typed_subject_alt_names")
	}
	if err := refuseWeak(v); err != nil {
		return nil, err
	}
	var ids []spiffe.ID
	for i, n := range v.MatchTypedSubjectAltNames {
		if n.SanType != wire.SubjectAltNameMatcher_URI || n.Matcher == nil || n.Matcher.Exact == nil || n.Matcher.IgnoreCase {
			return nil, fmt.Errorf("match_typed_subject_alt_names[%d]: the mesh compares exact SPIFFE IDs", i)
		}
		id, err := spiffe.Parse(*n.Matcher.Exact)
		if err != nil {
			return nil, fmt.Errorf("match_typed_subject_alt_names[%d]: %w", i, err)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func refuseWeak(v *wire.CertificateValidationContext) error {
	switch {
	case v.TrustChainVerification != wire.CertificateValidationContext_VERIFY_TRUST_CHAIN:
		return errors.New("trust_chain_verification: Leno always verifies")
	case len(v.VerifyCertificateHash) > 0 || len(v.VerifyCertificateSpki) > 0:
		return errors.New("verify_certificate_hash: Leno does not pin certificates yet")
	}
	return nil
}

func (b *builder) certificates(k *wire.CommonTlsContext) ([]stdtls.Certificate, error) {
	list := k.TlsCertificates
	for i, s := range k.TlsCertificateSdsSecretConfigs {
		secret := b.resources.Secrets[s.Name]
		if secret == nil || secret.TlsCertificate == nil {
			return nil, fmt.Errorf("common_tls_context.tls_certificate_sds_secret_configs[%d]: there is no secret %s with a certificate", i, s.Name)
		}
		list = append(list[:len(list):len(list)], secret.TlsCertificate)
	}
	var out []stdtls.Certificate
	for i, w := range list {
		if w.CertificateChain == nil || w.PrivateKey == nil {
			return nil, fmt.Errorf("common_tls_context.tls_certificates[%d]: needs certificate_chain and private_key", i)
		}
		chain, err := b.data(w.CertificateChain)
		if err != nil {
			return nil, fmt.Errorf("common_tls_context.tls_certificates[%d].certificate_chain: %w", i, err)
		}
		key, err := b.data(w.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("common_tls_context.tls_certificates[%d].private_key: %w", i, err)
		}
		c, err := tls.LoadCertificate(chain, key)
		if err != nil {
			return nil, fmt.Errorf("common_tls_context.tls_certificates[%d]: %w", i, err)
		}
		out = append(out, c)
	}
	return out, nil
}

// validated is how a static context verifies its peers.
type validated struct {
	roots *x509.CertPool
	names []tls.Matcher
}

// validation returns nil where the context asks for none.
func (b *builder) validation(k *wire.CommonTlsContext) (*validated, error) {
	v := k.ValidationContext
	if s := k.ValidationContextSdsSecretConfig; s != nil {
		secret := b.resources.Secrets[s.Name]
		if secret == nil || secret.ValidationContext == nil {
			return nil, fmt.Errorf("common_tls_context.validation_context_sds_secret_config: there is no secret %s with a validation context", s.Name)
		}
		v = secret.ValidationContext
	}
	if k.CombinedValidationContext != nil {
		return nil, errors.New("common_tls_context.combined_validation_context: Leno supports it for the identity of the mesh only")
	}
	if v == nil {
		return nil, nil
	}
	const at = "common_tls_context.validation_context."
	if err := refuseWeak(v); err != nil {
		return nil, fmt.Errorf(at+"%w", err)
	}
	if v.TrustedCa == nil {
		return nil, errors.New(at + "trusted_ca: is missing; without it nothing would be verified")
	}
	pem, err := b.data(v.TrustedCa)
	if err != nil {
		return nil, fmt.Errorf(at+"trusted_ca: %w", err)
	}
	out := &validated{}
	if out.roots, err = tls.LoadPool(pem); err != nil {
		return nil, fmt.Errorf(at+"trusted_ca: %w", err)
	}
	for i, n := range v.MatchTypedSubjectAltNames {
		kind, ok := map[wire.SubjectAltNameMatcher_SanType]tls.Name{
			wire.SubjectAltNameMatcher_DNS: tls.DNS, wire.SubjectAltNameMatcher_URI: tls.URI,
			wire.SubjectAltNameMatcher_EMAIL: tls.Email, wire.SubjectAltNameMatcher_IP_ADDRESS: tls.IP,
		}[n.SanType]
		if !ok {
			return nil, fmt.Errorf(at+"match_typed_subject_alt_names[%d].san_type: DNS, URI, EMAIL and IP_ADDRESS are supported", i)
		}
		m, err := nameMatcher(kind, n.Matcher)
		if err != nil {
			return nil, fmt.Errorf(at+"match_typed_subject_alt_names[%d].matcher: %w", i, err)
		}
		out.names = append(out.names, m)
	}
	for i, n := range v.MatchSubjectAltNames {
		for _, kind := range []tls.Name{tls.DNS, tls.URI, tls.Email, tls.IP} {
			m, err := nameMatcher(kind, n)
			if err != nil {
				return nil, fmt.Errorf(at+"match_subject_alt_names[%d]: %w", i, err)
			}
			out.names = append(out.names, m)
		}
	}
	return out, nil
}

func nameMatcher(kind tls.Name, w *wire.StringMatcher) (tls.Matcher, error) {
	if w == nil {
		return tls.Matcher{}, errors.New("is missing")
	}
	switch {
	case w.Exact != nil:
		return tls.NewMatcher(kind, tls.Exact, *w.Exact, w.IgnoreCase)
	case w.Prefix != nil:
		return tls.NewMatcher(kind, tls.Prefix, *w.Prefix, w.IgnoreCase)
	case w.Suffix != nil:
		return tls.NewMatcher(kind, tls.Suffix, *w.Suffix, w.IgnoreCase)
	case w.Contains != nil:
		return tls.NewMatcher(kind, tls.Contains, *w.Contains, w.IgnoreCase)
	case w.SafeRegex != nil:
		return tls.NewMatcher(kind, tls.Regex, w.SafeRegex.Regex, w.IgnoreCase)
	}
	return tls.Matcher{}, errors.New("no comparison is set")
}

func versions(p *wire.TlsParameters) (low, high uint16, err error) {
	if p == nil {
		return stdtls.VersionTLS12, 0, nil // Envoy's default for servers; clients negotiate up
	}
	if len(p.CipherSuites) > 0 || len(p.EcdhCurves) > 0 {
		return 0, 0, errors.New("common_tls_context.tls_params: Leno chooses cipher suites and curves itself")
	}
	table := map[wire.TlsParameters_TlsProtocol]uint16{
		wire.TlsParameters_TLSv1_2: stdtls.VersionTLS12, wire.TlsParameters_TLSv1_3: stdtls.VersionTLS13,
	}
	low = stdtls.VersionTLS12
	if p.TlsMinimumProtocolVersion != wire.TlsParameters_TLS_AUTO {
		if low = table[p.TlsMinimumProtocolVersion]; low == 0 {
			return 0, 0, errors.New("common_tls_context.tls_params.tls_minimum_protocol_version: Leno supports TLS 1.2 and 1.3")
		}
	}
	if p.TlsMaximumProtocolVersion != wire.TlsParameters_TLS_AUTO {
		if high = table[p.TlsMaximumProtocolVersion]; high == 0 {
			return 0, 0, errors.New("common_tls_context.tls_params.tls_maximum_protocol_version: Leno supports TLS 1.2 and 1.3")
		}
	}
	return low, high, nil
}

// maxData bounds a DataSource in bytes.
const maxData = 1 << 20

// data returns the bytes of a DataSource.
func (b *builder) data(d *wire.DataSource) ([]byte, error) {
	var out []byte
	switch {
	case d.Filename != nil:
		var err error
		if out, err = b.env.ReadFile(*d.Filename); err != nil {
			return nil, err
		}
	case d.InlineString != nil:
		out = []byte(*d.InlineString)
	case d.InlineBytes != nil:
		out = d.InlineBytes
	case d.EnvironmentVariable != nil:
		v, ok := os.LookupEnv(*d.EnvironmentVariable)
		if !ok {
			return nil, fmt.Errorf("the environment variable %s is not set", *d.EnvironmentVariable)
		}
		out = []byte(v)
	default:
		return nil, errors.New("neither filename nor inline_string nor inline_bytes nor environment_variable is set")
	}
	if len(out) > maxData {
		return nil, fmt.Errorf("has %d bytes, at most %d are allowed", len(out), maxData)
	}
	return out, nil
}

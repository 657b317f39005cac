package tls

import (
	"crypto/ecdsa"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// hostile are certificates that no side of the mesh may accept. Each is made
// from a good one by a single change.
var hostile = []struct {
	name   string
	change func(t *testing.T, c *x509.Certificate, trusted, other *authority) (signedBy *authority)
	reason string
}{
	{"other root", func(_ *testing.T, _ *x509.Certificate, _, other *authority) *authority { return other }, "no trusted root"},
	{"other trust domain", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf("spiffe://b.test/ns/shop/sa/web").URIs
		return a
	}, "no trust bundle"},
	{"no URI", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority { c.URIs = nil; return a }, "0 URI names"},
	{"DNS name only", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs, c.DNSNames = nil, []string{"web.shop.mesh.internal"}
		return a
	}, "0 URI names"},
	{"two IDs", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf(webURI, cartURI).URIs
		return a
	}, "2 URI names"},
	{"web URI", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf("https://a.test/ns/shop/sa/web").URIs
		return a
	}, "no SPIFFE identity"},
	{"ID and web URI", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf(webURI, "https://a.test/").URIs
		return a
	}, "2 URI names"},
	{"trust domain as identity", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf("spiffe://a.test").URIs
		return a
	}, "not a workload"},
	{"upper-case trust domain", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf("spiffe://A.test/ns/shop/sa/web").URIs
		return a
	}, "no SPIFFE identity"},
	{"dots in the path", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf("spiffe://a.test/ns/other/../shop/sa/web").URIs
		return a
	}, "no SPIFFE identity"},
	{"query", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf(webURI + "?x").URIs
		return a
	}, "no SPIFFE identity"},
	{"port", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf("spiffe://a.test:1/ns/shop/sa/web").URIs
		return a
	}, "no SPIFFE identity"},
	{"trailing slash", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.URIs = leaf(webURI + "/").URIs
		return a
	}, "no SPIFFE identity"},
	{"CA leaf", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority { c.IsCA = true; return a }, "is a CA"},
	{"leaf that may sign", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.KeyUsage |= x509.KeyUsageCertSign
		c.IsCA = false
		return a
	}, "may sign"},
	{"leaf that may sign CRLs", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.KeyUsage |= x509.KeyUsageCRLSign
		return a
	}, "may sign"},
	{"expired", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(-2*time.Second)
		return a
	}, "expired at"},
	{"not yet valid", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.NotBefore = time.Now().Add(time.Minute)
		return a
	}, "not valid before"},
	{"no extended key usage", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.ExtKeyUsage = nil
		return a
	}, "no extended key usage"},
	{"email key usage", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}
		return a
	}, "may not be used by"},
	{"no digital signature", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority {
		c.KeyUsage = x509.KeyUsageKeyAgreement
		return a
	}, "digitalSignature"},
	{"no key usage", func(_ *testing.T, c *x509.Certificate, a, _ *authority) *authority { c.KeyUsage = 0; return a }, "digitalSignature"},
	{"self-signed", func(t *testing.T, _ *x509.Certificate, _, _ *authority) *authority {
		key := newKey(t)
		return &authority{cert: leaf(webURI), key: key}
	}, "no trusted root"},
	{"root of the same name", func(t *testing.T, _ *x509.Certificate, _, _ *authority) *authority { return newAuthority(t) }, "no trusted root"},
	{"signed by a leaf", func(t *testing.T, _ *x509.Certificate, a, _ *authority) *authority {
		key := newKey(t)
		middle, err := x509.ParseCertificate(a.sign(t, leaf(cartURI), key.Public()))
		if err != nil {
			t.Fatal(err)
		}
		return &authority{cert: middle, key: key}
	}, "no trusted root"},
}

func TestServersRefuseHostileClients(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test")})
	optional := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test"), Client: OptionalClient})
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			template := leaf(webURI)
			cert := h.change(t, template, a, other).certificate(t, template)
			// A client that verifies nothing, and is refused all the same.
			c := mustClient(t, ClientConfig{TrustedCA: a.pool(), AnyName: true, Certificate: &cert})
			for _, server := range []*Server{s, optional} {
				refused(t, shake(t, c, server).serverErr, http.Downstream, h.reason)
			}
		})
	}
}

func TestClientsRefuseHostileServers(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	c := mustClient(t, ClientConfig{Identity: a.cell(t, cartURI, "a.test"), ExpectedIDs: []spiffe.ID{id(t, webURI)}})
	for _, h := range hostile {
		t.Run(h.name, func(t *testing.T) {
			template := leaf(webURI)
			cert := h.change(t, template, a, other).certificate(t, template)
			s := mustServer(t, ServerConfig{Certificates: []stdtls.Certificate{cert}, Client: NoClient})
			refused(t, shake(t, c, s).clientErr, http.Upstream, h.reason)
		})
	}
}

func TestIdentitiesAreNotMadeOfHostileCertificates(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	for _, h := range hostile {
		if h.name == "expired" || h.name == "not yet valid" {
			continue // an identity may wait on disk
		}
		template := leaf(webURI)
		cert := h.change(t, template, a, other).certificate(t, template)
		if _, err := NewIdentity(cert.Certificate, cert.PrivateKey.(*ecdsa.PrivateKey), map[string][]*x509.Certificate{"a.test": {a.cert}}); err == nil {
			t.Errorf("%s: an identity was made", h.name)
		}
	}
	good := a.certificate(t, leaf(webURI))
	bundle := map[string][]*x509.Certificate{"a.test": {a.cert}}
	if _, err := NewIdentity(good.Certificate, newKey(t), bundle); err == nil {
		t.Error("the key of another certificate was taken")
	}
	if _, err := NewIdentity(nil, newKey(t), bundle); err == nil {
		t.Error("an empty chain was taken")
	}
	if _, err := NewIdentity([][]byte{{1, 2, 3}}, newKey(t), bundle); err == nil {
		t.Error("garbage was taken")
	}
}

func TestRolesAreKeptApart(t *testing.T) {
	a := newAuthority(t)
	template := leaf(webURI)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	serverOnly := a.certificate(t, template)
	template = leaf(webURI)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	clientOnly := a.certificate(t, template)

	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test")})
	c := mustClient(t, ClientConfig{TrustedCA: a.pool(), AnyName: true, Certificate: &serverOnly})
	refused(t, shake(t, c, s).serverErr, http.Downstream, "may not be used by a client")

	s = mustServer(t, ServerConfig{Certificates: []stdtls.Certificate{clientOnly}, Client: NoClient})
	c = mustClient(t, ClientConfig{Identity: a.cell(t, cartURI, "a.test"), ExpectedIDs: []spiffe.ID{id(t, webURI)}})
	refused(t, shake(t, c, s).clientErr, http.Upstream, "may not be used by a server")
}

func TestOnlyExpectedPeersAreAccepted(t *testing.T) {
	a := newAuthority(t)
	cart, web := a.cell(t, cartURI, "a.test"), a.cell(t, webURI, "a.test")
	for name, allowed := range map[string][]spiffe.ID{
		"nobody": {}, "another": {id(t, cartURI)},
		"a prefix":      {id(t, "spiffe://a.test/ns/shop/sa/we")},
		"an extension":  {id(t, webURI+"1")},
		"another case":  {id(t, "spiffe://a.test/ns/shop/sa/Web")},
		"another place": {id(t, "spiffe://b.test/ns/shop/sa/web")},
	} {
		s := mustServer(t, ServerConfig{Identity: cart, AllowedIDs: allowed})
		c := mustClient(t, ClientConfig{Identity: web, ExpectedIDs: []spiffe.ID{id(t, cartURI)}})
		t.Run("server allows "+name, func(t *testing.T) {
			refused(t, shake(t, c, s).serverErr, http.Downstream, "not expected here")
		})
		if len(allowed) == 0 {
			continue
		}
		s = mustServer(t, ServerConfig{Identity: web})
		c = mustClient(t, ClientConfig{Identity: cart, ExpectedIDs: allowed})
		t.Run("client expects "+name, func(t *testing.T) {
			refused(t, shake(t, c, s).clientErr, http.Upstream, "not expected here")
		})
	}
}

func TestChainsAreBounded(t *testing.T) {
	a := newAuthority(t)
	cert := a.certificate(t, leaf(webURI))
	for range maxChain {
		cert.Certificate = append(cert.Certificate, a.cert.Raw)
	}
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test")})
	c := mustClient(t, ClientConfig{TrustedCA: a.pool(), AnyName: true, Certificate: &cert})
	refused(t, shake(t, c, s).serverErr, http.Downstream, "at most 8")
}

func TestClientsWithoutCertificateAreRefusedUnlessOptional(t *testing.T) {
	a := newAuthority(t)
	c := mustClient(t, ClientConfig{TrustedCA: a.pool(), AnyName: true})
	for _, optional := range []bool{false, true} {
		f := ServerConfig{Identity: a.cell(t, cartURI, "a.test")}
		if optional {
			f.Client = OptionalClient
		}
		e := shake(t, c, mustServer(t, f))
		if optional {
			if e.serverErr != nil || !e.server.Peer.IsZero() {
				t.Errorf("optional: %v, peer %s", e.serverErr, e.server.Peer)
			}
		} else if e.serverErr == nil {
			t.Error("a client without certificate was accepted")
		}
	}
}

func TestOldTLSVersionsAreRefusedInTheMesh(t *testing.T) {
	a := newAuthority(t)
	cert := a.certificate(t, leaf(webURI))
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test"), MinVersion: stdtls.VersionTLS12})
	c := mustClient(t, ClientConfig{
		TrustedCA: a.pool(), AnyName: true, Certificate: &cert,
		MinVersion: stdtls.VersionTLS12, MaxVersion: stdtls.VersionTLS12,
	})
	if e := shake(t, c, s); e.serverErr == nil || e.clientErr == nil {
		t.Errorf("TLS 1.2: server %v, client %v", e.serverErr, e.clientErr)
	}
}

func TestWhatIsNoTLSIsToldPlainly(t *testing.T) {
	a := newAuthority(t)
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test")})
	for name, c := range map[string]struct {
		bytes  string
		reason string
		kind   http.Kind
	}{
		"plaintext": {"GET / HTTP/1.1\r\n\r\n", "does not speak TLS", http.KindTLS},
		"closed":    {"", "closed the connection", http.KindTLS},
		"silence":   {"-", "did not end in time", http.KindTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			client, server := pair(t)
			deadline := time.Now().Add(20 * time.Second)
			switch c.bytes {
			case "":
				client.Close()
			case "-":
				deadline = time.Now()
			default:
				if _, err := client.Write([]byte(c.bytes)); err != nil {
					t.Fatal(err)
				}
			}
			err := s.Handshake(conn.New(server, &buf.Pool{}), deadline)
			var f *http.Error
			if !errors.As(err, &f) || f.Kind != c.kind || !strings.Contains(f.Reason, c.reason) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestWithoutIdentityNothingIsAccepted(t *testing.T) {
	a := newAuthority(t)
	none := &cell.Cell[Identity]{}
	s := mustServer(t, ServerConfig{Identity: none})
	c := mustClient(t, ClientConfig{Identity: none, ExpectedIDs: []spiffe.ID{id(t, webURI)}})
	_, server := pair(t)
	if err := s.Handshake(conn.New(server, &buf.Pool{}), time.Time{}); err == nil || !strings.Contains(err.Error(), "no identity yet") {
		t.Errorf("server: %v", err)
	}
	client, _ := pair(t)
	if err := c.Handshake(conn.New(client, &buf.Pool{}), time.Time{}); err == nil || !strings.Contains(err.Error(), "no identity yet") {
		t.Errorf("client: %v", err)
	}
	none.Store(a.identity(t, cartURI, "a.test"))
	good := mustClient(t, ClientConfig{Identity: a.cell(t, webURI, "a.test"), ExpectedIDs: []spiffe.ID{id(t, cartURI)}})
	if e := shake(t, good, s); e.serverErr != nil {
		t.Errorf("after the identity came: %v", e.serverErr)
	}
}

// refused checks the side, the kind and the sentence of a refusal.
func refused(t *testing.T, err error, side http.Side, reason string) {
	t.Helper()
	var f *http.Error
	if !errors.As(err, &f) {
		t.Fatalf("not refused, or by %T: %v", err, err)
	}
	if f.Side != side || f.Kind != http.KindTLS || !strings.Contains(f.Reason, reason) {
		t.Errorf("refused by %v, want %q on side %v", f, reason, side)
	}
}

func TestConfigurationsWithoutVerificationAreRefused(t *testing.T) {
	a := newAuthority(t)
	cert := a.certificate(t, leaf(webURI))
	certs := []stdtls.Certificate{cert}
	mesh := a.cell(t, webURI, "a.test")
	matcher, err := NewMatcher(DNS, Exact, "a.test", false)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]ServerConfig{
		"nothing":                    {},
		"client CA missing":          {Certificates: certs},
		"optional client CA missing": {Certificates: certs, Client: OptionalClient},
		"names without client":       {Certificates: certs, Client: NoClient, Allowed: []Matcher{matcher}},
		"CA without client":          {Certificates: certs, Client: NoClient, TrustedCA: a.pool()},
		"IDs in static mode":         {Certificates: certs, TrustedCA: a.pool(), AllowedIDs: []spiffe.ID{id(t, webURI)}},
		"mesh and static":            {Identity: mesh, Certificates: certs},
		"mesh and CA":                {Identity: mesh, TrustedCA: a.pool()},
		"mesh and names":             {Identity: mesh, Allowed: []Matcher{matcher}},
		"mesh IDs without client":    {Identity: mesh, Client: NoClient, AllowedIDs: []spiffe.ID{id(t, webURI)}},
		"unknown client mode":        {Identity: mesh, Client: 9},
		"TLS 1.1":                    {Certificates: certs, Client: NoClient, MinVersion: stdtls.VersionTLS11},
		"highest below lowest":       {Certificates: certs, Client: NoClient, MaxVersion: stdtls.VersionTLS12},
		"mesh capped at 1.2":         {Identity: mesh, MinVersion: stdtls.VersionTLS12, MaxVersion: stdtls.VersionTLS12},
		"TLS 1.4":                    {Identity: mesh, MaxVersion: stdtls.VersionTLS13 + 1},
	} {
		if _, err := NewServer(f); err == nil {
			t.Errorf("server, %s: accepted", name)
		}
	}
	for name, f := range map[string]ClientConfig{
		"nothing":               {},
		"no CA":                 {AnyName: true},
		"no name":               {TrustedCA: a.pool()},
		"name and any name":     {TrustedCA: a.pool(), Allowed: []Matcher{matcher}, AnyName: true},
		"two kinds of roots":    {TrustedCA: a.pool(), SystemRoots: true, AnyName: true},
		"IDs in static mode":    {TrustedCA: a.pool(), AnyName: true, ExpectedIDs: []spiffe.ID{id(t, webURI)}},
		"mesh without expected": {Identity: mesh},
		"mesh and CA":           {Identity: mesh, TrustedCA: a.pool(), ExpectedIDs: []spiffe.ID{id(t, webURI)}},
		"mesh and system roots": {Identity: mesh, SystemRoots: true, ExpectedIDs: []spiffe.ID{id(t, webURI)}},
		"TLS 1.0":               {TrustedCA: a.pool(), AnyName: true, MinVersion: stdtls.VersionTLS10},
	} {
		if _, err := NewClient(f); err == nil {
			t.Errorf("client, %s: accepted", name)
		}
	}
}

func TestIntermediatesAreFollowedWithinTheirBounds(t *testing.T) {
	a := newAuthority(t)
	middle := func(pathLen int, by *authority) *authority {
		key := newKey(t)
		template := &x509.Certificate{
			SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(2 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, MaxPathLen: pathLen, MaxPathLenZero: pathLen == 0,
		}
		c, err := x509.ParseCertificate(by.sign(t, template, key.Public()))
		if err != nil {
			t.Fatal(err)
		}
		return &authority{c, key}
	}
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test")})
	issuer := middle(0, a)
	below := middle(0, issuer) // one more than issuer allows
	for _, c := range []struct {
		by    *authority
		chain [][]byte
		ok    bool
	}{
		{issuer, [][]byte{issuer.cert.Raw}, true},
		{issuer, nil, false},
		{below, [][]byte{below.cert.Raw, issuer.cert.Raw}, false},
	} {
		cert := c.by.certificate(t, leaf(webURI))
		cert.Certificate = append(cert.Certificate, c.chain...)
		client := mustClient(t, ClientConfig{TrustedCA: a.pool(), AnyName: true, Certificate: &cert})
		if e := shake(t, client, s); (e.serverErr == nil) != c.ok {
			t.Errorf("chain of %d: %v", len(cert.Certificate), e.serverErr)
		}
	}
}

func TestStaticNamesAreMatched(t *testing.T) {
	a := newAuthority(t)
	template := leaf("https://a.test/app")
	template.DNSNames = []string{"*.shop.test", "api.test"}
	template.EmailAddresses = []string{"ops@shop.test"}
	template.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)}
	s := mustServer(t, ServerConfig{Certificates: []stdtls.Certificate{a.certificate(t, template)}, Client: NoClient})
	for _, c := range []struct {
		name Name
		op   Operation
		text string
		fold bool
		ok   bool
	}{
		{DNS, Exact, "api.test", false, true},
		{DNS, Exact, "API.test", false, true},
		{DNS, Exact, "www.shop.test", false, true},
		{DNS, Exact, "a.b.shop.test", false, false},
		{DNS, Exact, "shop.test", false, false},
		{DNS, Exact, "api.test.evil", false, false},
		{DNS, Exact, "10.0.0.1", false, false},
		{DNS, Prefix, "api.", false, true},
		{DNS, Suffix, ".test", false, true},
		{DNS, Suffix, ".TEST", false, false},
		{DNS, Suffix, ".TEST", true, true},
		{DNS, Contains, "shop", false, true},
		{DNS, Regex, "api", false, false},
		{DNS, Regex, "a|api.test", false, true},
		{DNS, Regex, "api.tes", false, false},
		{URI, Exact, "https://a.test/app", false, true},
		{URI, Exact, "https://a.test/", false, false},
		{URI, Prefix, "https://a.test/", false, true},
		{Email, Exact, "ops@shop.test", false, true},
		{Email, Exact, "ops@shop", false, false},
		{IP, Exact, "10.0.0.1", false, true},
		{IP, Exact, "::ffff:10.0.0.1", false, true},
		{IP, Exact, "10.0.0.2", false, false},
	} {
		m, err := NewMatcher(c.name, c.op, c.text, c.fold)
		if err != nil {
			t.Fatal(err)
		}
		client := mustClient(t, ClientConfig{TrustedCA: a.pool(), Allowed: []Matcher{m}})
		if e := shake(t, client, s); (e.clientErr == nil) != c.ok {
			t.Errorf("%v %v %q: %v", c.name, c.op, c.text, e.clientErr)
		}
	}
	nul := &x509.Certificate{DNSNames: []string{"evil.test\x00.shop.test"}}
	m, _ := NewMatcher(DNS, Suffix, ".shop.test", false)
	if m.match(nul) {
		t.Error("a name with a NUL was matched")
	}
	for _, c := range []struct {
		name Name
		op   Operation
		text string
	}{{0, Exact, "x"}, {DNS, 0, "x"}, {DNS, Prefix, ""}, {DNS, Regex, "("}, {IP, Exact, "x"}, {9, Exact, "x"}, {DNS, 9, "x"}} {
		if _, err := NewMatcher(c.name, c.op, c.text, false); err == nil {
			t.Errorf("matcher %+v was made", c)
		}
	}
}

func TestFilesOfRootsAreReadWhole(t *testing.T) {
	if _, err := LoadPool(nil); err == nil {
		t.Error("no roots were taken")
	}
	if _, err := LoadPool([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")); err == nil {
		t.Error("a damaged root was taken")
	}
	if _, err := LoadPool([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")); err == nil {
		t.Error("a key was taken for a root")
	}
	if _, err := LoadCertificate([]byte("x"), []byte("y")); err == nil {
		t.Error("garbage was taken for a certificate")
	}
}

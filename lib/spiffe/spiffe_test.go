package spiffe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// parseCases are read by the tests and by the fuzzer's seeds.
var parseCases = []struct {
	text string
	ok   bool
}{
	{"spiffe://example.org", true},
	{"spiffe://example.org/ns/shop/sa/cart", true},
	{"spiffe://a/b", true},
	{"spiffe://10.0.0.1/x", true},
	{"spiffe://under_score.-dash./...", true},
	{"spiffe://example.org/Upper/CASE", true},
	{"spiffe://example.org/.hidden/..two/a..b", true},
	{"spiffe://" + strings.Repeat("d", 255) + "/x", true},
	{"", false},
	{"spiffe", false},
	{"spiffe:", false},
	{"spiffe:/example.org", false},
	{"spiffe://", false},
	{"spiffe:///ns/a", false},
	{"SPIFFE://example.org/a", false},
	{"Spiffe://example.org/a", false},
	{"https://example.org/a", false},
	{" spiffe://example.org/a", false},
	{"spiffe://example.org/a ", false},
	{"spiffe://Example.org/a", false},
	{"spiffe://example.org:8080/a", false},
	{"spiffe://user@example.org/a", false},
	{"spiffe://@example.org/a", false},
	{"spiffe://example.org?q", false},
	{"spiffe://example.org/a?q=1", false},
	{"spiffe://example.org/a?", false},
	{"spiffe://example.org/a#f", false},
	{"spiffe://example.org/a#", false},
	{"spiffe://example.org/", false},
	{"spiffe://example.org//a", false},
	{"spiffe://example.org/a/", false},
	{"spiffe://example.org/a//b", false},
	{"spiffe://example.org/./a", false},
	{"spiffe://example.org/a/..", false},
	{"spiffe://example.org/../a", false},
	{"spiffe://example.org/%61", false},
	{"spiffe://ex%61mple.org/a", false},
	{"spiffe://example.org/a%2Fb", false},
	{"spiffe://example.org/a\x00b", false},
	{"spiffe://example.org\x00.evil.test/a", false},
	{"spiffe://example.org/a\nb", false},
	{"spiffe://example.org/é", false},
	{"spiffe://exämple.org/a", false},
	{"spiffe://example.org/a\\b", false},
	{"spiffe://example.org/a:b", false},
	{"spiffe://[::1]/a", false},
	{"spiffe://example.org/a;b", false},
	{"spiffe://" + strings.Repeat("d", 256) + "/x", false},
	{"spiffe://example.org/" + strings.Repeat("p", 2048), false},
}

func TestOnlyWhatTheSpecificationAllowsIsParsed(t *testing.T) {
	for _, c := range parseCases {
		id, err := Parse(c.text)
		if (err == nil) != c.ok {
			t.Errorf("Parse(%.80q): %v", c.text, err)
		}
		if err == nil && id.String() != c.text {
			t.Errorf("%q became %q", c.text, id)
		}
		if err != nil && !id.IsZero() {
			t.Errorf("%q was refused but gave %q", c.text, id)
		}
		agree(t, c.text)
	}
}

// agree compares with go-spiffe, which sets no bounds on lengths.
func agree(t *testing.T, s string) {
	t.Helper()
	mine, err := Parse(s)
	theirs, theirErr := spiffeid.FromString(s)
	tooLong := len(s) > maxID || theirErr == nil && len(theirs.TrustDomain().Name()) > maxDomain
	if tooLong {
		if err == nil {
			t.Errorf("%.80q is too long but was parsed", s)
		}
		return
	}
	if (err == nil) != (theirErr == nil) {
		t.Fatalf("%q: %v, but go-spiffe: %v", s, err, theirErr)
	}
	if err == nil && (mine.TrustDomain() != theirs.TrustDomain().Name() || mine.Path() != theirs.Path()) {
		t.Errorf("%q: domain %q path %q, but go-spiffe: %q %q", s, mine.TrustDomain(), mine.Path(), theirs.TrustDomain().Name(), theirs.Path())
	}
}

func FuzzParseAgreesWithGoSPIFFE(f *testing.F) {
	for _, c := range parseCases {
		f.Add(c.text)
	}
	f.Fuzz(agree)
}

func TestWorkloadPathsAreRead(t *testing.T) {
	for text, want := range map[string][2]string{
		"spiffe://a/ns/shop/sa/cart":      {"shop", "cart"},
		"spiffe://a/ns/sa/sa/ns":          {"sa", "ns"},
		"spiffe://a/ns/shop":              {},
		"spiffe://a":                      {},
		"spiffe://a/ns/shop/sa/cart/more": {},
		"spiffe://a/x/ns/shop/sa/cart":    {},
		"spiffe://a/ns/x/y/sa/cart":       {},
		"spiffe://a/NS/shop/sa/cart":      {},
		"spiffe://a/ns/shop/sa/sa/cart":   {},
	} {
		id, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		namespace, account, ok := id.Workload()
		if namespace != want[0] || account != want[1] || ok != (want[0] != "") {
			t.Errorf("%s: %q %q %v", text, namespace, account, ok)
		}
	}
	if _, _, ok := (ID{}).Workload(); ok {
		t.Error("the zero ID names a workload")
	}
	for _, c := range [][3]string{{"", "a", "b"}, {"d", "", "b"}, {"d", "a", ""}, {"d", "a/../b", "c"}, {"d/x", "a", "b/.."}, {"d", "a/b", "c"}, {"d", "a", "b/c"}, {"d/ns/x/sa", "a", "b"}, {"d", "a/sa/b", "c"}, {"d", "a", "b c"}} {
		if id, err := Workload(c[0], c[1], c[2]); err == nil {
			t.Errorf("Workload(%q) = %s", c, id)
		}
	}
}

// signed returns a parsed certificate with the URI names byte for byte.
func signed(t *testing.T, template *x509.Certificate, uris ...string) (*x509.Certificate, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var names []asn1.RawValue
	for _, u := range uris {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(u)})
	}
	if len(uris) == 0 {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte("example.org")})
	}
	value, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	template.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return x509.ParseCertificate(der)
}

func TestOnlyOneWholeWorkloadIDIsReadFromACertificate(t *testing.T) {
	const good = "spiffe://example.org/ns/shop/sa/cart"
	for name, c := range map[string]struct {
		template x509.Certificate
		uris     []string
		ok       bool
	}{
		"good":             {uris: []string{good}, ok: true},
		"no URI":           {},
		"two URIs":         {uris: []string{good, "spiffe://example.org/other"}},
		"twice the same":   {uris: []string{good, good}},
		"web URI":          {uris: []string{"https://example.org/"}},
		"upper scheme":     {uris: []string{"SPIFFE://example.org/ns/shop/sa/cart"}},
		"empty fragment":   {uris: []string{good + "#"}},
		"empty query":      {uris: []string{good + "?"}},
		"empty user":       {uris: []string{"spiffe://@example.org/ns/shop/sa/cart"}},
		"empty port":       {uris: []string{"spiffe://example.org:/ns/shop/sa/cart"}},
		"escaped letter":   {uris: []string{"spiffe://example.org/ns/shop/sa/c%61rt"}},
		"dots":             {uris: []string{"spiffe://example.org/ns/other/../shop/sa/cart"}},
		"upper domain":     {uris: []string{"spiffe://Example.org/ns/shop/sa/cart"}},
		"trust domain":     {uris: []string{"spiffe://example.org"}},
		"trailing slash":   {uris: []string{good + "/"}},
		"NUL":              {uris: []string{good + "\x00"}},
		"CA":               {uris: []string{good}, template: x509.Certificate{IsCA: true, BasicConstraintsValid: true}},
		"certificate sign": {uris: []string{good}, template: x509.Certificate{KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}},
		"CRL sign":         {uris: []string{good}, template: x509.Certificate{KeyUsage: x509.KeyUsageCRLSign}},
	} {
		cert, err := signed(t, &c.template, c.uris...)
		if err != nil {
			if c.ok {
				t.Errorf("%s: %v", name, err)
			}
			continue // crypto/x509 already refuses it
		}
		id, err := FromCertificate(cert)
		if (err == nil) != c.ok {
			t.Errorf("%s: %s, %v", name, id, err)
		}
	}
	u, _ := url.Parse(good)
	if _, err := FromCertificate(&x509.Certificate{URIs: []*url.URL{u}}); err == nil {
		t.Error("a certificate that was never parsed named somebody")
	}
}

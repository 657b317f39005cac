// Package spiffe parses SPIFFE IDs and reads them from certificates. It accepts
// only what the SPIFFE-ID specification (SPIFFE-ID.md, section 2) allows, byte
// for byte: nothing is decoded, folded or trimmed.
package spiffe

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// ID is a verified-syntax SPIFFE ID. The zero ID names nobody and equals no
// parsed ID. IDs are comparable with ==.
type ID struct {
	raw    string
	domain int // length of the trust domain, which starts after "spiffe://"
}

const (
	scheme    = "spiffe://"
	maxDomain = 255
	maxID     = 2048 // bytes, SPIFFE-ID section 2.3
)

// Parse reads an ID such as spiffe://example.org/ns/shop/sa/cart.
func Parse(s string) (ID, error) {
	if len(s) > maxID {
		return ID{}, fmt.Errorf("parse SPIFFE ID: %d bytes, at most %d are allowed", len(s), maxID)
	}
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return ID{}, fmt.Errorf("parse SPIFFE ID %q: it does not start with spiffe://", s)
	}
	domain, path, hasPath := strings.Cut(rest, "/")
	if err := checkDomain(domain); err != nil {
		return ID{}, fmt.Errorf("parse SPIFFE ID %q: %w", s, err)
	}
	if hasPath {
		for segment := range strings.SplitSeq(path, "/") {
			if err := checkSegment(segment); err != nil {
				return ID{}, fmt.Errorf("parse SPIFFE ID %q: %w", s, err)
			}
		}
	}
	return ID{raw: s, domain: len(domain)}, nil
}

// Workload returns spiffe://domain/ns/namespace/sa/account.
func Workload(domain, namespace, account string) (ID, error) {
	id, err := Parse(scheme + domain + "/ns/" + namespace + "/sa/" + account)
	if err != nil {
		return ID{}, err
	}
	// A slash in a part would make it say something else.
	if ns, sa, ok := id.Workload(); !ok || ns != namespace || sa != account || id.TrustDomain() != domain {
		return ID{}, fmt.Errorf("make SPIFFE ID: %q, %q and %q must not contain a slash", domain, namespace, account)
	}
	return id, nil
}

// CheckTrustDomain says why a string is no trust domain name.
func CheckTrustDomain(s string) error { return checkDomain(s) }

func checkDomain(s string) error {
	if s == "" {
		return errors.New("the trust domain is empty")
	}
	if len(s) > maxDomain {
		return fmt.Errorf("the trust domain has %d bytes, at most %d are allowed", len(s), maxDomain)
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' {
			continue
		}
		return fmt.Errorf("the trust domain has the byte %q; only a-z, 0-9, dot, dash and underscore are allowed", c)
	}
	return nil
}

func checkSegment(s string) error {
	switch s {
	case "":
		return errors.New("the path has an empty segment")
	case ".", "..":
		return fmt.Errorf("the path has the relative segment %q", s)
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' {
			continue
		}
		return fmt.Errorf("the path has the byte %q; only letters, digits, dot, dash and underscore are allowed", c)
	}
	return nil
}

// String returns the ID as a URI, "" for the zero ID.
func (id ID) String() string { return id.raw }

// IsZero reports that the ID names nobody.
func (id ID) IsZero() bool { return id.raw == "" }

// TrustDomain returns the trust domain's name.
func (id ID) TrustDomain() string {
	if id.raw == "" {
		return ""
	}
	return id.raw[len(scheme) : len(scheme)+id.domain]
}

// Path returns the path with its leading slash, or "".
func (id ID) Path() string {
	if id.raw == "" {
		return ""
	}
	return id.raw[len(scheme)+id.domain:]
}

// Workload returns the namespace and the account of an ID of the form
// /ns/NAMESPACE/sa/ACCOUNT; ok is false for any other path.
func (id ID) Workload() (namespace, account string, ok bool) {
	rest, ok := strings.CutPrefix(id.Path(), "/ns/")
	if !ok {
		return "", "", false
	}
	namespace, account, ok = strings.Cut(rest, "/sa/")
	if !ok || strings.Contains(namespace, "/") || strings.Contains(account, "/") {
		return "", "", false
	}
	return namespace, account, true
}

// FromCertificate returns the ID of an X.509-SVID leaf: exactly one URI name,
// which is a SPIFFE ID with a path, and no CA (X509-SVID.md, sections 2 and 4).
// It does not verify the certificate's chain.
func FromCertificate(c *x509.Certificate) (ID, error) {
	if len(c.URIs) != 1 {
		return ID{}, fmt.Errorf("read SPIFFE ID: the certificate has %d URI names, exactly one is required", len(c.URIs))
	}
	if c.IsCA {
		return ID{}, errors.New("read SPIFFE ID: the certificate is a CA")
	}
	if c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return ID{}, errors.New("read SPIFFE ID: the certificate may sign certificates")
	}
	raw, err := rawURI(c)
	if err != nil {
		return ID{}, fmt.Errorf("read SPIFFE ID: %w", err)
	}
	id, err := Parse(raw)
	if err != nil {
		return ID{}, err
	}
	if id.Path() == "" {
		return ID{}, fmt.Errorf("read SPIFFE ID %q: it names a trust domain, not a workload", id)
	}
	return id, nil
}

// rawURI returns the URI name of a parsed certificate as it was signed. c.URIs
// cannot serve: url.Parse lowers the scheme and drops an empty fragment, so
// that names which are no SPIFFE IDs would pass.
func rawURI(c *x509.Certificate) (string, error) {
	const uriTag = 6 // of GeneralName, RFC 5280, section 4.2.1.6
	for _, extension := range c.Extensions {
		if !extension.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var names asn1.RawValue
		if rest, err := asn1.Unmarshal(extension.Value, &names); err != nil || len(rest) > 0 {
			return "", errors.New("the certificate's alternative names cannot be parsed")
		}
		for rest := names.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			var err error
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return "", errors.New("the certificate's alternative names cannot be parsed")
			}
			if name.Class == asn1.ClassContextSpecific && name.Tag == uriTag {
				return string(name.Bytes), nil
			}
		}
	}
	return "", errors.New("the certificate has no URI name")
}

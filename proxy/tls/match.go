package tls

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// Name is a kind of subject alternative name.
type Name uint8

// The kinds of names that a Matcher looks at.
const (
	DNS Name = iota + 1
	URI
	Email
	IP
)

// Operation is how a Matcher compares.
type Operation uint8

// The operations. Exact of a DNS name follows RFC 6125: a wildcard in the
// certificate stands for one leftmost label. Regex is RE2 and has to match the
// whole name.
const (
	Exact Operation = iota + 1
	Prefix
	Suffix
	Contains
	Regex
)

// Matcher accepts some names of static configurations. Mesh identities are
// compared as whole SPIFFE IDs and never by a Matcher.
type Matcher struct {
	name  Name
	op    Operation
	text  string
	fold  bool
	regex *regexp.Regexp
}

// NewMatcher checks and compiles a matcher; fold ignores the case of ASCII and
// is of no effect for a Regex, which has (?i).
func NewMatcher(name Name, op Operation, text string, fold bool) (Matcher, error) {
	m := Matcher{name: name, op: op, text: text, fold: fold}
	switch {
	case name < DNS || name > IP:
		return Matcher{}, errors.New("make name matcher: the kind of name is unknown")
	case text == "":
		return Matcher{}, errors.New("make name matcher: the text is empty, which would match every name")
	case name == IP && op == Exact:
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return Matcher{}, fmt.Errorf("make name matcher: parse address: %w", err)
		}
		m.text = addr.Unmap().String()
	}
	switch op {
	case Exact, Prefix, Suffix, Contains:
		if fold {
			m.text = strings.ToLower(m.text)
		}
	case Regex:
		re, err := regexp.Compile(`\A(?:` + text + `)\z`)
		if err != nil {
			return Matcher{}, fmt.Errorf("make name matcher: compile regex: %w", err)
		}
		m.regex = re
	default:
		return Matcher{}, errors.New("make name matcher: the operation is unknown")
	}
	return m, nil
}

func matchAny(matchers []Matcher, c *x509.Certificate) bool {
	for _, m := range matchers {
		if m.match(c) {
			return true
		}
	}
	return false
}

func (m Matcher) match(c *x509.Certificate) bool {
	switch m.name {
	case DNS:
		if m.op == Exact {
			// VerifyHostname would also take an address for an IP name.
			if _, err := netip.ParseAddr(m.text); err == nil {
				return false
			}
			return c.VerifyHostname(m.text) == nil
		}
		return m.matchStrings(c.DNSNames)
	case URI:
		for _, u := range c.URIs {
			if m.matchString(u.String()) {
				return true
			}
		}
	case Email:
		return m.matchStrings(c.EmailAddresses)
	case IP:
		for _, ip := range c.IPAddresses {
			if addr, ok := netip.AddrFromSlice(ip); ok && m.matchString(addr.Unmap().String()) {
				return true
			}
		}
	}
	return false
}

func (m Matcher) matchStrings(names []string) bool {
	for _, s := range names {
		if m.matchString(s) {
			return true
		}
	}
	return false
}

func (m Matcher) matchString(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false // a NUL or control byte is in no honest name
		}
	}
	if m.fold {
		s = strings.ToLower(s)
	}
	switch m.op {
	case Exact:
		return s == m.text
	case Prefix:
		return strings.HasPrefix(s, m.text)
	case Suffix:
		return strings.HasSuffix(s, m.text)
	case Contains:
		return strings.Contains(s, m.text)
	case Regex:
		return m.regex.MatchString(s)
	}
	return false
}

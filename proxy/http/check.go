package http

import (
	"encoding/binary"
)

// Character classes of RFC 9110, section 5.6.2, and RFC 3986.
const (
	tokenChar = 1 << iota
	hostChar  // reg-name and IPv4 characters that have one reading everywhere
	targetChar
)

// classes is never written after it is made.
var classes = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		if c != '#' {
			t[c] |= targetChar
		}
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= tokenChar | hostChar
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= tokenChar | hostChar
		t[c-'a'+'A'] |= tokenChar | hostChar
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] |= tokenChar
	}
	for _, c := range "-._" {
		t[c] |= hostChar
	}
	return t
}()

// ValidToken reports that s is a token, as a method or a field name in any case.
func ValidToken(s []byte) bool { return len(s) > 0 && all(s, tokenChar) }

// ValidName reports that s is a field name in lower case, as a Head holds it.
func ValidName(s []byte) bool {
	for _, c := range s {
		if classes[c]&tokenChar == 0 || 'A' <= c && c <= 'Z' {
			return false
		}
	}
	return len(s) > 0
}

// ValidValue reports that s is a field value: no control character but the tab,
// and no white space at its ends. Bytes above 0x7f are opaque (RFC 9110,
// section 5.5).
func ValidValue(s []byte) bool {
	if len(s) == 0 {
		return true
	}
	if blank(s[0]) || blank(s[len(s)-1]) {
		return false
	}
	return !HasControl(s)
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// HasControl reports that s holds a control character other than the tab.
func HasControl(s []byte) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	// Eight bytes at a time: v-0x20 borrows into the high bit of each byte
	// below 0x20, and v^0x7f is zero for DEL. A borrow can pass on and a tab
	// is caught too, so a hit is looked at byte by byte. The last eight bytes
	// overlap those before.
	if len(s) < 8 {
		return hasControlSlow(s)
	}
	for i := 0; ; i = min(i+8, len(s)-8) {
		v := binary.LittleEndian.Uint64(s[i:])
		del := v ^ (ones * 0x7f)
		if ((v-ones*0x20)&^v|(del-ones)&^del)&highs != 0 && hasControlSlow(s[i:i+8]) {
			return true
		}
		if i == len(s)-8 {
			return false
		}
	}
}

func hasControlSlow(s []byte) bool {
	for _, c := range s {
		if c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}

// ValidPath reports that s can be a Head's path: "*", or visible ASCII that
// begins with "/" and has no fragment.
func ValidPath(s []byte) bool {
	if len(s) == 1 && s[0] == '*' {
		return true
	}
	return len(s) > 0 && s[0] == '/' && all(s, targetChar)
}

// ValidAuthority reports that s is host or host:port, where host is a name, an
// IPv4 address or an IPv6 address in brackets. User information, empty ports,
// percent-encoding and zones are refused: they have more than one reading.
func ValidAuthority(s []byte) bool {
	var host, port []byte
	hasPort := false
	if len(s) > 0 && s[0] == '[' {
		end := 1
		for end < len(s) && s[end] != ']' {
			end++
		}
		if end == len(s) || !validIPv6(s[1:end]) {
			return false
		}
		rest := s[end+1:]
		if len(rest) == 0 {
			return true
		}
		return rest[0] == ':' && validPort(rest[1:])
	}
	host = s
	for i, c := range s {
		if c == ':' {
			host, port, hasPort = s[:i], s[i+1:], true
			break
		}
	}
	return len(host) > 0 && all(host, hostChar) && (!hasPort || validPort(port))
}

func validIPv6(s []byte) bool {
	colons := 0
	for _, c := range s {
		switch {
		case c == ':':
			colons++
		case c == '.', '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
		default:
			return false
		}
	}
	return colons >= 2 && colons <= 8 && len(s) <= 45
}

func validPort(s []byte) bool {
	if len(s) == 0 || len(s) > 5 {
		return false
	}
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n <= 65535
}

func all(s []byte, class uint8) bool {
	for _, c := range s {
		if classes[c]&class == 0 {
			return false
		}
	}
	return true
}

// Idempotent reports that a request of this method may be sent twice and means the
// same (RFC 9110, section 9.2.2).
func Idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// HopByHop reports that fields of this name speak of one connection only
// (RFC 9110, section 7.6.1) or of its framing: no codec passes them on.
// TE is among them; a codec that keeps "te: trailers" does so by itself.
func HopByHop(id Name) bool {
	switch id {
	case Connection, KeepAlive, ProxyConnection, TE, TransferEncoding, Upgrade:
		return true
	}
	return false
}

// ForbiddenTrailer reports that a field of this name must not come as a trailer,
// where it would change what the head has said (RFC 9110, section 6.5.1).
func ForbiddenTrailer(id Name) bool {
	switch id {
	case Authorization, CacheControl, ContentEncoding, ContentLength, ContentType, Cookie, Expect, Host,
		ProxyAuthenticate, ProxyAuthorization, Range, SetCookie, Trailer,
		XForwardedClientCert, XForwardedFor, XForwardedHost, XForwardedProto:
		return true
	}
	return HopByHop(id)
}

// ParseLength reads the value of a Content-Length field: 1*DIGIT (RFC 9110,
// section 8.6) below 10^18, -1 if it is anything else.
func ParseLength(s []byte) int64 {
	if len(s) == 0 || len(s) > 18 {
		return -1
	}
	var n int64
	for _, c := range s {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

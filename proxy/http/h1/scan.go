package h1

import (
	"bytes"

	"github.com/leno-mesh/leno/proxy/http"
)

// A fault is a message that has no single reading. The status is what a client
// is answered; towards an endpoint only the reason counts.
type fault struct {
	status int
	kind   http.Kind
	reason string
}

// The faults of a head. They are never written after they are made.
var (
	badLineEnd    = &fault{400, http.KindProtocol, "a line of the head does not end with CR LF"}
	badStart      = &fault{400, http.KindProtocol, "the first line is no HTTP/1 start line"}
	badMethod     = &fault{400, http.KindProtocol, "the method is not a token"}
	badVersion    = &fault{505, http.KindUnsupported, "the protocol version is neither HTTP/1.0 nor HTTP/1.1"}
	oldVersion    = &fault{505, http.KindUnsupported, "HTTP/1.0 is not accepted here"}
	badTarget     = &fault{400, http.KindProtocol, "the request target is malformed"}
	badStatus     = &fault{400, http.KindProtocol, "the status code is not three digits"}
	badReason     = &fault{400, http.KindProtocol, "the status line holds a control character"}
	badFold       = &fault{400, http.KindProtocol, "a header line begins with white space"}
	badName       = &fault{400, http.KindProtocol, "a header name is not a token followed by a colon"}
	badValue      = &fault{400, http.KindProtocol, "a header value holds a control character"}
	badHost       = &fault{400, http.KindProtocol, "the Host header is not host or host:port"}
	noHost        = &fault{400, http.KindProtocol, "the Host header is missing"}
	manyHosts     = &fault{400, http.KindProtocol, "there is more than one Host header"}
	badLength     = &fault{400, http.KindProtocol, "Content-Length is not one decimal number"}
	manyLengths   = &fault{400, http.KindProtocol, "there is more than one Content-Length"}
	bothFramings  = &fault{400, http.KindProtocol, "there are both Content-Length and Transfer-Encoding"}
	badCoding     = &fault{400, http.KindProtocol, "Transfer-Encoding is not a single chunked"}
	unknownCoding = &fault{501, http.KindUnsupported, "Transfer-Encoding has a coding other than chunked"}
	oldCoding     = &fault{400, http.KindProtocol, "Transfer-Encoding is not part of HTTP/1.0"}
	badExpect     = &fault{417, http.KindUnsupported, "Expect is something other than 100-continue"}
	badConnection = &fault{400, http.KindProtocol, "Connection names too many options"}
	connectBody   = &fault{400, http.KindProtocol, "a CONNECT request declares a body"}
	manyFields    = &fault{431, http.KindTooLarge, "the head has too many fields"}
	headTooLarge  = &fault{431, http.KindTooLarge, "the head is too large"}
	lineTooLong   = &fault{414, http.KindTooLarge, "the request line is too long"}
	manyInterims  = &fault{400, http.KindProtocol, "there are too many interim responses"}
	badSwitch     = &fault{400, http.KindProtocol, "101 Switching Protocols came without being asked for"}
	badChunk      = &fault{400, http.KindProtocol, "a chunk is malformed"}
	bigTrailers   = &fault{431, http.KindTooLarge, "the trailers are too large"}
)

// A scanner finds the end of a head in bytes that arrive in pieces, so that no
// byte is looked at twice however small the pieces are.
type scanner struct {
	at    int // where the next look begins
	line  int // where the current line begins
	lines int
}

// end returns the length of the head with the empty line that ends it, 0 while
// it is incomplete.
func (s *scanner) end(b []byte) int {
	for {
		i := bytes.IndexByte(b[s.at:], '\n')
		if i < 0 {
			s.at = len(b)
			return 0
		}
		stop := s.at + i
		line := b[s.line:stop]
		s.at, s.line = stop+1, stop+1
		s.lines++
		if len(line) == 0 || len(line) == 1 && line[0] == '\r' {
			return stop + 1
		}
	}
}

// cutLine splits the first line off b. The line must end with CR LF and holds no
// other CR.
func cutLine(b []byte) (line, rest []byte, ok bool) {
	i := bytes.IndexByte(b, '\n')
	if i < 1 || b[i-1] != '\r' {
		return nil, nil, false
	}
	return b[:i-1], b[i+1:], true
}

// lower maps the characters of a token to lower case and every other byte to 0.
// It is never written after it is made.
var lower = func() (t [256]byte) {
	for c := '0'; c <= '9'; c++ {
		t[c] = byte(c)
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = byte(c), byte(c)
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = byte(c)
	}
	return t
}()

// toLower changes ASCII letters in place.
func toLower(b []byte) {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}

func equalFold(b []byte, lowerCase string) bool {
	if len(b) != len(lowerCase) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lowerCase[i] {
			return false
		}
	}
	return true
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// cutItem splits the first item off a comma-separated list.
func cutItem(list []byte) (item, rest []byte) {
	if i := bytes.IndexByte(list, ','); i >= 0 {
		return trim(list[:i]), list[i+1:]
	}
	return trim(list), nil
}

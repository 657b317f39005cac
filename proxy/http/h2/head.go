package h2

import (
	"bytes"
	"strconv"

	"github.com/leno-mesh/leno/proxy/http"
)

// block says what kind of head a header block must be.
type block uint8

const (
	blockRequest block = iota
	blockResponse
	blockTrailers
)

// Pseudo-fields seen.
const (
	seenMethod = 1 << iota
	seenScheme
	seenAuthority
	seenPath
	seenStatus
	seenProtocol
)

// headReader turns a header block into a Head and checks it (RFC 9113, section
// 8). It belongs to the reading goroutine, which uses it for every block.
type headReader struct {
	dec  decoder
	head http.Head // the result

	kind    block
	fields  int
	size    int
	over    bool   // a limit was passed: the rest is decoded but not kept
	wrong   string // why the message is malformed
	seen    uint8
	regular bool // a regular field was seen
	length  int64
	host    bool
	cookies int
	buffer  []byte // for lower case and joined cookies
}

// read decodes a whole block. An error is one of the connection; whether the
// message is malformed or too large is in wrong and over.
func (r *headReader) read(kind block, b []byte, limits *http.Limits) error {
	dec, head, buffer := r.dec, r.head, r.buffer
	head.Reset()
	*r = headReader{dec: dec, head: head, buffer: buffer, kind: kind, length: -1}
	r.dec.start(b)
	for {
		f, ok, err := r.dec.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		r.fields++
		r.size += len(f.name) + len(f.value) + 32
		if r.over = r.over || r.fields > limits.Fields || r.size > limits.HeadBytes; r.over || r.wrong != "" {
			continue
		}
		if len(f.name) > 0 && f.name[0] == ':' {
			r.wrong = r.pseudo(f)
		} else {
			r.wrong = r.field(f)
		}
	}
	if !r.over && r.wrong == "" {
		r.wrong = r.finish()
	}
	return nil
}

// pseudo takes a pseudo-field (section 8.3).
func (r *headReader) pseudo(f pair) string {
	if r.regular {
		return "a pseudo-field follows a regular field"
	}
	var bit uint8
	switch string(f.name) {
	case ":method":
		bit = seenMethod
	case ":scheme":
		bit = seenScheme
	case ":authority":
		bit = seenAuthority
	case ":path":
		bit = seenPath
	case ":status":
		bit = seenStatus
	case ":protocol":
		bit = seenProtocol
	default:
		return "it has an unknown pseudo-field"
	}
	switch {
	case r.kind == blockTrailers:
		return "its trailers have a pseudo-field"
	case (bit == seenStatus) != (r.kind == blockResponse):
		return "it has a pseudo-field of the other kind of message"
	case r.seen&bit != 0:
		return "it has a pseudo-field twice"
	}
	r.seen |= bit
	return r.setPseudo(bit, f.value)
}

func (r *headReader) setPseudo(bit uint8, v []byte) string {
	switch bit {
	case seenMethod:
		if !http.ValidToken(v) {
			return "its method is no token"
		}
		r.head.SetMethod(v)
	case seenScheme:
		if !http.ValidToken(v) {
			return "its scheme is wrong"
		}
		r.head.SetScheme(v)
	case seenAuthority:
		if !http.ValidAuthority(v) {
			return "its authority is wrong"
		}
		r.head.SetAuthority(r.lower(v))
	case seenPath:
		if !http.ValidPath(v) {
			return "its path is wrong"
		}
		r.head.SetPath(v)
	case seenProtocol:
		if !http.ValidToken(v) || len(v) > 64 {
			return "its protocol is no token"
		}
		if r.head.Protocol = "websocket"; string(v) != "websocket" {
			r.head.Protocol = string(r.lower(v))
		}
	case seenStatus:
		if len(v) != 3 || v[0] < '1' || v[0] > '9' || v[1] < '0' || v[1] > '9' || v[2] < '0' || v[2] > '9' {
			return "its status is wrong"
		}
		r.head.Status = int(v[0]-'0')*100 + int(v[1]-'0')*10 + int(v[2]-'0')
	}
	return ""
}

func (r *headReader) lower(s []byte) []byte {
	r.buffer = append(r.buffer[:0], s...)
	for i, c := range r.buffer {
		if 'A' <= c && c <= 'Z' {
			r.buffer[i] = c | 0x20
		}
	}
	return r.buffer
}

// field takes a regular field (section 8.2).
func (r *headReader) field(f pair) string {
	r.regular = true
	if !http.ValidName(f.name) {
		return "it has a field name that is wrong or not in lower case"
	}
	if !http.ValidValue(f.value) {
		return "it has a field value with control characters or white space around it"
	}
	id := http.Lookup(f.name)
	if id == http.Other {
		// Some servers cannot tell an underscore from a hyphen.
		if bytes.IndexByte(f.name, '_') < 0 {
			r.head.Add(f.name, f.value)
		}
		return ""
	}
	if id == http.TE {
		if !bytes.EqualFold(f.value, trailersValue) {
			return "it has a TE field other than trailers"
		}
		if r.kind == blockRequest {
			r.head.AddNamed(id, trailersValue)
		}
		return ""
	}
	if http.HopByHop(id) {
		return "it has a field that speaks of an HTTP/1 connection"
	}
	if r.kind == blockTrailers {
		if !http.ForbiddenTrailer(id) {
			r.head.AddNamed(id, f.value)
		}
		return ""
	}
	return r.named(id, f.value)
}

// trailersValue is never written.
var trailersValue = []byte("trailers")

// named takes a field of a known name in a head.
func (r *headReader) named(id http.Name, v []byte) string {
	switch id {
	case http.ContentLength:
		n := http.ParseLength(v)
		if n < 0 || r.length >= 0 && n != r.length {
			return "its Content-Length is wrong"
		}
		r.length = n
		return ""
	case http.Host:
		if r.kind == blockResponse {
			return ""
		}
		if !http.ValidAuthority(v) {
			return "its Host is wrong"
		}
		low := r.lower(v)
		if r.seen&seenAuthority != 0 || r.host {
			if !bytes.Equal(low, r.head.Authority()) {
				return "its Host differs from its authority"
			}
		} else {
			r.head.SetAuthority(low)
		}
		r.host = true
		return ""
	case http.Expect:
		if r.kind == blockRequest && bytes.EqualFold(v, continueValue) {
			r.head.Expect = true
		}
		return ""
	case http.Cookie:
		r.cookies++
	}
	r.head.AddNamed(id, v)
	return ""
}

func (r *headReader) finish() string {
	r.head.Version = 2
	switch r.kind {
	case blockResponse:
		if r.seen&seenStatus == 0 {
			return "it has no status"
		}
		if r.head.Status == 101 {
			return "it switches protocols, which HTTP/2 has no way to do"
		}
	case blockRequest:
		if wrong := r.finishRequest(); wrong != "" {
			return wrong
		}
	}
	if r.cookies > 1 {
		r.joinCookies()
	}
	return ""
}

// finishRequest checks which pseudo-fields there are (section 8.3.1 and 8.5, RFC
// 8441). An extended CONNECT becomes the GET that asks for the same upgrade in
// HTTP/1.1, so that routes and policies have one reading of both.
func (r *headReader) finishRequest() string {
	if r.seen&seenMethod == 0 {
		return "it has no method"
	}
	connect := string(r.head.Method()) == "CONNECT"
	switch {
	case r.seen&seenProtocol != 0:
		if !connect {
			return "it has a protocol without CONNECT"
		}
		if r.seen&(seenScheme|seenPath|seenAuthority) != seenScheme|seenPath|seenAuthority {
			return "its extended CONNECT lacks scheme, path or authority"
		}
		r.head.SetMethodString("GET")
	case connect:
		if r.seen&(seenScheme|seenPath) != 0 || r.seen&seenAuthority == 0 {
			return "its CONNECT has a scheme or a path, or no authority"
		}
		if len(r.head.Host()) == len(r.head.Authority()) {
			return "its CONNECT names no port"
		}
	case r.seen&(seenScheme|seenPath) != seenScheme|seenPath:
		return "it has no scheme or no path"
	case r.seen&seenAuthority == 0 && !r.host:
		return "it has neither authority nor Host"
	case len(r.head.Path()) == 1 && r.head.Path()[0] == '*' && string(r.head.Method()) != "OPTIONS":
		return "its path is * without OPTIONS"
	}
	return ""
}

// joinCookies makes one field of the crumbs (section 8.2.3).
func (r *headReader) joinCookies() {
	r.buffer = r.buffer[:0]
	for i := range r.head.Slots() {
		if f, ok := r.head.At(i); ok && f.ID == http.Cookie {
			if len(r.buffer) > 0 {
				r.buffer = append(r.buffer, "; "...)
			}
			r.buffer = append(r.buffer, f.Value...)
		}
	}
	r.head.SetNamed(http.Cookie, r.buffer)
}

// setLength keeps a Content-Length that speaks of a body which is not sent.
func (r *headReader) setLength() {
	r.buffer = strconv.AppendInt(r.buffer[:0], r.length, 10)
	r.head.AddNamed(http.ContentLength, r.buffer)
}

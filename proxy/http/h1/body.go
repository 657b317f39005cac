package h1

import (
	"bytes"

	"github.com/leno-mesh/leno/proxy/http"
)

// mode is how a body is framed.
type mode uint8

const (
	modeNone    mode = iota // no body, or its end is reached
	modeLength              // Content-Length
	modeChunked             // Transfer-Encoding: chunked
	modeClose               // until the connection ends
	modeTunnel              // raw bytes after CONNECT or an upgrade
)

// inbound decodes the body that is read. It works on the bytes at hand and never
// touches the connection.
type inbound struct {
	mode    mode
	left    int64 // bytes to come of the length or of the current chunk
	inChunk bool  // data of a chunk, or the CR LF after it, is due
	// inTrailers is set after the last chunk.
	inTrailers bool
	scan       scanner
	block      int // length of the complete trailer block that is at hand, 0 if none is
}

// maxChunkLine bounds a chunk's size with its extensions, which are dropped.
const maxChunkLine = 256

func (in *inbound) start(m mode, length int64) { *in = inbound{mode: m, left: length} }

// next looks at the unread bytes b. It returns data and how many bytes of b are
// done with once the caller has seen the data. Without data and end more bytes
// are needed. At the end the trailer block, if any, stays unread.
func (in *inbound) next(b []byte, o *http.Limits) (data []byte, used int, end bool, bad *fault) {
	switch in.mode {
	case modeNone:
		return nil, 0, true, nil
	case modeLength:
		if in.left == 0 {
			in.mode = modeNone
			return nil, 0, true, nil
		}
		n := len(b)
		if int64(n) > in.left {
			n = int(in.left)
		}
		in.left -= int64(n)
		return b[:n], n, false, nil
	case modeClose, modeTunnel:
		return b, len(b), false, nil
	}
	return in.nextChunk(b, o)
}

func (in *inbound) nextChunk(b []byte, o *http.Limits) (data []byte, used int, end bool, bad *fault) {
	for !in.inTrailers {
		rest := b[used:]
		switch {
		case in.inChunk && in.left > 0:
			n := len(rest)
			if int64(n) > in.left {
				n = int(in.left)
			}
			in.left -= int64(n)
			return rest[:n], used + n, false, nil
		case in.inChunk:
			if len(rest) == 0 || len(rest) == 1 && rest[0] == '\r' {
				return nil, used, false, nil
			}
			if rest[0] != '\r' || rest[1] != '\n' {
				return nil, 0, false, badChunk
			}
			used += 2
			in.inChunk = false
		default:
			size, n, bad := chunkSize(rest)
			if bad != nil || n == 0 {
				return nil, used, false, bad
			}
			used += n
			in.inChunk, in.left, in.inTrailers = size > 0, size, size == 0
		}
	}
	end, bad = in.endBlock(b[used:], o)
	return nil, used, end, bad
}

// endBlock looks for the end of the trailer block that b begins with, and checks
// the block when it is complete.
func (in *inbound) endBlock(b []byte, o *http.Limits) (complete bool, bad *fault) {
	n := in.scan.end(b)
	if n > o.HeadBytes || n == 0 && len(b) > o.HeadBytes {
		return false, bigTrailers
	}
	if n == 0 {
		return false, nil
	}
	if bad := parseTrailers(b[:n], nil, o.Fields); bad != nil {
		return false, bad
	}
	in.mode, in.block = modeNone, n
	return true, nil
}

// complete reports that the body was read to its end.
func (in *inbound) complete() bool {
	return in.mode == modeNone || in.mode == modeLength && in.left == 0
}

// chunkSize reads a chunk-size line; n is 0 while it is incomplete.
func chunkSize(b []byte) (size int64, n int, bad *fault) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		if len(b) > maxChunkLine || len(b) > 0 && unhex(b[0]) > 15 {
			return 0, 0, badChunk
		}
		return 0, 0, nil
	}
	if i > maxChunkLine || i < 2 || b[i-1] != '\r' {
		return 0, 0, badChunk
	}
	line := b[:i-1]
	digits := 0
	for digits < len(line) {
		d := unhex(line[digits])
		if d > 15 {
			break
		}
		if digits == 15 {
			return 0, 0, badChunk // beyond 2^60
		}
		size = size<<4 | int64(d)
		digits++
	}
	if digits == 0 || !validExtension(line[digits:]) {
		return 0, 0, badChunk
	}
	return size, i + 1, nil
}

// validExtension accepts what RFC 9112, section 7.1.1, does, white space apart:
// others stop reading there.
func validExtension(s []byte) bool {
	for len(s) > 0 {
		n := tokenLen(s[1:])
		if s[0] != ';' || n == 0 {
			return false
		}
		if s = s[1+n:]; len(s) == 0 || s[0] != '=' {
			continue
		}
		if n = tokenLen(s[1:]); n == 0 {
			n = quotedLen(s[1:])
		}
		if n == 0 {
			return false
		}
		s = s[1+n:]
	}
	return true
}

func tokenLen(s []byte) int {
	n := 0
	for n < len(s) && lower[s[n]] != 0 {
		n++
	}
	return n
}

// quotedLen returns the length of the quoted string that s begins with, else 0.
func quotedLen(s []byte) int {
	if len(s) == 0 || s[0] != '"' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return i + 1
		case c < ' ' && c != '\t' || c == 0x7f:
			return 0
		case c == '\\' && i+1 < len(s) && s[i+1] >= ' ' && s[i+1] != 0x7f:
			i++
		}
	}
	return 0
}

func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// parseTrailers reads the trailer block b into h, without the fields that have
// no place there; with a nil h it only checks.
func parseTrailers(b []byte, h *http.Head, maxFields int) *fault {
	for n := 0; ; n++ {
		line, rest, ok := cutLine(b)
		if !ok {
			return badLineEnd
		}
		if len(line) == 0 {
			return nil
		}
		if n == maxFields {
			return manyFields
		}
		b = rest
		name, value, drop, bad := splitField(line)
		if bad != nil {
			return bad
		}
		if h == nil || drop || http.ForbiddenTrailer(http.Lookup(name)) || protected(name) && string(name) != "grpc-status" {
			continue
		}
		h.Add(name, value)
	}
}

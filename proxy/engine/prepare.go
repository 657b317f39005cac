package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
)

// prepare makes the request what this proxy vouches for, before anything is
// decided on it: one path, one host, and the fields that say who asks.
func (x *exchange) prepare(h *plan.HTTP) *http.Error {
	req := &x.Req
	if h.StripPort {
		req.SetAuthority(req.Host())
	}
	if h.NormalizePath || h.MergeSlashes {
		path, ok := normalize(x.scratch[:0], req.Path(), h.MergeSlashes)
		x.scratch = path
		if !ok {
			return &http.Error{Side: http.Downstream, Kind: http.KindProtocol, Status: 400, Reason: "the path leaves the root or has an encoded slash, backslash or NUL"}
		}
		if !bytes.Equal(path, req.Path()) {
			req.SetPath(path)
		}
	}
	x.clientCertificate(h.XFCC)
	if h.UseRemoteAddress {
		if !h.SkipXFFAppend {
			x.appendXFF()
		}
		req.SetNamed(http.XForwardedProto, req.Scheme())
	} else if _, ok := req.GetNamed(http.XForwardedProto); !ok {
		req.AddNamed(http.XForwardedProto, req.Scheme())
	}
	if h.RequestID {
		if _, ok := req.GetNamed(http.XRequestID); !ok || h.UseRemoteAddress && !h.KeepRequestID {
			x.scratch = appendUUID(x.scratch[:0])
			req.SetNamed(http.XRequestID, x.scratch)
		}
	}
	return nil
}

// clientCertificate removes x-forwarded-client-cert that the client claims and
// writes what this proxy verified.
func (x *exchange) clientCertificate(mode plan.XFCC) {
	req := &x.Req
	switch mode {
	case plan.XFCCSanitize:
		req.DelNamed(http.XForwardedClientCert)
	case plan.XFCCSanitizeSet:
		req.DelNamed(http.XForwardedClientCert)
		if len(x.d.xfcc) > 0 {
			req.AddNamed(http.XForwardedClientCert, x.d.xfcc)
		}
	case plan.XFCCForwardOnly:
		if len(x.d.xfcc) == 0 { // TLS alone proves nothing of the client
			req.DelNamed(http.XForwardedClientCert)
		}
	case plan.XFCCAppendForward:
		if len(x.d.xfcc) == 0 {
			req.DelNamed(http.XForwardedClientCert)
			return
		}
		req.AddNamed(http.XForwardedClientCert, x.d.xfcc)
	case plan.XFCCAlwaysForwardOnly:
	}
}

// xfcc renders Envoy's x-forwarded-client-cert element for a connection's peer,
// nil if it proved nothing.
func xfcc(c *conn.Conn) []byte {
	s := c.TLSState()
	if s == nil || len(s.PeerCertificates) == 0 {
		return nil
	}
	hash := sha256.Sum256(s.PeerCertificates[0].Raw)
	out := append([]byte("Hash="), hex.EncodeToString(hash[:])...)
	if !c.Peer.IsZero() {
		out = append(append(out, ";URI="...), c.Peer.String()...)
	}
	return out
}

func (x *exchange) appendXFF() {
	b := x.scratch[:0]
	for i := range x.Req.Slots() {
		if f, ok := x.Req.At(i); ok && f.ID == http.XForwardedFor {
			if len(b) > 0 {
				b = append(b, ", "...)
			}
			b = append(b, f.Value...)
		}
	}
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = x.d.c.Remote.Addr().AppendTo(b)
	x.scratch = b
	x.Req.SetNamed(http.XForwardedFor, b)
}

// appendUUID appends a random UUID (RFC 9562, version 4). It identifies, it
// does not authenticate, so the runtime's generator is good enough.
func appendUUID(b []byte) []byte {
	var id [16]byte
	for i, r := 0, rand.Uint64(); i < 8; i, r = i+1, r>>8 {
		id[i] = byte(r)
	}
	for i, r := 8, rand.Uint64(); i < 16; i, r = i+1, r>>8 {
		id[i] = byte(r)
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	for i, part := range [...]int{4, 6, 8, 10, 16} {
		from := [...]int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, id[from:part])
	}
	return b
}

// normalize appends path to dst with what RFC 3986, section 6.2.2, calls
// equivalent made equal: unreserved bytes decoded, hex digits in upper case, dot
// segments removed, and, with merge, runs of slashes made one. It refuses what
// different servers read differently: encoded slashes, backslashes and NUL, and
// dot segments that leave the root. The query stays as it is.
func normalize(dst, path []byte, merge bool) ([]byte, bool) {
	if len(path) == 0 || path[0] != '/' {
		return append(dst, path...), true
	}
	query := []byte(nil)
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path, query = path[:i], path[i:]
	}
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '%':
			if i+2 >= len(path) {
				return dst, false
			}
			hi, ok1 := unhex(path[i+1])
			lo, ok2 := unhex(path[i+2])
			if !ok1 || !ok2 {
				return dst, false
			}
			b := hi<<4 | lo
			i += 2
			switch {
			case b == '/' || b == '\\' || b == 0:
				return dst, false
			case unreserved(b):
				dst = append(dst, b)
			default:
				dst = append(dst, '%', upperHex[b>>4], upperHex[b&15])
			}
		case c == '\\':
			return dst, false
		case c == '/' && merge && len(dst) > 0 && dst[len(dst)-1] == '/':
		default:
			dst = append(dst, c)
		}
	}
	dst, ok := removeDots(dst)
	return append(dst, query...), ok
}

const upperHex = "0123456789ABCDEF"

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func unreserved(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '.' || b == '_' || b == '~'
}

// removeDots removes dot segments in place (RFC 3986, section 5.2.4).
func removeDots(p []byte) ([]byte, bool) {
	out := p[:0]
	for i := 0; i < len(p); {
		end := bytes.IndexByte(p[i+1:], '/')
		if end < 0 {
			end = len(p)
		} else {
			end += i + 1
		}
		segment := p[i+1 : end] // after the slash at i
		last := end == len(p)
		switch string(segment) {
		case ".":
			if last {
				out = append(out, '/')
			}
		case "..":
			cut := bytes.LastIndexByte(out, '/')
			if cut < 0 {
				return out, false
			}
			out = out[:cut]
			if last {
				out = append(out, '/')
			}
		default:
			out = append(out, p[i:end]...)
		}
		i = end
	}
	if len(out) == 0 {
		out = append(out, '/')
	}
	return out, true
}

package h2

import (
	"strconv"

	"github.com/leno-mesh/leno/proxy/http"
)

// The encoder uses the static table and literals, without a dynamic table and
// without Huffman codes: it has no state to guard, compresses no secret beside
// what an attacker chose (RFC 7541, section 7.1), and costs the CPU little.

// emptyTable tells the decoder that our dynamic table stays empty. The first
// block of a connection begins with it, so that no SETTINGS_HEADER_TABLE_SIZE of
// the peer ever needs an answer (RFC 7541, section 4.2).
const emptyTable = 0x20

func appendInteger(b []byte, first byte, bits uint, v int) []byte {
	mask := 1<<bits - 1
	if v < mask {
		return append(b, first|byte(v))
	}
	b = append(b, first|byte(mask))
	for v -= mask; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func appendText(b, s []byte) []byte {
	return append(appendInteger(b, 0, 7, len(s)), s...)
}

// appendLiteral appends a field whose name is at index in the static table.
func appendLiteral(b []byte, index int, value []byte) []byte {
	return appendText(appendInteger(b, 0, 4, index), value)
}

// appendField appends any field. What may be a secret is marked so that no hop
// indexes it.
func appendField(b []byte, f http.Field) []byte {
	first := byte(0)
	switch f.ID {
	case http.Authorization, http.ProxyAuthorization, http.Cookie, http.SetCookie, http.XForwardedClientCert:
		first = 0x10
	}
	if i := staticNames[f.ID]; i != 0 {
		return appendText(appendInteger(b, first, 4, int(i)), f.Value)
	}
	return appendText(appendText(append(b, first), f.Name), f.Value)
}

// Indices of the static table.
const (
	indexAuthority     = 1
	indexMethod        = 2
	indexPath          = 4
	indexScheme        = 6
	indexStatus        = 8
	indexContentLength = 28
	indexed            = 0x80
)

func appendStatus(b []byte, status int) []byte {
	switch status {
	case 200:
		return append(b, indexed|8)
	case 204:
		return append(b, indexed|9)
	case 206:
		return append(b, indexed|10)
	case 304:
		return append(b, indexed|11)
	case 400:
		return append(b, indexed|12)
	case 404:
		return append(b, indexed|13)
	case 500:
		return append(b, indexed|14)
	}
	b = append(b, indexStatus, 3)
	return strconv.AppendInt(b, int64(status), 10)
}

func appendMethod(b, method []byte) []byte {
	switch string(method) {
	case "GET":
		return append(b, indexed|2)
	case "POST":
		return append(b, indexed|3)
	}
	return appendLiteral(b, indexMethod, method)
}

func appendScheme(b, scheme []byte) []byte {
	switch string(scheme) {
	case "http":
		return append(b, indexed|6)
	case "https":
		return append(b, indexed|7)
	}
	return appendLiteral(b, indexScheme, scheme)
}

func appendPath(b, path []byte) []byte {
	if len(path) == 1 && path[0] == '/' {
		return append(b, indexed|4)
	}
	return appendLiteral(b, indexPath, path)
}

// appendRequest appends the block of a request head. An upgrade becomes an
// extended CONNECT (RFC 8441, section 4).
func appendRequest(b []byte, h *http.Head) []byte {
	connect := string(h.Method()) == "CONNECT" && h.Protocol == ""
	if h.Protocol != "" {
		b = append(appendInteger(b, 0, 4, indexMethod), "\x07CONNECT"...)
		b = append(append(b, 0, 9), ":protocol"...)
		b = append(appendInteger(b, 0, 7, len(h.Protocol)), h.Protocol...)
	} else {
		b = appendMethod(b, h.Method())
	}
	if !connect {
		b = appendScheme(b, h.Scheme())
		b = appendPath(b, h.Path())
	}
	if len(h.Authority()) > 0 || connect {
		b = appendLiteral(b, indexAuthority, h.Authority())
	}
	return appendFields(b, h)
}

// appendResponse appends the block of a response head. A granted upgrade is a
// plain 200 (RFC 8441, section 5).
func appendResponse(b []byte, h *http.Head) []byte {
	if h.Status == 101 {
		return appendFields(append(b, indexed|8), h)
	}
	return appendFields(appendStatus(b, h.Status), h)
}

// appendFields appends what is not bound to one connection. The length of a body
// is said by h.Length; the field itself is there only where it speaks of a body
// that is not sent (a response to HEAD, 304).
func appendFields(b []byte, h *http.Head) []byte {
	if h.Length > 0 {
		b = appendInteger(b, 0, 4, indexContentLength)
		var digits [20]byte
		b = appendText(b, strconv.AppendInt(digits[:0], h.Length, 10))
	}
	if h.Expect {
		b = appendField(b, http.Field{ID: http.Expect, Value: continueValue})
	}
	for i := range h.Slots() {
		f, ok := h.At(i)
		if !ok {
			continue
		}
		switch f.ID {
		case http.Host, http.Expect:
			continue
		case http.ContentLength:
			if h.Length != 0 {
				continue
			}
		case http.TE:
			if string(f.Value) != "trailers" {
				continue
			}
		default:
			if http.HopByHop(f.ID) {
				continue
			}
		}
		b = appendField(b, f)
	}
	return b
}

// appendTrailers appends a trailer block.
func appendTrailers(b []byte, h *http.Head) []byte {
	for i := range h.Slots() {
		if f, ok := h.At(i); ok && !http.ForbiddenTrailer(f.ID) {
			b = appendField(b, f)
		}
	}
	return b
}

// continueValue is never written.
var continueValue = []byte("100-continue")

package h1

import (
	"strconv"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/http"
)

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// The faults of what we are asked to write.
var (
	wrongStart   = &fault{0, http.KindProtocol, "the head to send has a malformed method, target, authority or status"}
	wrongField   = &fault{0, http.KindProtocol, "the head to send has a malformed field"}
	wrongSize    = &fault{0, http.KindTooLarge, "the head to send is too large"}
	wrongLength  = &fault{0, http.KindProtocol, "the body does not have the length that its head declares"}
	wrongOrder   = &fault{0, http.KindUnknown, "a message was written in the wrong order"}
	wrongUpgrade = &fault{0, http.KindProtocol, "101 Switching Protocols answers a request that did not ask for it"}
)

// headRoom is what a head needs beyond Head.Size: the start line's fixed parts,
// framing and connection fields, and a chunk's frame.
const headRoom = 512

// fits reports that the head surely fits into an empty buffer.
func fits(h *http.Head) bool { return h.Size()+len(h.Protocol)+headRoom <= buf.Size }

// appendRequest serialises a request for HTTP/1.1 with our own framing. chunked
// says that the body has no length.
func appendRequest(b []byte, h *http.Head, chunked bool) ([]byte, *fault) {
	method, path, authority := h.Method(), h.Path(), h.Authority()
	connect := string(method) == "CONNECT"
	if connect {
		path = authority
	}
	if !http.ValidToken(method) || !connect && !http.ValidPath(path) || len(authority) > 0 && !http.ValidAuthority(authority) || len(path) == 0 {
		return nil, wrongStart
	}
	b = append(b, method...)
	b = append(b, ' ')
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nhost: "...)
	b = append(b, authority...)
	b = append(b, "\r\n"...)
	b, te, bad := appendFields(b, h, false)
	if bad != nil {
		return nil, bad
	}
	switch {
	case chunked:
		b = append(b, "transfer-encoding: chunked\r\n"...)
	case h.Length > 0, wantsLength(method):
		b = append(b, "content-length: "...)
		b = append(appendInt(b, max(h.Length, 0)), "\r\n"...)
	}
	if h.Expect && h.Length != 0 {
		b = append(b, "expect: 100-continue\r\n"...)
	}
	switch {
	case h.Protocol != "":
		b = appendKey(b, h)
		if b, bad = appendUpgrade(b, h.Protocol); bad != nil {
			return nil, bad
		}
	case te:
		b = append(b, "te: trailers\r\nconnection: te\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// wantsLength reports that a request without a body should say so (RFC 9110,
// section 8.6).
func wantsLength(method []byte) bool {
	switch string(method) {
	case "POST", "PUT", "PATCH":
		return true
	}
	return false
}

func appendUpgrade(b []byte, protocol string) ([]byte, *fault) {
	for i := range len(protocol) {
		if c := protocol[i]; lower[c] == 0 && c != '/' {
			return nil, wrongField
		}
	}
	b = append(b, "connection: upgrade\r\nupgrade: "...)
	b = append(b, protocol...)
	return append(b, "\r\n"...), nil
}

// appendFields writes every field that is not of the framing or the connection.
// keepLength lets Content-Length pass where it describes a body that is not
// there (HEAD, 304). te reports "te: trailers".
func appendFields(b []byte, h *http.Head, keepLength bool) (_ []byte, te bool, bad *fault) {
	for i := range h.Slots() {
		f, ok := h.At(i)
		if !ok {
			continue
		}
		switch f.ID {
		case http.Other:
			if !http.ValidName(f.Name) {
				return nil, false, wrongField
			}
		case http.TE:
			te = te || string(f.Value) == "trailers"
			continue
		case http.Connection, http.KeepAlive, http.ProxyConnection, http.TransferEncoding, http.Upgrade, http.Host, http.Expect:
			continue
		case http.ContentLength:
			if !keepLength || http.ParseLength(f.Value) < 0 {
				continue
			}
			keepLength = false
		}
		if !http.ValidValue(f.Value) {
			return nil, false, wrongField
		}
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	return b, te, nil
}

// answer is how a response goes out.
type answer struct {
	framing   mode // modeLength, modeChunked, modeClose, modeTunnel or modeNone
	bodyless  bool // HEAD, 304: the fields describe a body that is not sent
	close     bool
	keepAlive bool   // say so to an HTTP/1.0 client
	key       []byte // of the WebSocket request
}

// appendResponse serialises a response.
func appendResponse(b []byte, h *http.Head, a answer) ([]byte, *fault) {
	if h.Status < 100 || h.Status > 999 {
		return nil, wrongStart
	}
	b = append(b, "HTTP/1.1 "...)
	b = appendInt(b, int64(h.Status))
	b = append(b, ' ')
	b = append(b, reason(h.Status)...)
	b = append(b, "\r\n"...)
	_, declared := h.GetNamed(http.ContentLength)
	b, _, bad := appendFields(b, h, a.bodyless)
	if bad != nil {
		return nil, bad
	}
	switch {
	case a.framing == modeChunked:
		b = append(b, "transfer-encoding: chunked\r\n"...)
	case a.framing == modeLength, a.bodyless && !declared && h.Length > 0:
		b = append(b, "content-length: "...)
		b = append(appendInt(b, max(h.Length, 0)), "\r\n"...)
	}
	switch {
	case a.framing == modeTunnel && h.Status == 101:
		b = appendAccept(b, h, a.key)
		if b, bad = appendUpgrade(b, h.Protocol); bad != nil {
			return nil, bad
		}
	case a.close:
		b = append(b, "connection: close\r\n"...)
	case a.keepAlive:
		b = append(b, "connection: keep-alive\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// appendTrailers ends a chunked body with h's fields; h may be nil.
func appendTrailers(b []byte, h *http.Head) ([]byte, *fault) {
	b = append(b, "0\r\n"...)
	for i := 0; h != nil && i < h.Slots(); i++ {
		f, ok := h.At(i)
		if !ok || http.ForbiddenTrailer(f.ID) {
			continue
		}
		if !http.ValidName(f.Name) || !http.ValidValue(f.Value) {
			return nil, wrongField
		}
		b = append(b, f.Name...)
		b = append(b, ": "...)
		b = append(b, f.Value...)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...), nil
}

// reason returns the phrase of the common statuses; it means nothing, and is
// empty for the others.
func reason(status int) string {
	switch status {
	case 100:
		return "Continue"
	case 101:
		return "Switching Protocols"
	case 103:
		return "Early Hints"
	case 200:
		return "OK"
	case 201:
		return "Created"
	case 202:
		return "Accepted"
	case 204:
		return "No Content"
	case 206:
		return "Partial Content"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 303:
		return "See Other"
	case 304:
		return "Not Modified"
	case 307:
		return "Temporary Redirect"
	case 308:
		return "Permanent Redirect"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 409:
		return "Conflict"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 417:
		return "Expectation Failed"
	case 421:
		return "Misdirected Request"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return ""
}

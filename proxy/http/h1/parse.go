package h1

import (
	"bytes"

	"github.com/leno-mesh/leno/proxy/http"
)

// parseRequest reads the complete request head b into h; names are lowered in
// place in b, values are copied. It follows RFC 9112 to the letter where a
// laxer reading could differ from another program's.
func parseRequest(b []byte, h *http.Head, f *framing, o *ServerOptions) *fault {
	h.Reset()
	*f = framing{}
	line, rest, ok := cutLine(b)
	if !ok {
		return badLineEnd
	}
	method, target, bad := requestLine(line, h)
	if bad != nil {
		return bad
	}
	if h.Version == 0 && !o.AcceptHTTP10 {
		return oldVersion
	}
	if bad := parseFields(rest, h, f, o.Limits.Fields); bad != nil {
		return bad
	}
	h.SetMethod(method)
	h.SetSchemeString(o.Scheme)
	if bad := setTarget(h, f, method, target); bad != nil {
		return bad
	}
	return requestFraming(h, f)
}

// requestLine splits method SP target SP version.
func requestLine(line []byte, h *http.Head) (method, target []byte, bad *fault) {
	i := bytes.IndexByte(line, ' ')
	if i < 0 {
		return nil, nil, badStart
	}
	method = line[:i]
	if !http.ValidToken(method) {
		return nil, nil, badMethod
	}
	j := len(line) - len(" HTTP/1.1")
	if j <= i || line[j] != ' ' {
		return nil, nil, badStart
	}
	if h.Version, bad = parseVersion(line[j+1:]); bad != nil {
		return nil, nil, bad
	}
	return method, line[i+1 : j], nil
}

func parseVersion(s []byte) (minor uint8, bad *fault) {
	switch string(s) {
	case "HTTP/1.1":
		return 1, nil
	case "HTTP/1.0":
		return 0, nil
	}
	if len(s) == 8 && string(s[:5]) == "HTTP/" && digit(s[5]) && s[6] == '.' && digit(s[7]) {
		return 0, badVersion
	}
	return 0, badStart
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// setTarget reads the four forms of RFC 9112, section 3.2, and decides the
// authority: that of the target where it has one, else Host.
func setTarget(h *http.Head, f *framing, method, target []byte) *fault {
	switch {
	case f.hosts > 1:
		return manyHosts
	case f.hosts == 0 && h.Version > 0:
		return noHost
	case f.hosts == 1:
		if !http.ValidAuthority(f.host) {
			return badHost
		}
		toLower(f.host)
	}
	authority, path := f.host, target
	switch {
	case string(method) == "CONNECT":
		if !http.ValidAuthority(target) || bytes.LastIndexByte(target, ':') <= bytes.LastIndexByte(target, ']') {
			return badTarget
		}
		toLower(target)
		authority, path = target, nil
	case string(target) == "*":
		if string(method) != "OPTIONS" {
			return badTarget
		}
	case len(target) > 0 && target[0] != '/':
		var ok bool
		if authority, path, ok = splitAbsolute(target, method); !ok {
			return badTarget
		}
	}
	if path != nil && !http.ValidPath(path) {
		return badTarget
	}
	h.SetAuthority(authority)
	if len(path) > 0 && path[0] == '?' {
		return badTarget
	}
	h.SetPath(path)
	return nil
}

// rootPath and starPath are never written.
var (
	rootPath = []byte("/")
	starPath = []byte("*")
)

// splitAbsolute takes http://authority/path apart. A query needs a path before
// it, which every client sends.
func splitAbsolute(target, method []byte) (authority, path []byte, ok bool) {
	i := bytes.Index(target, []byte("://"))
	if i < 0 || !equalFold(target[:i], "http") && !equalFold(target[:i], "https") {
		return nil, nil, false
	}
	authority = target[i+3:]
	if j := bytes.IndexByte(authority, '/'); j >= 0 {
		authority, path = authority[:j], authority[j:]
	} else if path = rootPath; string(method) == "OPTIONS" {
		path = starPath // RFC 9112, section 3.2.4
	}
	if !http.ValidAuthority(authority) {
		return nil, nil, false
	}
	toLower(authority)
	return authority, path, true
}

// requestFraming decides the length of the body (RFC 9112, section 6.3), and what
// else the framing says.
func requestFraming(h *http.Head, f *framing) *fault {
	switch {
	case f.coded && f.length >= 0:
		return bothFramings
	case f.coded && h.Version == 0:
		return oldCoding
	case f.coded:
		h.Length = -1
	case f.length > 0:
		h.Length = f.length
	}
	if string(h.Method()) == "CONNECT" && h.Length != 0 {
		return connectBody
	}
	h.Close = f.close || h.Version == 0 && !f.keepAlive
	if h.Version == 0 {
		return nil
	}
	h.Expect = f.expect && h.Length != 0
	if f.trailersOK {
		h.AddNamed(http.TE, []byte("trailers"))
	}
	if protocol := f.upgradeTo(); protocol != nil && h.Length == 0 && string(h.Method()) == "GET" {
		h.Protocol = protocolName(protocol)
	}
	return nil
}

// protocolName avoids a copy for the protocol that everybody uses.
func protocolName(s []byte) string {
	if string(s) == "websocket" {
		return "websocket"
	}
	return string(s)
}

// parseResponse reads the complete response head b into h, which answers a
// request with method and protocol.
func parseResponse(b []byte, h *http.Head, f *framing, asked *request, maxFields int) *fault {
	h.Reset()
	*f = framing{}
	line, rest, ok := cutLine(b)
	if !ok {
		return badLineEnd
	}
	// HTTP/1.1 SP 3DIGIT [SP reason]
	if len(line) < 12 || line[8] != ' ' {
		return badStart
	}
	var bad *fault
	if h.Version, bad = parseVersion(line[:8]); bad != nil {
		return bad
	}
	for _, c := range line[9:12] {
		if !digit(c) {
			return badStatus
		}
		h.Status = h.Status*10 + int(c-'0')
	}
	if h.Status < 100 || len(line) > 12 && line[12] != ' ' {
		return badStatus
	}
	if http.HasControl(line[12:]) {
		return badReason
	}
	if bad := parseFields(rest, h, f, maxFields); bad != nil {
		return bad
	}
	return responseFraming(h, f, asked)
}

// responseFraming decides the length of the body in the order of RFC 9112,
// section 6.3.
func responseFraming(h *http.Head, f *framing, asked *request) *fault {
	h.Close = f.close || h.Version == 0 && !f.keepAlive
	if f.coded && f.length >= 0 {
		return bothFramings
	}
	if f.coded && h.Version == 0 {
		return oldCoding
	}
	if h.Status == 101 {
		protocol := f.upgradeTo()
		if protocol == nil || string(protocol) != asked.protocol {
			return badSwitch
		}
		h.Protocol = asked.protocol
		h.Length = -1
		return nil
	}
	switch {
	case h.Status < 200, h.Status == 204:
		// They have no body, so that one that is declared can only
		// disturb what follows (section 6.1 and 6.2).
		h.Close = h.Close || f.coded || f.length > 0
	case asked.connect && h.Status < 300:
		h.Length = -1
	case asked.head, h.Status == 304:
		if f.length >= 0 {
			h.AddNamed(http.ContentLength, appendInt(make([]byte, 0, 20), f.length))
		}
	case f.coded:
		h.Length = -1
	case f.length >= 0:
		h.Length = f.length
	default:
		h.Length = -1
		h.Close = true
	}
	return nil
}

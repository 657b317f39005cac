package h1

import (
	"bytes"

	"github.com/leno-mesh/leno/proxy/http"
)

// framing is what the fields of a head say about its body and its connection.
type framing struct {
	length     int64 // of Content-Length, -1 without one
	chunked    bool
	coded      bool // there was a Transfer-Encoding
	codings    int
	hosts      int
	host       []byte // in the read buffer
	close      bool
	keepAlive  bool
	upgrade    bool   // Connection: upgrade
	protocol   []byte // the only protocol of Upgrade; in the read buffer
	upgrades   int
	expect     bool
	trailersOK bool // TE: trailers
}

const maxOptions = 32 // names in the Connection fields of one head

// parseFields reads field lines up to the empty line that ends b. It lowers names
// in place. Fields of the framing and of the connection go to f and not to h.
func parseFields(b []byte, h *http.Head, f *framing, maxFields int) *fault {
	f.length = -1
	connection := false
	for n := 0; ; n++ {
		line, rest, ok := cutLine(b)
		if !ok {
			return badLineEnd
		}
		if len(line) == 0 {
			break
		}
		if n == maxFields {
			return manyFields
		}
		b = rest
		name, value, drop, bad := splitField(line)
		if bad != nil {
			return bad
		}
		if drop {
			continue
		}
		id := http.Lookup(name)
		keep, bad := f.note(id, value)
		if bad != nil {
			return bad
		}
		switch {
		case !keep:
		case id != http.Other:
			connection = connection || id == http.Connection
			h.AddNamed(id, value)
		default:
			h.Add(name, value)
		}
	}
	if connection {
		return f.options(h)
	}
	return nil
}

// splitField checks one field line. drop is set for a name with an underscore,
// which some servers cannot tell from a hyphen.
func splitField(line []byte) (name, value []byte, drop bool, bad *fault) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, false, badFold
	}
	i := 0
	for ; i < len(line); i++ {
		c := lower[line[i]]
		if c == 0 {
			break
		}
		drop = drop || c == '_'
		line[i] = c
	}
	if i == 0 || i == len(line) || line[i] != ':' {
		return nil, nil, false, badName
	}
	value = trim(line[i+1:])
	if http.HasControl(value) {
		return nil, nil, false, badValue
	}
	return line[:i], value, drop, nil
}

// note takes what a field says about framing and connection, and reports whether
// the field stays in the head for now.
func (f *framing) note(id http.Name, value []byte) (keep bool, bad *fault) {
	switch id {
	case http.ContentLength:
		if f.length >= 0 {
			return false, manyLengths
		}
		if f.length = http.ParseLength(value); f.length < 0 {
			return false, badLength
		}
	case http.TransferEncoding:
		f.coded = true
		f.codings++
		f.chunked = f.codings == 1 && equalFold(value, "chunked")
		if !f.chunked && !hasChunked(value) {
			return false, unknownCoding
		}
		if !f.chunked {
			return false, badCoding
		}
	case http.Host:
		f.hosts++
		f.host = value
	case http.Upgrade:
		f.upgrades++
		f.protocol = value
	case http.Expect:
		if f.expect || !equalFold(value, "100-continue") {
			return false, badExpect
		}
		f.expect = true
	case http.TE:
		for list := value; len(list) > 0; {
			var item []byte
			item, list = cutItem(list)
			f.trailersOK = f.trailersOK || equalFold(item, "trailers")
		}
	case http.KeepAlive, http.ProxyConnection:
	default:
		return true, nil
	}
	return false, nil
}

// hasChunked reports that the value mentions chunked in any form: a coding list
// that could be read as chunked is an attack and not an unknown coding.
func hasChunked(value []byte) bool {
	return bytes.Contains(bytes.ToLower(value), []byte("chunked")) || len(value) == 0
}

// options obeys the Connection fields, and removes them and the fields they name.
func (f *framing) options(h *http.Head) *fault {
	count := 0
	for i := range h.Slots() {
		field, ok := h.At(i)
		if !ok || field.ID != http.Connection {
			continue
		}
		toLower(field.Value)
		for list := field.Value; len(list) > 0; {
			var option []byte
			option, list = cutItem(list)
			if count++; count > maxOptions {
				return badConnection
			}
			switch string(option) {
			case "close":
				f.close = true
			case "keep-alive":
				f.keepAlive = true
			case "upgrade":
				f.upgrade = true
			case "":
			default:
				if !protected(option) {
					h.Del(string(option))
				}
			}
		}
	}
	h.DelNamed(http.Connection)
	return nil
}

// protected reports that Connection may not remove the fields of this name: they
// say who asks for what, and a client must not be able to take that away.
func protected(name []byte) bool {
	switch http.Lookup(name) {
	case http.Authorization, http.CacheControl, http.ContentEncoding, http.ContentType, http.Cookie, http.GRPCStatus,
		http.GRPCTimeout, http.Location, http.Origin, http.ProxyAuthorization, http.SetCookie, http.TraceParent,
		http.TraceState, http.Via, http.XForwardedClientCert, http.XForwardedFor, http.XForwardedHost,
		http.XForwardedProto, http.XRequestID:
		return true
	}
	return bytes.HasPrefix(name, []byte("x-forwarded-")) || bytes.HasPrefix(name, []byte("x-leno-")) ||
		bytes.HasPrefix(name, []byte("x-envoy-")) || string(name) == "forwarded" || string(name) == "x-real-ip"
}

// upgradeTo returns the protocol that the head asks for or grants: one name, and
// not h2c, which is spoken by prior knowledge only.
func (f *framing) upgradeTo() []byte {
	if !f.upgrade || f.upgrades != 1 || !http.ValidToken(f.protocol) && !validProtocol(f.protocol) {
		return nil
	}
	toLower(f.protocol)
	if string(f.protocol) == "h2c" || string(f.protocol) == "h2" {
		return nil
	}
	return f.protocol
}

// validProtocol reports that s is name "/" version.
func validProtocol(s []byte) bool {
	i := bytes.IndexByte(s, '/')
	return i > 0 && http.ValidToken(s[:i]) && http.ValidToken(s[i+1:])
}

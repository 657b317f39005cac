// Package http holds what HTTP/1 and HTTP/2 have in common: the message head,
// the stream of one exchange, and the rules that every message obeys. It never
// touches a connection; its codecs are proxy/http/h1 and proxy/http/h2.
package http

import "bytes"

// Head is the head (or the trailers) of one message, whatever the protocol.
// Its strings live in one arena that grows to the largest head seen and is then
// reused: after Reset nothing that was read from the Head is valid. A Head is
// not safe for concurrent use.
type Head struct {
	// Status is the response status, 0 in a request.
	Status int
	// Length is the body's length in bytes as the head declares it: 0 is no
	// body at all, -1 a body that ends by its framing alone.
	Length int64
	// Protocol is the upgrade that a request asks for or a 101 response
	// grants, lower case ("websocket"): HTTP/1.1 Upgrade or RFC 8441's
	// :protocol. Empty for ordinary messages.
	Protocol string
	// Close says that the peer will not reuse its connection after this
	// message (HTTP/1.0 or Connection: close). Only h1 reads and writes it.
	Close bool
	// Expect says that the client waits for 100 Continue before its body.
	Expect bool
	// Version is the HTTP/1 minor version read (0 or 1); h2 sets 2.
	Version uint8

	method, scheme, authority, path span
	fields                          []field
	arena                           []byte
	size                            int // bytes of known names, which are not in the arena
}

type span struct{ from, to uint32 }

type field struct {
	id          Name
	dead        bool
	name, value span
}

// Reset empties the Head and keeps its memory.
func (h *Head) Reset() {
	fields, arena := h.fields[:0], h.arena[:0]
	*h = Head{fields: fields, arena: arena}
}

func (h *Head) put(s []byte) span {
	from := uint32(len(h.arena))
	h.arena = append(h.arena, s...)
	return span{from, uint32(len(h.arena))}
}

func (h *Head) putString(s string) span {
	from := uint32(len(h.arena))
	h.arena = append(h.arena, s...)
	return span{from, uint32(len(h.arena))}
}

func (h *Head) get(s span) []byte { return h.arena[s.from:s.to:s.to] }

// Method, Scheme, Authority and Path are a request's pseudo-fields (RFC 9113,
// section 8.3.1). Path holds the query too; it is "*" or begins with "/", and is
// empty for CONNECT. Authority is host or host:port, lower case.
func (h *Head) Method() []byte    { return h.get(h.method) }
func (h *Head) Scheme() []byte    { return h.get(h.scheme) }
func (h *Head) Authority() []byte { return h.get(h.authority) }
func (h *Head) Path() []byte      { return h.get(h.path) }

func (h *Head) SetMethod(s []byte)    { h.method = h.put(s) }
func (h *Head) SetScheme(s []byte)    { h.scheme = h.put(s) }
func (h *Head) SetAuthority(s []byte) { h.authority = h.put(s) }
func (h *Head) SetPath(s []byte)      { h.path = h.put(s) }

func (h *Head) SetMethodString(s string)    { h.method = h.putString(s) }
func (h *Head) SetSchemeString(s string)    { h.scheme = h.putString(s) }
func (h *Head) SetAuthorityString(s string) { h.authority = h.putString(s) }
func (h *Head) SetPathString(s string)      { h.path = h.putString(s) }

// Len returns the number of fields.
func (h *Head) Len() int {
	n := 0
	for i := range h.fields {
		if !h.fields[i].dead {
			n++
		}
	}
	return n
}

// Size returns the bytes of all names and values ever added, each field counted
// with 32 more as HPACK does (RFC 7541, section 4.1).
func (h *Head) Size() int { return h.size + len(h.arena) + 32*len(h.fields) }

// Add appends a field. The name must be lower case and valid; codecs check what
// they read, everybody else passes constants.
func (h *Head) Add(name, value []byte) {
	if id := Lookup(name); id != Other {
		h.AddNamed(id, value)
		return
	}
	h.fields = append(h.fields, field{name: h.put(name), value: h.put(value)})
}

// AddString is Add for strings.
func (h *Head) AddString(name, value string) {
	if id := lookupString(name); id != Other {
		h.size += len(name)
		h.fields = append(h.fields, field{id: id, value: h.putString(value)})
		return
	}
	h.fields = append(h.fields, field{name: h.putString(name), value: h.putString(value)})
}

// AddNamed appends a field with a known name.
func (h *Head) AddNamed(id Name, value []byte) {
	h.size += len(names[id])
	h.fields = append(h.fields, field{id: id, value: h.put(value)})
}

// SetNamed removes every field of the known name and appends one.
func (h *Head) SetNamed(id Name, value []byte) {
	h.DelNamed(id)
	h.AddNamed(id, value)
}

// Set removes every field of that name and appends one.
func (h *Head) Set(name, value string) {
	h.Del(name)
	h.AddString(name, value)
}

// Del removes every field of that lower-case name.
func (h *Head) Del(name string) {
	if id := lookupString(name); id != Other {
		h.DelNamed(id)
		return
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.id == Other && string(h.get(f.name)) == name {
			f.dead = true
		}
	}
}

// DelNamed removes every field of the known name.
func (h *Head) DelNamed(id Name) {
	for i := range h.fields {
		if h.fields[i].id == id {
			h.fields[i].dead = true
		}
	}
}

// Get returns the first value of a lower-case name, and whether there is one.
func (h *Head) Get(name string) ([]byte, bool) {
	if id := lookupString(name); id != Other {
		return h.GetNamed(id)
	}
	for i := range h.fields {
		f := &h.fields[i]
		if f.id == Other && !f.dead && string(h.get(f.name)) == name {
			return h.get(f.value), true
		}
	}
	return nil, false
}

// GetNamed returns the first value of a known name, and whether there is one.
func (h *Head) GetNamed(id Name) ([]byte, bool) {
	for i := range h.fields {
		f := &h.fields[i]
		if f.id == id && !f.dead {
			return h.get(f.value), true
		}
	}
	return nil, false
}

// Field is a view of one field, valid until the Head is changed or reset.
type Field struct {
	ID          Name
	Name, Value []byte
}

// At returns the i-th field of those ever added; ok is false for a removed one.
// Range it with Slots, which counts the removed ones too:
//
//	for i := range h.Slots() {
//		if f, ok := h.At(i); ok { … }
//	}
func (h *Head) At(i int) (f Field, ok bool) {
	s := &h.fields[i]
	if s.dead {
		return Field{}, false
	}
	f = Field{ID: s.id, Value: h.get(s.value)}
	if s.id == Other {
		f.Name = h.get(s.name)
	} else {
		f.Name = names[s.id]
	}
	return f, true
}

// Slots returns the bound for At.
func (h *Head) Slots() int { return len(h.fields) }

// Drop removes the i-th field.
func (h *Head) Drop(i int) { h.fields[i].dead = true }

// CopyFrom makes h a copy of src that shares no memory with it.
func (h *Head) CopyFrom(src *Head) {
	fields, arena := h.fields[:0], h.arena[:0]
	*h = *src
	h.fields = append(fields, src.fields...)
	h.arena = append(arena, src.arena...)
}

// Host returns the authority without its port.
func (h *Head) Host() []byte {
	a := h.Authority()
	i := bytes.LastIndexByte(a, ':')
	if i < 0 || bytes.IndexByte(a[i:], ']') >= 0 {
		return a
	}
	return a[:i]
}

// PathOnly returns the path without its query.
func (h *Head) PathOnly() []byte {
	p := h.Path()
	if i := bytes.IndexByte(p, '?'); i >= 0 {
		return p[:i]
	}
	return p
}

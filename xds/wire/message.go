// Package wire reads and writes the part of Envoy's v3 API that Leno supports,
// and Leno's own agent API, without the protobuf runtime, which would cost a
// proxy more memory than everything else it is made of.
//
// The messages are plain structs generated from fields.txt: pointers for
// messages, for google.protobuf wrappers and durations, and for the scalar
// members of a oneof, of which at most one is set. A google.protobuf.Any is
// resolved while it is read; a google.protobuf.Struct is a map[string]any.
//
// Nothing that is set and not supported is passed over in silence: reading
// returns a Report that names each such field by its path.
package wire

//go:generate go run github.com/leno-mesh/leno/tools/wiregen

import "strings"

// Message is one of this package's structs, by pointer. It is not safe for
// concurrent use while it is read into.
type Message interface {
	schema() *schema
	// at returns a pointer to the storage of field i: scalars, Structs, maps.
	at(i int) any
	// child returns the kth message of field i, or nil.
	child(i, k int) Message
	// grow returns the message of field i, made if absent, and -1; or a new
	// last element of the repeated field and its index.
	grow(i int) (Message, int)
	// drop clears field i, a member of a oneof.
	drop(i int)
}

// schema describes a message: the fields that are read, in the order of their
// numbers, and the names of all others.
type schema struct {
	name     string
	fields   []field
	harmless string // "NUMBER NAME" pairs, separated by single spaces
	refused  string // likewise
}

type field struct {
	number  int32
	name    string
	kind    kind
	many    bool  // repeated
	wrapped bool  // a google.protobuf wrapper around kind
	secret  bool  // redacted in dumps
	raw     bool  // an Any that is not resolved
	oneof   uint8 // fields of one oneof share a number above 0
	enum    *enum
}

type kind uint8

const (
	kindString kind = iota
	kindBytes
	kindBool
	kindInt32
	kindInt64
	kindUint32
	kindUint64
	kindDouble
	kindEnum
	kindDuration
	kindStruct
	kindMessage
	kindStringMap  // map[string]string
	kindStructMap  // map[string]map[string]any
	kindMessageMap // a mapping
)

func (k kind) isMap() bool { return k >= kindStringMap }

// maxDepth bounds how deep messages may nest.
const maxDepth = 100

// byNumber returns the index of a field, or -1. The search starts at hint,
// because encoders write fields in order.
func (s *schema) byNumber(number int32, hint int) int {
	for i := hint; i < len(s.fields); i++ {
		if s.fields[i].number == number {
			return i
		}
	}
	for i := range min(hint, len(s.fields)) {
		if s.fields[i].number == number {
			return i
		}
	}
	return -1
}

// byName returns the index of a field by its snake_case or lowerCamel name, or
// -1.
func (s *schema) byName(name string) int {
	for i := range s.fields {
		if sameName(s.fields[i].name, name) {
			return i
		}
	}
	return -1
}

// sameName tells whether name is field, or field in lowerCamel.
func sameName(field, name string) bool {
	if field == name {
		return true
	}
	k := 0
	for i := 0; i < len(field); i++ {
		c := field[i]
		if c == '_' && i+1 < len(field) {
			i++
			c = field[i]
			if 'a' <= c && c <= 'z' {
				c -= 'a' - 'A'
			}
		}
		if k == len(name) || name[k] != c {
			return false
		}
		k++
	}
	return k == len(name)
}

// pairs calls yield for each "NUMBER NAME" of a list until it returns false.
func pairs(list string, yield func(number, name string) bool) {
	for list != "" {
		var number, name string
		number, list, _ = strings.Cut(list, " ")
		name, list, _ = strings.Cut(list, " ")
		if !yield(number, name) {
			return
		}
	}
}

// mapping is a map of messages.
type mapping interface {
	keys() []string
	value(key string) Message
	put(key string) Message
}

// pointer is a pointer to a generated struct.
type pointer[T any] interface {
	*T
	Message
}

type mapOf[T any, P pointer[T]] struct{ m *map[string]P }

func (o mapOf[T, P]) keys() []string { return sortedKeys(*o.m) }

func (o mapOf[T, P]) value(key string) Message { return (*o.m)[key] }

func (o mapOf[T, P]) put(key string) Message {
	if *o.m == nil {
		*o.m = make(map[string]P)
	}
	v := P(new(T))
	(*o.m)[key] = v
	return v
}

// one and many serve child; made and added serve grow.

func one[P interface {
	comparable
	Message
}](p P, k int) Message {
	var none P
	if k != 0 || p == none {
		return nil
	}
	return p
}

func many[P Message](list []P, k int) Message {
	if k >= len(list) {
		return nil
	}
	return list[k]
}

func made[T any, P pointer[T]](p *P) (Message, int) {
	if *p == nil {
		*p = new(T)
	}
	return *p, -1
}

func added[T any, P pointer[T]](list *[]P) (Message, int) {
	v := P(new(T))
	*list = append(*list, v)
	return v, len(*list) - 1
}

// set clears the other members of field i's oneof.
func set(m Message, s *schema, i int) {
	oneof := s.fields[i].oneof
	if oneof == 0 {
		return
	}
	for j := range s.fields {
		if j != i && s.fields[j].oneof == oneof {
			m.drop(j)
		}
	}
}

// Name returns the full protobuf name of a message.
func Name(m Message) string { return m.schema().name }

// TypeURL returns the type URL of a message.
func TypeURL(m Message) string { return typePrefix + m.schema().name }

// New returns an empty message for a type URL that may stand in an Any or name
// a resource, or nil.
func New(typeURL string) Message {
	slash := strings.LastIndexByte(typeURL, '/')
	if slash < 0 {
		return nil
	}
	return newMessage(typeURL[slash+1:])
}

const typePrefix = "type.googleapis.com/"

package wire

// Any is a google.protobuf.Any. Where it was resolved, Message is set and Value
// is nil. In a discovery response it is left unresolved: Value then aliases the
// bytes that were given to Unmarshal. An Any of an unknown type, which the
// Report names, has neither.
type Any struct {
	TypeURL string
	Value   []byte
	Message Message
}

var schemaAny = schema{
	name: "google.protobuf.Any",
	fields: []field{
		{number: 1, name: "type_url", kind: kindString},
		{number: 2, name: "value", kind: kindBytes},
	},
}

func (m *Any) schema() *schema { return &schemaAny }

func (m *Any) at(i int) any {
	if i == 0 {
		return &m.TypeURL
	}
	return &m.Value
}

func (m *Any) child(int, int) Message { return nil }

func (m *Any) grow(int) (Message, int) { return nil, -1 }

func (m *Any) drop(int) {}

// Pack wraps a message.
func Pack(m Message) *Any { return &Any{TypeURL: TypeURL(m), Message: m} }

package xds

import "strings"

// Rejection says why a client did not take one resource.
type Rejection struct {
	Name   string
	Detail string
}

// maxDetail bounds what is kept of a client's words, in bytes.
const maxDetail = 4096

// formatRejections writes a NACK's message: one line "NAME: DETAIL" for each
// refused resource, which attributeRejections reads back.
func formatRejections(rejected []Rejection) string {
	var b strings.Builder
	for i, r := range rejected {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(r.Name)
		b.WriteString(": ")
		b.WriteString(strings.ReplaceAll(r.Detail, "\n", " "))
	}
	return b.String()
}

// attributeRejections finds which of the response's resources a NACK is about.
// A delta client may take some resources of a response and refuse others, and
// the protocol leaves it to the message to tell which. Lines that begin with a
// name speak of that resource; a message that only mentions names (as Envoy's
// do) speaks of those with all its text; one that mentions none, of all.
func attributeRejections(message string, names []string) map[string]string {
	if len(message) > maxDetail {
		message = strings.ToValidUTF8(message[:maxDetail], "") + "…"
	}
	sent := make(map[string]bool, len(names))
	for _, name := range names {
		sent[name] = true
	}
	found := make(map[string]string)
	for line := range strings.SplitSeq(message, "\n") {
		if name, detail, ok := strings.Cut(line, ": "); ok && sent[name] {
			found[name] = detail
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, name := range names {
		if mentions(message, name) {
			found[name] = message
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, name := range names {
		found[name] = message
	}
	return found
}

// mentions reports that message holds name as a whole, so that shop/cart/80 is
// not found in shop/cart/8080.
func mentions(message, name string) bool {
	for rest, start := message, 0; ; {
		i := strings.Index(rest[start:], name)
		if i < 0 {
			return false
		}
		i += start
		before, after := i == 0 || !nameByte(rest[i-1]), true
		if end := i + len(name); end < len(rest) {
			after = !nameByte(rest[end])
		}
		if before && after {
			return true
		}
		start = i + 1
	}
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '/' || c == '-' || c == '_'
}

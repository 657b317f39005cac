package wire

import (
	"strconv"
	"strings"
)

// Report says what of a message was set and not taken over. Paths are of proto
// names: virtual_hosts[0].routes[2].route.retry_policy. Each list holds at most
// 64 paths.
type Report struct {
	// Unsupported fields, values and types change what the configuration
	// means; whoever gets one must refuse the whole.
	Unsupported []string
	// Ignored fields are on the published list of harmless ones.
	Ignored []string
}

const maxReported = 64

// unsupported records a name below p; note says what is wrong with it, if it is
// not merely set.
func (r *Report) unsupported(p path, name, note string) {
	if len(r.Unsupported) < maxReported {
		r.Unsupported = append(r.Unsupported, p.with(name)+note)
	}
}

func (r *Report) ignored(p path, name string) {
	if len(r.Ignored) < maxReported {
		r.Ignored = append(r.Ignored, p.with(name))
	}
}

// path leads from the message that is read to where the reader is.
type path []step

type step struct {
	name  string
	index int // of a repeated field, or -1
	key   string
	keyed bool // of a map
}

// with returns the path as text, with one more name.
func (p path) with(name string) string {
	var b strings.Builder
	steps := p
	if name != "" {
		steps = append(p[:len(p):len(p)], step{name: name, index: -1})
	}
	for _, s := range steps {
		if b.Len() > 0 && s.name != "" {
			b.WriteByte('.')
		}
		b.WriteString(s.name)
		if s.index >= 0 {
			b.WriteByte('[')
			b.WriteString(strconv.Itoa(s.index))
			b.WriteByte(']')
		}
		if s.keyed {
			b.WriteByte('[')
			b.WriteString(strconv.Quote(shorten(s.key, 100)))
			b.WriteByte(']')
		}
	}
	return b.String()
}

func (p path) String() string { return p.with("") }

// shorten cuts text that is to be quoted to about n bytes.
func shorten(s string, n int) string {
	if len(s) > n {
		s = strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

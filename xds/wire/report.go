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

func (r *Report) unsupported(path string) {
	if len(r.Unsupported) < maxReported {
		r.Unsupported = append(r.Unsupported, path)
	}
}

func (r *Report) ignored(path string) {
	if len(r.Ignored) < maxReported {
		r.Ignored = append(r.Ignored, path)
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
	for _, s := range append(p[:len(p):len(p)], step{name: name, index: -1}) {
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
			b.WriteString(strconv.Quote(s.key))
			b.WriteByte(']')
		}
	}
	return b.String()
}

func (p path) String() string { return p.with("") }

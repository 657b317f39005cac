package agent

import (
	"maps"
	"slices"
	"strconv"

	"github.com/leno-mesh/leno/xds/wire"
)

// appendSection appends {"kind":…,"resources":[{"name":…,"resource":…}]}; a
// resource that does not exist has none.
func appendSection[T any, P message[T]](b []byte, kind string, resources map[string]P) []byte {
	b = append(b, `{"kind":`...)
	b = strconv.AppendQuote(b, kind)
	b = append(b, `,"resources":[`...)
	for i, name := range slices.Sorted(maps.Keys(resources)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"name":`...)
		b = appendJSONString(b, name)
		if m := resources[name]; m != nil {
			b = append(b, `,"resource":`...)
			b = wire.AppendJSON(b, m)
		} else {
			b = append(b, `,"absent":true`...)
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// appendJSONString appends a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == 0x7f:
			b = append(b, `\u00`...)
			b = append(b, "0123456789abcdef"[r>>4], "0123456789abcdef"[r&15])
		default:
			b = append(b, string(r)...)
		}
	}
	return append(b, '"')
}

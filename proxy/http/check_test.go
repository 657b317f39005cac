package http

import (
	"bytes"
	"testing"
)

// Eight bytes are looked at together: every place in and around such a group
// must count, with every neighbour.
func TestControlCharactersAreFoundWhereverTheyStand(t *testing.T) {
	for length := range 27 {
		for at := range length {
			for c := range 256 {
				for _, fill := range []byte{' ', '\t', 'x', 0x80, 0xff} {
					s := bytes.Repeat([]byte{fill}, length)
					s[at] = byte(c)
					if got, want := HasControl(s), c < ' ' && c != '\t' || c == 0x7f; got != want {
						t.Fatalf("HasControl(%q) = %v, want %v", s, got, want)
					}
				}
			}
		}
	}
}

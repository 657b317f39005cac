package api

import (
	"fmt"
	"strings"
)

// FieldError is one thing that is wrong with a file.
type FieldError struct {
	Source  string // file name
	Line    int    // 0 when unknown
	Object  string // KIND/NAMESPACE/NAME as far as known, or ""
	Path    string // field, such as spec.rules[0].matches[1].path; "" for the object itself
	Message string
}

// Error returns FILE:LINE: OBJECT: PATH: MESSAGE.
func (e FieldError) Error() string {
	var b strings.Builder
	b.WriteString(e.Source)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	for _, part := range []string{e.Object, e.Path, e.Message} {
		if part != "" {
			if b.Len() > 0 {
				b.WriteString(": ")
			}
			b.WriteString(part)
		}
	}
	return b.String()
}

// Errors is everything that is wrong with a file, in the order of its lines.
type Errors []FieldError

// Error returns one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

package plan

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/xds/wire"
)

// Substitution replaces every match of an expression in a path.
type Substitution struct {
	expression *regexp.Regexp
	template   []byte // in the syntax of Regexp.Expand
}

// Append appends path, which has no query, to dst with every match replaced.
func (s *Substitution) Append(dst, path []byte) []byte {
	return append(dst, s.expression.ReplaceAll(path, s.template)...)
}

// maxExpression bounds the expression and the replacement in bytes.
const maxExpression = 4 << 10

// substitution compiles Envoy's RegexMatchAndSubstitute: RE2, and \0 to \9 in the
// replacement. It returns nil for nil.
func substitution(w *wire.RegexMatchAndSubstitute) (*Substitution, error) {
	if w == nil {
		return nil, nil
	}
	if w.Pattern == nil || w.Pattern.Regex == "" {
		return nil, fmt.Errorf("pattern.regex: is missing")
	}
	if len(w.Pattern.Regex)+len(w.Substitution) > maxExpression {
		return nil, fmt.Errorf("pattern.regex: is longer than %d bytes", maxExpression)
	}
	expression, err := regexp.Compile(w.Pattern.Regex)
	if err != nil {
		return nil, fmt.Errorf("pattern.regex: %w", err)
	}
	var template strings.Builder
	for i := 0; i < len(w.Substitution); i++ {
		switch c := w.Substitution[i]; {
		case c == '\\' && i+1 < len(w.Substitution) && w.Substitution[i+1] == '\\':
			i++
			template.WriteByte('\\')
		case c == '\\' && i+1 < len(w.Substitution) && '0' <= w.Substitution[i+1] && w.Substitution[i+1] <= '9':
			i++
			if group := int(w.Substitution[i] - '0'); group > expression.NumSubexp() {
				return nil, fmt.Errorf("substitution: the expression has no group %d", group)
			}
			template.WriteString("${" + w.Substitution[i:i+1] + "}")
		case c == '\\':
			return nil, fmt.Errorf("substitution: a backslash stands before a digit or another backslash")
		case c == '$':
			template.WriteString("$$")
		case !http.ValidPath([]byte{'/', c}):
			return nil, fmt.Errorf("substitution: %q is no part of a path", w.Substitution)
		default:
			template.WriteByte(c)
		}
	}
	return &Substitution{expression, []byte(template.String())}, nil
}

// Package route decides which route a request takes, by the rules of Envoy's
// route configuration: the virtual host whose domain fits best, then the first
// of its routes that matches. A Table is immutable and knows nothing of what it
// maps to.
package route

import (
	"errors"
	"fmt"
	"strings"

	"github.com/leno-mesh/leno/proxy/match"
)

// Config is a route configuration.
type Config[T any] struct {
	Hosts []Host[T]
	// IgnorePort compares domains with the authority without its port.
	// Otherwise a request for host:port needs a domain that says so.
	IgnorePort bool
}

// Host is a virtual host. Its domains are an exact name, *suffix, prefix* or *;
// an exact one wins over a suffix, a suffix over a prefix, a longer one over a
// shorter one. No domain may occur twice in a table.
type Host[T any] struct {
	Name    string
	Domains []string
	Routes  []Route[T]
}

// Route maps the requests that match to a value. The name is for errors.
type Route[T any] struct {
	Name  string
	Match Match
	Value T
}

// Match says which requests a route takes: all conditions have to hold. At most
// one of Prefix, Path, PathSeparatedPrefix, Regex and Connect may be set; with
// none of them any path matches. They see the path without its query.
type Match struct {
	Prefix string
	Path   string
	// PathSeparatedPrefix matches whole segments: /a takes /a and /a/b, not /ab.
	PathSeparatedPrefix string
	// Regex is RE2 and has to match the whole path.
	Regex string
	// Connect takes CONNECT requests, which no other path condition takes
	// unless they have a path (RFC 8441).
	Connect bool
	// CaseSensitive is true where it is nil. It does not concern Regex.
	CaseSensitive *bool

	Headers []match.HeaderRule
	Query   []QueryMatch
	// GRPC takes only requests whose content type is gRPC's.
	GRPC bool
	// Fraction takes only a random part of the requests; nil takes all.
	Fraction *Fraction
}

// QueryMatch tests the first parameter of that name. Names and values are
// compared as they stand in the path, undecoded, as in Envoy.
type QueryMatch struct {
	Name string
	// Present asks only that the parameter is there; Rule is then not used.
	Present bool
	Rule    match.Rule
}

// Fraction is a part of all requests.
type Fraction struct{ Numerator, Denominator uint32 }

// Holds reports whether a random number falls into the fraction: of any
// Denominator consecutive numbers exactly Numerator do.
func (f Fraction) Holds(random uint64) bool {
	return f.Denominator != 0 && random%uint64(f.Denominator) < uint64(f.Numerator)
}

// rule is a compiled Match.
type rule[T any] struct {
	kind    pathKind
	path    string
	fold    bool
	regex   *match.String
	headers []*match.Header
	query   []query
	grpc    bool
	part    *Fraction
	value   T
}

type pathKind uint8

const (
	anyPath pathKind = iota
	prefixPath
	exactPath
	segmentPath
	regexPath
	connect
)

type query struct {
	name string
	text *match.String // nil: present is enough
}

func compile[T any](r *Route[T]) (rule[T], error) {
	m := &r.Match
	c := rule[T]{grpc: m.GRPC, value: r.Value, fold: m.CaseSensitive != nil && !*m.CaseSensitive}
	if err := c.compilePath(m); err != nil {
		return c, err
	}
	for _, h := range m.Headers {
		ch, err := h.Compile()
		if err != nil {
			return c, err
		}
		c.headers = append(c.headers, ch)
	}
	for _, q := range m.Query {
		if q.Name == "" {
			return c, errors.New("the name of a query parameter is empty")
		}
		cq := query{name: q.Name}
		if !q.Present {
			text, err := q.Rule.Compile()
			if err != nil {
				return c, fmt.Errorf("query parameter %q: %w", q.Name, err)
			}
			cq.text = text
		}
		c.query = append(c.query, cq)
	}
	if m.Fraction != nil {
		if m.Fraction.Denominator == 0 {
			return c, errors.New("the denominator of the fraction is 0")
		}
		f := *m.Fraction
		c.part = &f
	}
	return c, nil
}

func (c *rule[T]) compilePath(m *Match) error {
	set := 0
	use := func(kind pathKind, path string) {
		c.kind, c.path = kind, path
		set++
	}
	if m.Prefix != "" {
		use(prefixPath, m.Prefix)
	}
	if m.Path != "" {
		use(exactPath, m.Path)
	}
	if m.PathSeparatedPrefix != "" {
		use(segmentPath, m.PathSeparatedPrefix)
	}
	if m.Regex != "" {
		use(regexPath, "")
	}
	if m.Connect {
		use(connect, "")
	}
	if set > 1 {
		return errors.New("it has more than one path condition")
	}
	switch c.kind {
	case prefixPath, exactPath, segmentPath:
		if strings.ContainsAny(c.path, "?#") {
			return fmt.Errorf("the path %q has a ? or #, which paths are compared without", c.path)
		}
		if c.kind == segmentPath && strings.HasSuffix(c.path, "/") {
			return fmt.Errorf("the path-separated prefix %q ends with a slash, leave it out", c.path)
		}
		if c.fold {
			c.path = strings.ToLower(c.path)
		}
	case regexPath:
		text, err := match.Rule{Op: match.Regex, Value: m.Regex}.Compile()
		if err != nil {
			return err
		}
		c.regex = text
		c.path = literalPrefix(m.Regex)
	}
	return nil
}

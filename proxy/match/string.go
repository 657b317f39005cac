// Package match tests strings and header fields as Envoy's matchers do. Rules
// are compiled once; a match allocates nothing, except for a field that occurs
// several times, whose values are joined first.
package match

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Op says how a value is compared.
type Op uint8

// The comparisons. Regex is RE2 and must match the whole value.
const (
	Exact Op = iota
	Prefix
	Suffix
	Contains
	Regex
	// Present and Range are for header fields only.
	Present
	Range
)

// maxRegex bounds the length of an expression, which bounds what compiling
// and running it costs.
const maxRegex = 4096

// Rule is a comparison as configured.
type Rule struct {
	Op         Op
	Value      string
	IgnoreCase bool // ASCII case; not for Regex, which has (?i)
}

// String is a compiled Rule.
type String struct {
	op    Op
	fold  bool
	value string // lower case if fold
	regex *regexp.Regexp
}

// Compile checks and compiles the rule.
func (r Rule) Compile() (*String, error) {
	s := &String{op: r.Op, fold: r.IgnoreCase, value: r.Value}
	switch r.Op {
	case Exact:
	case Prefix, Suffix, Contains:
		if r.Value == "" {
			return nil, errors.New("compile string match: the prefix, suffix or part to look for is empty")
		}
	case Regex:
		if r.IgnoreCase {
			return nil, errors.New("compile string match: ignoring case does not apply to a regular expression, write (?i) in it")
		}
		re, err := CompileRegex(r.Value)
		if err != nil {
			return nil, err
		}
		s.regex = re
	default:
		return nil, errors.New("compile string match: the comparison is not one for strings")
	}
	if s.fold {
		s.value = lower(s.value)
	}
	return s, nil
}

// CompileRegex compiles an expression that has to match a whole value.
func CompileRegex(expr string) (*regexp.Regexp, error) {
	if len(expr) > maxRegex {
		return nil, fmt.Errorf("compile regular expression: it has %d bytes, at most %d are allowed", len(expr), maxRegex)
	}
	if _, err := regexp.Compile(expr); err != nil {
		return nil, fmt.Errorf("compile regular expression %q: %w", expr, err)
	}
	return regexp.Compile(`\A(?:` + expr + `)\z`)
}

// Exact returns the one value that matches, if there is only one.
func (s *String) Exact() (string, bool) { return s.value, s.op == Exact && !s.fold }

// Prefix returns what every match begins with, "" where nothing is known.
func (s *String) Prefix() string {
	if s.fold || s.op != Exact && s.op != Prefix {
		return ""
	}
	return s.value
}

// Match reports whether v matches.
func (s *String) Match(v []byte) bool {
	switch s.op {
	case Exact:
		return len(v) == len(s.value) && s.equal(v)
	case Prefix:
		return len(v) >= len(s.value) && s.equal(v[:len(s.value)])
	case Suffix:
		return len(v) >= len(s.value) && s.equal(v[len(v)-len(s.value):])
	case Contains:
		return s.contains(v)
	case Regex:
		return s.regex.Match(v)
	}
	return false
}

// MatchString is Match for strings.
func (s *String) MatchString(v string) bool {
	switch s.op {
	case Exact:
		return len(v) == len(s.value) && s.equalString(v)
	case Prefix:
		return len(v) >= len(s.value) && s.equalString(v[:len(s.value)])
	case Suffix:
		return len(v) >= len(s.value) && s.equalString(v[len(v)-len(s.value):])
	case Regex:
		return s.regex.MatchString(v)
	case Contains:
		for i := 0; i+len(s.value) <= len(v); i++ {
			if s.equalString(v[i : i+len(s.value)]) {
				return true
			}
		}
	}
	return false
}

func (s *String) contains(v []byte) bool {
	if !s.fold {
		return indexString(v, s.value) >= 0
	}
	for i := 0; i+len(s.value) <= len(v); i++ {
		if s.equal(v[i : i+len(s.value)]) {
			return true
		}
	}
	return false
}

// equal compares v, which is as long as the value.
func (s *String) equal(v []byte) bool {
	if !s.fold {
		return string(v) == s.value
	}
	for i := range v {
		if lowerByte(v[i]) != s.value[i] {
			return false
		}
	}
	return true
}

func (s *String) equalString(v string) bool {
	if !s.fold {
		return v == s.value
	}
	for i := range len(v) {
		if lowerByte(v[i]) != s.value[i] {
			return false
		}
	}
	return true
}

// indexString is bytes.Index for a string that is not empty.
func indexString(v []byte, part string) int {
	for from := 0; ; {
		i := bytes.IndexByte(v[from:], part[0])
		if i < 0 || from+i+len(part) > len(v) {
			return -1
		}
		from += i
		if string(v[from:from+len(part)]) == part {
			return from
		}
		from++
	}
}

// lower folds ASCII letters alone: names and hosts are ASCII, and other bytes
// must not change their length.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

func lowerByte(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

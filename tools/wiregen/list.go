package main

import (
	"fmt"
	"strconv"
	"strings"
)

// entry is one message of the list.
type entry struct {
	line     int
	name     string // full proto name
	goName   string // if not protoc's
	anyable  bool   // may stand in an Any
	root     bool   // no other message leads to it
	declared bool   // by hand; declares holds all its fields

	all      bool
	fields   []string
	harmless []string
	raw      []string
	secret   []string
	declares []declaredField
}

type declaredField struct {
	name     string
	number   int32
	typeName string
}

// parse reads the list; its syntax is described at its head.
func parse(text string) ([]*entry, error) {
	var entries []*entry
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if !strings.HasPrefix(line, " ") {
			e, err := parseHead(words)
			if err == nil && seen[e.name] {
				err = fmt.Errorf("%s is listed twice", e.name)
			}
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", i+1, err)
			}
			seen[e.name] = true
			e.line = i + 1
			entries = append(entries, e)
			continue
		}
		if len(entries) == 0 {
			return nil, fmt.Errorf("line %d: a field before the first message", i+1)
		}
		if err := entries[len(entries)-1].parseFields(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return entries, nil
}

func parseHead(words []string) (*entry, error) {
	if len(words) < 2 || words[0] != "message" && words[0] != "declare" {
		return nil, fmt.Errorf("want message NAME or declare NAME")
	}
	e := &entry{name: words[1], declared: words[0] == "declare"}
	for rest := words[2:]; len(rest) > 0; {
		switch {
		case rest[0] == "any":
			e.anyable = true
			rest = rest[1:]
		case rest[0] == "root":
			e.root = true
			rest = rest[1:]
		case rest[0] == "as" && len(rest) > 1:
			e.goName = rest[1]
			rest = rest[2:]
		default:
			return nil, fmt.Errorf("unknown word %q", rest[0])
		}
	}
	return e, nil
}

func (e *entry) parseFields(words []string) error {
	if e.declared {
		return e.parseDeclared(words)
	}
	switch words[0] {
	case "*":
		e.all = true
	case "-":
		e.harmless = append(e.harmless, words[1:]...)
	case "raw":
		e.raw = append(e.raw, words[1:]...)
		e.fields = append(e.fields, words[1:]...)
	case "secret":
		e.secret = append(e.secret, words[1:]...)
	default:
		e.fields = append(e.fields, words...)
	}
	return nil
}

func (e *entry) parseDeclared(words []string) error {
	harmless := words[0] == "-"
	if harmless {
		words = words[1:]
	}
	if len(words) != 3 {
		return fmt.Errorf("want FIELD NUMBER TYPE")
	}
	number, err := strconv.ParseInt(words[1], 10, 32)
	if err != nil {
		return fmt.Errorf("field number %q: %w", words[1], err)
	}
	e.declares = append(e.declares, declaredField{words[0], int32(number), words[2]})
	if harmless {
		e.harmless = append(e.harmless, words[0])
	} else {
		e.fields = append(e.fields, words[0])
	}
	return nil
}

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"charm.land/lipgloss/v2"
	lipglosstable "charm.land/lipgloss/v2/table"
	"sigs.k8s.io/yaml"
)

// tone says what a cell means; it is its colour where colour is allowed.
type tone int

const (
	plain tone = iota
	good
	warn
	bad
	dim
)

type cell struct {
	text string
	tone tone
}

// table is what a verb shows to people.
type table struct {
	header []string
	rows   [][]cell
	empty  string // said when there are no rows
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func text(s string) cell { return cell{text: s} }

func number[N int | int64 | uint32 | uint64](n N) cell { return cell{text: fmt.Sprint(n)} }

// verdict is good or bad.
func verdict(ok bool, yes, no string) cell {
	if ok {
		return cell{yes, good}
	}
	return cell{no, bad}
}

// print writes t, boxed and coloured on a terminal that is wide enough, else
// aligned by spaces.
func (e *Env) print(t *table) {
	if len(t.rows) == 0 && t.empty != "" {
		fmt.Fprintln(e.Err, t.empty)
		return
	}
	if e.OutWidth > 0 && e.mayColor() {
		if box := boxed(t); lipgloss.Width(box) <= e.OutWidth {
			fmt.Fprintln(e.Out, box)
			return
		}
	}
	writeAligned(e.Out, t, e.mayColor())
}

func writeAligned(w io.Writer, t *table, color bool) {
	widths := make([]int, len(t.header))
	for i, h := range t.header {
		widths[i] = len(h)
	}
	for _, row := range t.rows {
		for i, c := range row {
			widths[i] = max(widths[i], lipgloss.Width(shown(c)))
		}
	}
	header := make([]cell, len(t.header))
	for i, h := range t.header {
		header[i] = cell{text: h}
	}
	for _, row := range append([][]cell{header}, t.rows...) {
		var b strings.Builder
		for i, c := range row {
			s := shown(c)
			if color {
				b.WriteString(style(c.tone).Render(s))
			} else {
				b.WriteString(s)
			}
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-lipgloss.Width(s)+3))
			}
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

func boxed(t *table) string {
	box := lipglosstable.New().
		Border(lipgloss.RoundedBorder()).
		BorderStyle(lipgloss.NewStyle().Faint(true)).
		Headers(t.header...).
		StyleFunc(func(row, col int) lipgloss.Style {
			if row == lipglosstable.HeaderRow {
				return lipgloss.NewStyle().Bold(true).Padding(0, 1)
			}
			return style(t.rows[row][col].tone).Padding(0, 1)
		})
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, c := range row {
			cells[i] = shown(c)
		}
		box.Row(cells...)
	}
	return box.Render()
}

func style(t tone) lipgloss.Style {
	s := lipgloss.NewStyle()
	switch t {
	case good:
		return s.Foreground(lipgloss.Color("2"))
	case warn:
		return s.Foreground(lipgloss.Color("3"))
	case bad:
		return s.Foreground(lipgloss.Color("1"))
	case dim:
		return s.Faint(true)
	}
	return s
}

// paint gives text its tone where colour is allowed.
func (e *Env) paint(t tone, s string) string {
	if !e.mayColor() {
		return s
	}
	return style(t).Render(s)
}

func shown(c cell) string {
	if c.text == "" {
		return "-"
	}
	return printable(c.text)
}

// printable removes what could command a terminal from text of others.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, s)
}

// printData writes v as JSON or YAML, and reports whether the user asked for
// either.
func (e *Env) printData(v any) (bool, error) {
	if e.flags.output != "json" && e.flags.output != "yaml" {
		return false, nil
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return true, fmt.Errorf("encode output: %w", err)
	}
	b = append(b, '\n')
	if e.flags.output == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return true, fmt.Errorf("encode output: %w", err)
		}
	}
	_, err = e.Out.Write(b)
	return true, err
}

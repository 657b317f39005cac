package adminapi

import (
	"fmt"
	"strings"
)

// contextLines surround each change of a unified diff.
const contextLines = 3

// cellLimit bounds the table of the longest common subsequence. Texts that
// differ in more are shown as wholly replaced between what begins and ends them
// both.
const cellLimit = 4 << 20

// edit is one line of a diff: kept ' ', removed '-' or added '+'.
type edit struct {
	op   byte
	line string
}

// unified gives the difference of two texts, empty when there is none.
func unified(fromName, toName, from, to string) string {
	if from == to {
		return ""
	}
	edits := compare(lines(from), lines(to))
	var b strings.Builder
	fmt.Fprintf(&b, "--- %s\n+++ %s\n", fromName, toName)
	a, z := 1, 1 // next line of each side
	for i := 0; i < len(edits); {
		if edits[i].op == ' ' && !changesWithin(edits, i, contextLines) {
			a, z, i = a+1, z+1, i+1
			continue
		}
		end := hunkEnd(edits, i)
		writeHunk(&b, edits[i:end], a, z)
		for ; i < end; i++ {
			if edits[i].op != '+' {
				a++
			}
			if edits[i].op != '-' {
				z++
			}
		}
	}
	return b.String()
}

func changesWithin(edits []edit, i, n int) bool {
	for _, e := range edits[i:min(len(edits), i+n+1)] {
		if e.op != ' ' {
			return true
		}
	}
	return false
}

// hunkEnd is where the hunk that begins at i ends: after the context of its
// last change, when no other change is near.
func hunkEnd(edits []edit, i int) int {
	end := i
	for j := i; j < len(edits) && j <= end+2*contextLines; j++ {
		if edits[j].op != ' ' {
			end = j + 1
		}
	}
	return min(len(edits), end+contextLines)
}

func writeHunk(b *strings.Builder, edits []edit, a, z int) {
	var removed, added int
	for _, e := range edits {
		if e.op != '+' {
			removed++
		}
		if e.op != '-' {
			added++
		}
	}
	fmt.Fprintf(b, "@@ -%s +%s @@\n", span(a, removed), span(z, added))
	for _, e := range edits {
		b.WriteByte(e.op)
		b.WriteString(e.line)
		b.WriteByte('\n')
	}
}

func span(start, n int) string {
	switch n {
	case 0:
		return fmt.Sprintf("%d,0", start-1)
	case 1:
		return fmt.Sprint(start)
	}
	return fmt.Sprintf("%d,%d", start, n)
}

func lines(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func compare(from, to []string) []edit {
	var edits []edit
	for len(from) > 0 && len(to) > 0 && from[0] == to[0] {
		edits = append(edits, edit{' ', from[0]})
		from, to = from[1:], to[1:]
	}
	var tail []string
	for len(from) > 0 && len(to) > 0 && from[len(from)-1] == to[len(to)-1] {
		tail = from[len(from)-1 : len(from)+len(tail)]
		from, to = from[:len(from)-1], to[:len(to)-1]
	}
	edits = append(edits, middle(from, to)...)
	for _, line := range tail {
		edits = append(edits, edit{' ', line})
	}
	return edits
}

// middle follows the longest common subsequence of from and to.
func middle(from, to []string) []edit {
	var edits []edit
	width := len(to) + 1
	if (len(from)+1)*width <= cellLimit {
		common := make([]int32, (len(from)+1)*width) // of from[i:] and to[j:]
		for i := len(from) - 1; i >= 0; i-- {
			for j := len(to) - 1; j >= 0; j-- {
				if from[i] == to[j] {
					common[i*width+j] = common[(i+1)*width+j+1] + 1
				} else {
					common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
				}
			}
		}
		i, j := 0, 0
		for i < len(from) && j < len(to) {
			switch {
			case from[i] == to[j]:
				edits = append(edits, edit{' ', from[i]})
				i, j = i+1, j+1
			case common[(i+1)*width+j] >= common[i*width+j+1]:
				edits = append(edits, edit{'-', from[i]})
				i++
			default:
				edits = append(edits, edit{'+', to[j]})
				j++
			}
		}
		from, to = from[i:], to[j:]
	}
	for _, line := range from {
		edits = append(edits, edit{'-', line})
	}
	for _, line := range to {
		edits = append(edits, edit{'+', line})
	}
	return edits
}

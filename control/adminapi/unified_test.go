package adminapi

import (
	"fmt"
	"strings"
	"testing"
)

func TestUnifiedShowsChangesWithContext(t *testing.T) {
	numbered := func(from, to int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintf(&b, "line %d\n", i)
		}
		return b.String()
	}
	tests := []struct {
		name, from, to, want string
	}{
		{"equal", "a\n", "a\n", ""},
		{"created", "", "a\nb\n", "--- f\n+++ t\n@@ -0,0 +1,2 @@\n+a\n+b\n"},
		{"deleted", "a\n", "", "--- f\n+++ t\n@@ -1 +0,0 @@\n-a\n"},
		{"changed in the middle", numbered(1, 4) + "x\n" + numbered(5, 9), numbered(1, 4) + "y\n" + numbered(5, 9),
			"--- f\n+++ t\n@@ -2,7 +2,7 @@\n line 2\n line 3\n line 4\n-x\n+y\n line 5\n line 6\n line 7\n"},
		{"two hunks", "a\n" + numbered(1, 9) + "b\n", "A\n" + numbered(1, 9) + "B\n",
			"--- f\n+++ t\n@@ -1,4 +1,4 @@\n-a\n+A\n line 1\n line 2\n line 3\n@@ -8,4 +8,4 @@\n line 7\n line 8\n line 9\n-b\n+B\n"},
		{"near changes share a hunk", "a\n" + numbered(1, 6) + "b\n", "A\n" + numbered(1, 6) + "B\n",
			"--- f\n+++ t\n@@ -1,8 +1,8 @@\n-a\n+A\n" + " " + strings.ReplaceAll(strings.TrimSuffix(numbered(1, 6), "\n"), "\n", "\n ") + "\n-b\n+B\n"},
	}
	for _, test := range tests {
		if got := unified("f", "t", test.from, test.to); got != test.want {
			t.Errorf("%s:\n%s\nwant\n%s", test.name, got, test.want)
		}
	}
}

// patch applies a unified diff, the slow and obvious way.
func patch(t *testing.T, from []string, diff string) []string {
	var out []string
	next := 0 // of from
	for line := range strings.Lines(diff) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "@@ "):
			var start, count int
			if n, _ := fmt.Sscanf(line, "@@ -%d,%d", &start, &count); n < 2 {
				count = 1
			}
			if count > 0 {
				start--
			}
			for ; next < start; next++ {
				out = append(out, from[next])
			}
		case line[0] == '+':
			out = append(out, line[1:])
		default:
			if from[next] != line[1:] {
				t.Fatalf("line %d is %q, not %q", next, from[next], line[1:])
			}
			if line[0] == ' ' {
				out = append(out, from[next])
			}
			next++
		}
	}
	return append(out, from[next:]...)
}

func FuzzUnifiedCanBeApplied(f *testing.F) {
	f.Add("a\nb\nc\n", "a\nc\nd\n")
	f.Add("", "x\n")
	f.Add("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n3\n4\n5\n6\n7\n8\n8\n9\n")
	f.Fuzz(func(t *testing.T, from, to string) {
		if strings.ContainsRune(from+to, '\r') || len(from)+len(to) > 2000 {
			return
		}
		diff := unified("f", "t", from, to)
		_, body, _ := strings.Cut(diff, "\n")
		_, body, _ = strings.Cut(body, "\n")
		if got, want := patch(t, lines(from), body), lines(to); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q, want %q, by\n%s", got, want, diff)
		}
	})
}

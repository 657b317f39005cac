package bench

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// of returns a value of every sample in order of size.
func of[T cmp.Ordered](all []sample, value func(sample) T) []T {
	var out []T
	for _, s := range all {
		out = append(out, value(s))
	}
	slices.Sort(out)
	return out
}

func median[T cmp.Ordered](sorted []T) T { return sorted[len(sorted)/2] }

// Markdown renders the tables.
func (r *Result) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s. %d rounds of %s, medians (smallest to largest); load average %s before, %s after.\n",
		time.Now().UTC().Format("2006-01-02"), machine(), r.options.Rounds, r.options.Duration, r.loads[0], r.loads[1])
	var versions []string
	for _, p := range r.peers {
		if p.version != "" {
			versions = append(versions, p.name+" "+p.version)
		}
	}
	fmt.Fprintf(&b, "Versions: %s.\n", strings.Join(versions, ", "))
	for _, s := range r.skipped {
		fmt.Fprintf(&b, "\n%s.\n", s)
	}
	for _, c := range r.cases {
		fmt.Fprintf(&b, "\n### %s\n\n| proxy | CPU µs a request | requests/s | p50 µs | p99 µs | PSS MiB | errors | foreign CPUs |\n|---|---|---|---|---|---|---|---|\n", c.Name)
		for _, p := range r.peers {
			if all := r.samples[c.Name][p.name]; len(all) > 0 {
				b.WriteString(row(p.name, all))
			}
		}
	}
	return b.String()
}

func row(name string, all []sample) string {
	cpu := of(all, sample.cpuMicros)
	p99 := "–"
	if v := median(of(all, func(s sample) float64 { return s.P99 })); v > 0 {
		p99 = fmt.Sprintf("%.0f", v)
	}
	errors := 0
	for _, s := range all {
		errors += s.Errors
	}
	return fmt.Sprintf("| %s | %.2f (%.2f–%.2f) | %.0f | %.0f | %s | %.1f | %d | %.2f |\n", name,
		median(cpu), cpu[0], cpu[len(cpu)-1], median(of(all, sample.rate)), median(of(all, func(s sample) float64 { return s.P50 })), p99,
		float64(median(of(all, func(s sample) int { return s.rss })))/1024, errors, median(of(all, func(s sample) float64 { return s.foreign })))
}

// Publish replaces what stands between the markers of a name in a document.
func Publish(document, name, text string) error {
	b, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	begin, end := "<!-- "+name+": written by make "+name+" -->\n", "<!-- end of "+name+" -->"
	before, rest, ok := strings.Cut(string(b), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no markers of %s", document, name)
	}
	return os.WriteFile(document, []byte(before+begin+"\n"+text+"\n"+end+after), 0o644)
}

package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
	"golang.org/x/term"
)

// demoView is one picture of the demo.
type demoView struct {
	mesh, sidecar string
	up            time.Duration
	flows         []flow
	services      []string
	instances     map[string]int
	wanted        map[string]int
	prepare       string // what a terminal needs before it can try
	try           []suggestion
	notes         []string // what has happened
}

// suggestion is something to try in another terminal.
type suggestion struct{ what, command, then string }

// flowColumns are the columns of the live table: a title, its width, and
// whether it is a number. A narrow terminal gets a narrower first one, and then
// fewer.
var flowColumns = [...]struct {
	title string
	width int
	right bool
}{{"FROM → TO", 24, false}, {"RPS", 8, true}, {"SUCCESS", 7, true}, {"P50", 6, true}, {"P99", 6, true}, {"PROTOCOL", 8, false}, {"MTLS", 4, false}, {"SPLIT", 5, true}}

// narrowest is what the first column needs for the shop's edges.
const narrowest = 18

// cells are a flow's row.
func (f *flow) cells() []cell {
	name := cell{text: f.from + " → " + f.to}
	if !f.carries() {
		return []cell{{name.text, dim}, {"0", dim}, {"-", dim}, {"-", dim}, {"-", dim}, {"-", dim}, {"-", dim}, {"", dim}}
	}
	success := cell{fmt.Sprintf("%.1f%%", 100*f.success()), good}
	switch {
	case f.denied > f.rps/2:
		success = cell{"denied", bad}
	case f.success() < 0.5:
		success.tone = bad
	case f.success() < goodEnough:
		success.tone = warn
	}
	split := cell{}
	if versions[f.to] != "" {
		split = cell{text: fmt.Sprintf("%.0f%%", 100*f.share)}
	}
	rate := cell{text: fmt.Sprintf("%.1f", f.rps)}
	if f.rps == 0 {
		// Raw bytes have no requests to count.
		rate, success = cell{text: bytesRate(f.bytes)}, cell{text: "-", tone: dim}
	}
	return []cell{
		name, rate, success, {text: milliseconds(f.p50)}, {text: milliseconds(f.p99)},
		{text: f.protocol}, verdict(f.mtls, "yes", "NO"), split,
	}
}

func bytesRate(bytes float64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%.0fB/s", bytes)
	}
	return fmt.Sprintf("%.1fkB/s", bytes/1000)
}

// milliseconds has three digits at the most.
func milliseconds(ms float64) string {
	switch {
	case ms <= 0:
		return "-"
	case ms < 10:
		return fmt.Sprintf("%.1fms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0fms", ms)
	}
	return fmt.Sprintf("%.1fs", ms/1000)
}

// lines draws the picture for a terminal. Only commands may be wider than it:
// they are there to be copied whole.
func (v *demoView) lines(width, height int, paint func(tone, string) string) []string {
	rule := paint(dim, strings.Repeat("─", min(width, 78)))
	out := []string{
		paint(good, "Leno demo") + fmt.Sprintf("  mesh %s  up %s", v.mesh, v.up.Truncate(time.Second)),
		paint(dim, "sidecars run "+v.sidecar),
		rule, v.row(header(), width, paint),
	}
	for _, f := range v.flows {
		out = append(out, v.row(f.cells(), width, paint))
	}
	out = append(out, rule)
	out = append(out, v.instanceLines(min(width, 78), paint)...)
	end := append(painted(v.notes, bad, paint), paint(dim, "Ctrl-C ends everything and leaves nothing behind."))
	out, end = cut(out, width), cut(end, width)
	for _, try := range v.suggestionLines(width, paint) {
		if height == 0 || len(out)+len(try)+wraps(try, width)+len(end)+1 <= height {
			out = append(out, try...)
			break
		}
	}
	out = append(out, end...)
	if height > 1 && len(out) > height-1 {
		out = out[:height-1]
	}
	return out
}

func painted(lines []string, t tone, paint func(tone, string) string) (out []string) {
	for _, line := range lines {
		out = append(out, paint(t, line))
	}
	return out
}

// cut makes lines fit.
func cut(lines []string, width int) (out []string) {
	for _, line := range lines {
		out = append(out, lipgloss.NewStyle().MaxWidth(width).Render(line))
	}
	return out
}

// suggestionLines are the suggestions at length, in short, and left out: a small
// terminal takes the first that fits.
func (v *demoView) suggestionLines(width int, paint func(tone, string) string) [3][]string {
	if len(v.try) == 0 {
		return [3][]string{}
	}
	long, short := []string{"", "Try in another terminal, after", "  " + v.prepare}, []string{v.prepare}
	for _, s := range v.try {
		long = append(append(long, cut([]string{paint(warn, s.what) + "  " + paint(dim, s.then)}, width)...), "  "+s.command)
		short = append(short, paint(warn, s.what)+" "+s.command)
	}
	return [3][]string{long, short}
}

// wraps is how many more lines of a terminal the wide ones take.
func wraps(lines []string, width int) (more int) {
	for _, line := range lines {
		more += max(lipgloss.Width(line)-1, 0) / max(width, 1)
	}
	return more
}

func header() []cell {
	var cells []cell
	for _, c := range flowColumns {
		cells = append(cells, cell{c.title, dim})
	}
	return cells
}

// row aligns cells in the table's columns, as many as fit.
func (v *demoView) row(cells []cell, width int, paint func(tone, string) string) string {
	first, columns := layout(width)
	var b strings.Builder
	for i, c := range flowColumns[:columns] {
		if i == 0 {
			c.width = first
		}
		text := printable(cells[i].text)
		if lipgloss.Width(text) > c.width {
			text = string([]rune(text)[:c.width-1]) + "…"
		}
		pad := strings.Repeat(" ", max(c.width-lipgloss.Width(text), 0))
		if c.right {
			b.WriteString(pad + paint(cells[i].tone, text))
		} else {
			b.WriteString(paint(cells[i].tone, text) + pad)
		}
		b.WriteString(" ")
	}
	return strings.TrimRight(b.String(), " ")
}

// layout is the width of the first column and how many columns there are in a
// terminal.
func layout(width int) (first, columns int) {
	total := -1 // nothing follows the last
	for _, c := range flowColumns {
		total += c.width + 1
	}
	first, columns = flowColumns[0].width, len(flowColumns)
	less := min(max(total-width, 0), first-narrowest)
	first, total = first-less, total-less
	for total > width && columns > 1 {
		columns--
		total -= flowColumns[columns].width + 1
	}
	return first, columns
}

// instanceLines list how many instances of each service run.
func (v *demoView) instanceLines(width int, paint func(tone, string) string) []string {
	lines, length := []string{"Instances:"}, len("Instances:")
	for _, service := range v.services {
		text := fmt.Sprintf("%s %d", service, v.instances[service])
		t := plain
		if v.instances[service] < v.wanted[service] {
			text, t = fmt.Sprintf("%s %d of %d", service, v.instances[service], v.wanted[service]), bad
		}
		if length+2+len(text) > width {
			lines, length = append(lines, "          "), len("          ")
		}
		lines[len(lines)-1] += "  " + paint(t, text)
		length += 2 + len(text)
	}
	return lines
}

// plainLines are the picture for what is no terminal.
func (v *demoView) plainLines() []string {
	paint := func(_ tone, s string) string { return s }
	const width = 78
	out := []string{fmt.Sprintf("up %s", v.up.Truncate(time.Second)), v.row(header(), width, paint)}
	for _, f := range v.flows {
		out = append(out, v.row(f.cells(), width, paint))
	}
	out = append(out, v.instanceLines(width, paint)...)
	return append(slices.Concat(out, v.notes), "")
}

// screen draws pictures one over the other.
type screen struct {
	env  *Env
	file *os.File
}

// newScreen returns nil when the output is no terminal that can be drawn on.
func newScreen(e *Env) *screen {
	f, ok := e.Out.(*os.File)
	if !ok || e.OutWidth == 0 || e.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return &screen{env: e, file: f}
}

// draw replaces the picture in one write, without clearing what stays. The size
// is asked for each time, so that the picture follows the window.
func (s *screen) draw(v *demoView, first bool) {
	width, height, err := term.GetSize(int(s.file.Fd()))
	if err != nil || width <= 0 {
		width, height = 80, 24
	}
	fmt.Fprint(s.file, frame(v.lines(width, height, s.env.paint), first))
}

// frame is what draws lines: the cursor goes home, each line replaces what was
// there, and what is below goes.
func frame(lines []string, first bool) string {
	var b strings.Builder
	if first {
		b.WriteString("\x1b[?25l\x1b[2J")
	}
	b.WriteString("\x1b[H")
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	return b.String()
}

// leave gives the cursor back.
func (s *screen) leave() { fmt.Fprint(s.file, "\x1b[?25h") }

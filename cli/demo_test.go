package cli

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"charm.land/lipgloss/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func row(from, to string, rps, success float64) *adminv1.TrafficRow {
	return &adminv1.TrafficRow{
		Source: "shop/" + from, Destination: "shop/" + to + "/80", Route: "shop/" + to, Protocol: "http/1.1", Mtls: true,
		RequestsPerSecond: rps, SuccessRate: success, P50Milliseconds: 0.42, P99Milliseconds: 12.3, BytesPerSecond: rps * 100,
	}
}

func shopRows() []*adminv1.TrafficRow {
	rows := []*adminv1.TrafficRow{
		row("shopper", "web", 20, 1), row("web", "catalogue-v1", 18, 1), row("web", "catalogue-v2", 2, 1), row("web", "cart", 20, 0.4),
		row("web", "checkout", 20, 0.99), row("checkout", "payment", 20, 1), row("checkout", "stock", 0, 1),
	}
	rows[4].Protocol, rows[5].Protocol, rows[6].Protocol = "grpc", "grpc", "tcp"
	rows[6].P50Milliseconds, rows[6].P99Milliseconds, rows[6].BytesPerSecond = 0, 0, 1234
	return rows
}

func shopView() *demoView {
	services, count := running([]*instance{
		{service: "web"}, {service: "catalogue-v1"}, {service: "catalogue-v2"}, {service: "cart", ended: true}, {service: "cart"},
		{service: "checkout"}, {service: "payment"}, {service: "stock"}, {service: "shopper"},
	})
	wanted := map[string]int{"web": 1, "catalogue-v1": 1, "catalogue-v2": 1, "cart": 2, "checkout": 1, "payment": 1, "stock": 1}
	return &demoView{
		mesh: "abc.leno.internal", sidecar: "/usr/bin/leno-proxy", up: 61500 * time.Millisecond, flows: flowsOf(shopRows()),
		services: services, instances: count, wanted: wanted, notes: []string{"cart-1 has ended (exit status 0)"},
		prepare: "cd /tmp/leno-demo-1234567890 && export LENO_SERVER=$PWD/admin.sock",
		try:     []suggestion{{"Shift traffic", "./leno apply -f shift.yaml", "half to v2"}},
	}
}

func bare(_ tone, s string) string { return s }

func TestTheTableIsDrawnAsItWas(t *testing.T) {
	const golden = "testdata/demo.golden"
	got := strings.Join(shopView().lines(80, 40, bare), "\n") + "\n\n" + strings.Join(shopView().plainLines(), "\n")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the table is another (-want +got); -update takes it over:\n%s", diff)
	}
}

func TestThePictureFitsTheTerminal(t *testing.T) {
	env, _, _ := fakeEnv()
	env.OutWidth, env.flags.color = 80, "always"
	for _, size := range [][2]int{{80, 24}, {80, 10}, {40, 30}, {200, 50}, {20, 5}} {
		lines := shopView().lines(size[0], size[1], env.paint)
		if len(lines) > size[1]-1 {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if lipgloss.Width(line) > size[0] && !strings.Contains(line, "./leno") && !strings.Contains(line, "LENO_SERVER=") {
				t.Errorf("%v: %q is %d wide", size, line, lipgloss.Width(line))
			}
		}
	}
}

func TestANarrowTableHasWholeColumns(t *testing.T) {
	for _, c := range []struct {
		width int
		last  string
	}{{200, "SPLIT"}, {80, "SPLIT"}, {70, "SPLIT"}, {69, "SPLIT"}, {68, "MTLS"}, {62, "PROTOCOL"}, {40, "SUCCESS"}} {
		v := shopView()
		lines := v.lines(c.width, 40, bare)
		if head := strings.Fields(lines[3]); head[len(head)-1] != c.last {
			t.Errorf("at %d the columns are %q", c.width, lines[3])
		}
		if !strings.HasPrefix(lines[7], "web → cart ") || !strings.HasPrefix(lines[9], "checkout → payment ") {
			t.Errorf("at %d:\n%s", c.width, strings.Join(lines, "\n"))
		}
	}
}

func TestASmallTerminalShowsTheCommandsToo(t *testing.T) {
	v := shopView()
	v.try = append(v.try, v.try[0], suggestion{"Kill an instance", "kill 123456", "one leaves"})
	if small := strings.Join(v.lines(80, 24, bare), "\n"); strings.Count(small, "Shift traffic ./leno") != 2 || !strings.Contains(small, "LENO_SERVER=") || !strings.Contains(small, "Ctrl-C") {
		t.Errorf("at 80 by 24:\n%s", small)
	}
}

func TestAFrameReplacesTheOneBefore(t *testing.T) {
	if got := frame([]string{"a", "b"}, false); got != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("%q", got)
	}
	if got := frame(nil, true); !strings.HasPrefix(got, "\x1b[?25l\x1b[2J\x1b[H") {
		t.Errorf("the first is %q", got)
	}
}

func TestNoColourMeansNone(t *testing.T) {
	env, _, _ := fakeEnv()
	env.OutWidth, env.flags.color = 80, "auto"
	env.Getenv = func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }
	if got := strings.Join(shopView().lines(80, 40, env.paint), "\n"); strings.Contains(got, "\x1b") {
		t.Errorf("%q", got)
	}
}

func TestFlowsSumTheRoutesOfAnEdge(t *testing.T) {
	plain := row("web", "cart", 10, 0.5)
	plain.Mtls, plain.Route = false, "other"
	flows := flowsOf([]*adminv1.TrafficRow{row("web", "cart", 30, 1), plain, row("web", "bank", 1, 1), {Source: "other/a", Destination: "shop/web/80", RequestsPerSecond: 1, SuccessRate: 1}})
	byEdge := make(map[edge]flow)
	for _, f := range flows {
		byEdge[f.edge] = f
	}
	if cart := byEdge[edge{"web", "cart"}]; cart.rps != 40 || cart.success() != 0.875 || cart.mtls {
		t.Errorf("cart: %+v, success %v", cart, cart.success())
	}
	if len(flows) != len(demoEdges)+2 || byEdge[edge{"web", "bank"}].rps != 1 || byEdge[edge{"other/a", "web"}].rps != 1 {
		t.Errorf("flows %+v", flows)
	}
	if idle := byEdge[edge{"checkout", "stock"}]; idle.carries() || idle.mtls {
		t.Errorf("an idle edge: %+v", idle)
	}
}

// second is a table whose window of ten seconds has as many requests.
func second(requests, failures float64) []*adminv1.TrafficRow {
	success := 1.0
	if requests > 0 {
		success = 1 - failures/requests
	}
	rows := shopRows()
	for _, r := range rows[:6] {
		r.RequestsPerSecond, r.SuccessRate = requests/10, success
	}
	return rows
}

func TestTheTallyCountsEachRequestOnce(t *testing.T) {
	tally := newTally()
	for s := range 25 { // 2 requests a second, from second 0 on; 1 of second 20 fails
		window := min(s+1, 10)
		failures := 0.0
		if s >= 20 {
			failures = 1
		}
		tally.add(int64(1000+s), 10*time.Second, time.Minute, second(float64(2*window), failures))
	}
	edges, wrong := tally.edges()
	if edges[0].Requests != 50 || edges[0].Failures != 1 {
		t.Errorf("edge %+v, want 50 requests of which 1 failed", edges[0])
	}
	if len(wrong) != 6 || !strings.Contains(wrong[0], "1 of 50 calls of shopper to web failed") {
		t.Errorf("wrong: %q", wrong)
	}
}

func TestTheFirstSecondsCountForThemselves(t *testing.T) {
	tally := newTally()
	tally.add(1000, 10*time.Second, 2*time.Second, second(40, 0))
	edges, _ := tally.edges()
	if edges[0].RPS != 20 || edges[0].Requests != 40 {
		t.Errorf("40 requests in 2 s: %+v", edges[0])
	}
}

func TestDeniedCallsAreCountedByThemselves(t *testing.T) {
	tally := newTally()
	for s, denied := range []float64{1, 0.25} {
		rows := second(40, 0)
		rows[3].DeniedRate = denied
		tally.add(int64(1000+10*s), 10*time.Second, 4*time.Second, rows)
	}
	edges, _ := tally.edges()
	if cart := edges[3]; cart.Destination != "cart" || cart.Requests != 80 || cart.Denied != 50 || cart.Failures != 0 {
		t.Errorf("edge %+v, want 50 of 80 denied", cart)
	}
	if f := tally.last[3]; f.rps != 10 || f.denied != 2.5 || f.success() != 0.75 {
		t.Errorf("%+v, want 10 requests a second of which 2.5 are denied", f)
	}
}

func TestTheReportFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(rows []*adminv1.TrafficRow) []*adminv1.TrafficRow
		want  []string
	}{
		{"nothing", func(rows []*adminv1.TrafficRow) []*adminv1.TrafficRow { return rows }, nil},
		{"a call that is not made", func(rows []*adminv1.TrafficRow) []*adminv1.TrafficRow { return rows[:6] }, []string{"checkout never called stock"}},
		{"a call in the clear", func(rows []*adminv1.TrafficRow) []*adminv1.TrafficRow { rows[1].Mtls = false; return rows },
			[]string{"calls of web to catalogue-v1 went without mutual TLS"}},
		{"failures", func(rows []*adminv1.TrafficRow) []*adminv1.TrafficRow { rows[0].SuccessRate = 0.99; return rows },
			[]string{"2 of 200 calls of shopper to web failed"}},
		{"denials", func(rows []*adminv1.TrafficRow) []*adminv1.TrafficRow { rows[3].DeniedRate = 0.5; return rows },
			[]string{"100 of 200 calls of web to cart were denied"}},
		{"few failures", func(rows []*adminv1.TrafficRow) []*adminv1.TrafficRow {
			rows[0].RequestsPerSecond, rows[0].SuccessRate = 1000, 0.9995
			return rows
		}, nil},
	} {
		tally := newTally()
		tally.add(1000, 10*time.Second, time.Minute, c.spoil(second(200, 0)))
		if _, wrong := tally.edges(); cmp.Diff(c.want, wrong) != "" {
			t.Errorf("%s: %q", c.name, wrong)
		}
	}
}

func TestOnceInTheClearIsNeverMutual(t *testing.T) {
	tally := newTally()
	rows := second(200, 0)
	rows[0].Mtls = false
	tally.add(1000, 10*time.Second, time.Minute, rows)
	tally.add(1020, 10*time.Second, time.Minute, second(200, 0))
	if edges, wrong := tally.edges(); edges[0].MTLS || len(wrong) != 1 {
		t.Errorf("edge %+v, wrong %q", edges[0], wrong)
	}
}

func TestTheSharesOfTheVersionsAddUp(t *testing.T) {
	tally := newTally()
	tally.add(1000, 10*time.Second, time.Minute, shopRows())
	shares := tally.splits()
	if len(shares) != 2 || math.Abs(shares["catalogue-v1"]-0.9) > 1e-9 || math.Abs(shares["catalogue-v2"]-0.1) > 1e-9 {
		t.Errorf("shares %v", shares)
	}
}

func TestTheFilesOfTheDemoAreGood(t *testing.T) {
	for _, name := range []string{"shop.yaml", "shift.yaml", "deny.yaml"} {
		content, err := demoFiles.ReadFile("demo/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if objects, err := api.Decode(content, name); err != nil || len(objects) == 0 {
			t.Errorf("%d objects, %v", len(objects), err)
		}
	}
}

func TestTheShopHasAPortForEachProgram(t *testing.T) {
	instances, err := shopInstances(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	for _, i := range instances {
		if i.port != 0 && seen[i.port] {
			t.Errorf("port %d twice", i.port)
		}
		seen[i.port] = true
	}
	if last := instances[len(instances)-1]; len(instances) != 9 || last.service != "shopper" || last.port != 0 {
		t.Errorf("%d instances, the last is %+v", len(instances), last)
	}
}

func TestADemoThatCannotStartReportsItToo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	env, out, _ := fakeEnv()
	code := Main(t.Context(), env, []string{"demo", "--for", "5s", "-o", "json", "--data", file})
	var report demoReport
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || code != ExitDifferent {
		t.Fatalf("exit %d, %v: %s", code, err, out)
	}
	if report.OK || len(report.Errors) != 1 || !strings.Contains(report.Errors[0], "the data directory "+file+" cannot be used") {
		t.Errorf("%+v", report)
	}
	env, out, stderr := fakeEnv()
	if code := Main(t.Context(), env, []string{"demo", "--data", file}); code != ExitRefused || out.Len() > 0 || strings.Count(stderr.String(), "\n") != 2 || !strings.HasPrefix(stderr.String(), "Starting the shop: ") {
		t.Errorf("exit %d: %s%s", code, out, stderr)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTheDemoRefusesARateThatIsNone(t *testing.T) {
	env, _, err := fakeEnv()
	if code := Main(t.Context(), env, []string{"demo", "--rate", "0"}); code != ExitUsage || !strings.Contains(err.String(), "--rate must be 1 to 1000") {
		t.Errorf("exit %d: %s", code, err)
	}
}

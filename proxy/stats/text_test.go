package stats

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leno-mesh/leno/proxy/http"
)

func render(t testing.TB, r *Registry, f Format) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b, f); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type exposition struct {
	kinds  map[string]string // by family
	values map[string]float64
}

var (
	sampleLine = regexp.MustCompile(`^([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\n"])*",?)*)\})? (\S+)$`)
	metaLine   = regexp.MustCompile(`^# (HELP|TYPE|UNIT) ([a-z_:][a-z0-9_:]*) (.+)$`)
)

// parse is a strict reader of both formats: metadata once and before its
// samples, samples of a family together, no series twice, the right suffixes,
// and histograms that add up.
func parse(out string, f Format) (*exposition, error) {
	x := &exposition{map[string]string{}, map[string]float64{}}
	lines := strings.Split(out, "\n")
	if lines[len(lines)-1] != "" {
		return nil, errors.New("no newline at the end")
	}
	lines = lines[:len(lines)-1]
	if f == OpenMetrics {
		if lines[len(lines)-1] != "# EOF" {
			return nil, errors.New("no EOF")
		}
		lines = lines[:len(lines)-1]
	}
	family, meta := "", map[string]bool{}
	bucket, series := -1.0, ""
	for _, line := range lines {
		if m := metaLine.FindStringSubmatch(line); m != nil {
			if meta[m[1]+m[2]] {
				return nil, fmt.Errorf("twice: %s", line)
			}
			meta[m[1]+m[2]] = true
			family = m[2]
			switch m[1] {
			case "TYPE":
				x.kinds[family] = m[3]
			case "UNIT":
				if f != OpenMetrics || !strings.HasSuffix(family, "_"+m[3]) {
					return nil, fmt.Errorf("unit: %s", line)
				}
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("no sample: %s", line)
		}
		suffix, ok := strings.CutPrefix(m[1], family)
		allowed := map[string]string{"gauge": "|", "histogram": "|_bucket|_sum|_count|", "counter": "|_total|"}[x.kinds[family]]
		if f == Prometheus && x.kinds[family] == "counter" {
			allowed = "|"
		}
		if !ok || suffix != "" && !strings.Contains(allowed, "|"+suffix+"|") || suffix == "" && allowed != "|" {
			return nil, fmt.Errorf("sample of another family than %s: %s", family, line)
		}
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return nil, err
		}
		id := m[1] + "{" + m[2] + "}"
		if _, twice := x.values[id]; twice {
			return nil, fmt.Errorf("twice: %s", line)
		}
		x.values[id] = v
		if x.kinds[family] != "histogram" {
			continue
		}
		labels, le, _ := strings.Cut(m[2], `,le="`)
		switch suffix {
		case "_bucket":
			end, err := strconv.ParseFloat(strings.TrimSuffix(le, `"`), 64)
			if err != nil || labels == series && v < bucket {
				return nil, fmt.Errorf("bucket: %s", line)
			}
			series, bucket = labels, v
			if math.IsInf(end, 1) {
				x.values[family+"_inf{"+labels+"}"] = v
			}
		case "_count":
			if v != x.values[family+"_inf{"+labels+"}"] {
				return nil, fmt.Errorf("count: %s", line)
			}
		}
	}
	return x, nil
}

func TestTheTextIsValid(t *testing.T) {
	r := NewRegistry(0, 0)
	odd := Key{Inbound: true, Source: "a\"b\\c\nd\xff", Destination: "x", Route: `\`, Protocol: "http/1.1"}
	for _, k := range []Key{shop, odd} {
		s := r.Series(k)
		for i := range 100 {
			s.Record(Request{Status: 200 + i%2*303, GRPC: i % 3, Duration: time.Duration(i*i*i) * time.Microsecond, Sent: 1 << 40, Side: http.Side(i % 2), Fault: http.KindTimeout})
		}
		s.Record(Request{Status: 200, Duration: time.Hour})
		s.Opened()
	}
	r.Gauge("leno_up", "Up.", func() float64 { return 1 })
	for _, f := range []Format{Prometheus, OpenMetrics} {
		out := render(t, r, f)
		x, err := parse(out, f)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		front := `direction="outbound",source="web/front",destination="shop/cart/80",route="r",protocol="h2",mtls="true"`
		strange := `direction="inbound",source="a\"b\\c\nd` + "\uFFFD" + `",destination="x",route="\\",protocol="http/1.1",mtls="false"`
		for id, want := range map[string]float64{
			`leno_requests_total{` + front + `,code="200",class="2xx"}`:          51,
			`leno_requests_total{` + strange + `,code="503",class="5xx"}`:        50,
			`leno_grpc_requests_total{` + front + `,grpc_status="0"}`:            33,
			`leno_request_faults_total{` + front + `,fault="timeout"}`:           50,
			`leno_request_failures_total{` + front + `}`:                         50,
			`leno_bytes_sent_total{` + strange + `}`:                             100 << 40,
			`leno_bytes_received_total{` + front + `}`:                           0,
			`leno_connections_active{` + front + `}`:                             1,
			`leno_connections_opened_total{` + front + `}`:                       1,
			`leno_request_duration_seconds_bucket{` + front + `,le="0.000512"}`:  9,
			`leno_request_duration_seconds_bucket{` + front + `,le="67.108864"}`: 100,
			`leno_request_duration_seconds_bucket{` + strange + `,le="+Inf"}`:    101,
			`leno_request_duration_seconds_sum{` + front + `}`:                   3600 + 24.5025,
			`leno_up{}`: 1,
		} {
			if got, ok := x.values[id]; !ok || got != want {
				t.Errorf("%s is %v, %v", id, got, ok)
			}
		}
		if x.kinds["leno_request_duration_seconds"] != "histogram" {
			t.Error("no histogram")
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("broken") }

func TestAWriteErrorIsReturned(t *testing.T) {
	if err := NewRegistry(0, 0).WriteText(broken{}, Prometheus); err == nil {
		t.Error("no error")
	}
}

func FuzzLabels(f *testing.F) {
	f.Add("a\"b", `\`, "\n")
	f.Add("\xff", "\x00", "é")
	f.Fuzz(func(t *testing.T, source, destination, route string) {
		r := NewRegistry(0, 0)
		r.Series(Key{Source: source, Destination: destination, Route: route}).Record(Request{Status: 200})
		for _, format := range []Format{Prometheus, OpenMetrics} {
			out := render(t, r, format)
			if _, err := parse(out, format); err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
		}
	})
}

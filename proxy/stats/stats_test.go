package stats

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/leno-mesh/leno/proxy/http"
)

var shop = Key{Source: "web/front", Destination: "shop/cart/80", Route: "r", Protocol: "h2", MTLS: true}

func TestBucketsHoldTheirUpperBound(t *testing.T) {
	last := uint64(0)
	for i := range overflow {
		end := bucketEnd(i)
		if end <= last {
			t.Fatalf("bucket %d ends at %d after %d", i, end, last)
		}
		if last >= 4 && float64(end-last)/float64(last) > 0.25 {
			t.Fatalf("bucket %d is wide: %d to %d", i, last, end)
		}
		d := time.Duration(end) * time.Microsecond
		if bucketOf(d) != i || bucketOf(d+1) != i+1 || bucketOf(time.Duration(last)*time.Microsecond+1) != i {
			t.Fatalf("bucket %d does not hold (%d, %d] µs", i, last, end)
		}
		last = end
	}
	if last != 1<<octaves || bucketEnd(overflow) != 0 || bucketOf(math.MaxInt64) != overflow || bucketOf(-1) != 0 || bucketOf(0) != 0 {
		t.Error("the ends of the range are wrong")
	}
	for octave := firstExported; octave <= lastExported; octave++ {
		if i := bucketOf(time.Duration(1<<octave) * time.Microsecond); bucketEnd(i) != 1<<octave {
			t.Errorf("2^%d µs is no end of a bucket", octave)
		}
	}
}

func TestDeltasReportWhatHappenedSince(t *testing.T) {
	r := NewRegistry(0, 0)
	s := r.Series(shop)
	if len(r.Deltas()) != 0 {
		t.Error("a series without traffic was reported")
	}
	s.Record(Request{Status: 200, GRPC: 1, Duration: 3 * time.Microsecond, Sent: 10, Received: 20})
	s.Record(Request{Status: 200, GRPC: 15, Duration: 3 * time.Microsecond})
	s.Record(Request{Status: 503, Duration: time.Hour, Side: http.Local, Fault: http.KindNoEndpoint})
	s.Record(Request{Side: http.Downstream, Fault: http.KindClosed, Duration: time.Microsecond})
	s.Record(Request{Side: http.Upstream, Fault: http.KindReset, Duration: time.Microsecond})
	c := s.Opened()
	c.Carried(1, 2)
	want := []Edge{{
		Key: shop, Requests: 5, Failures: 3, Sent: 11, Received: 22, Opened: 1, Active: 1,
		Codes:     []Count{{"0", 2}, {"200", 2}, {"503", 1}, {"grpc:0", 1}, {"grpc:14", 1}},
		Durations: []Bucket{{1, 2}, {3, 2}, {0, 1}},
		Faults:    []Count{{"reset", 1}, {"closed", 1}, {"no_endpoint", 1}},
	}}
	if got := r.Deltas(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	want = []Edge{{Key: shop, Active: 1}}
	if got := r.Deltas(); !reflect.DeepEqual(got, want) {
		t.Errorf("an open connection: got %+v", got)
	}
	c.Closed()
	want[0].Active = 0
	if got := r.Deltas(); !reflect.DeepEqual(got, want) {
		t.Errorf("a closed connection: got %+v", got)
	}
	if got := r.Deltas(); len(got) != 0 {
		t.Errorf("nothing: got %+v", got)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	r := NewRegistry(3, 0)
	for i := range 10 {
		r.Series(Key{Inbound: i%2 == 0, Destination: fmt.Sprint(i)}).Record(Request{Status: 200})
	}
	edges := r.Deltas()
	if len(edges) != 5 {
		t.Fatalf("%d series", len(edges))
	}
	total := uint64(0)
	for _, e := range edges {
		total += e.Requests
		if e.Destination == Other && e.Requests != map[bool]uint64{true: 3, false: 4}[e.Inbound] {
			t.Errorf("%+v", e)
		}
	}
	if total != 10 {
		t.Errorf("%d requests", total)
	}
	if out := render(t, r, Prometheus); !strings.Contains(out, "\nleno_series_refused_total 7\n") {
		t.Error(out)
	}
}

func TestIdleSeriesAreForgottenAndComeBack(t *testing.T) {
	r := NewRegistry(2, time.Minute)
	a, b := r.Series(Key{Destination: "a"}), r.Series(Key{Destination: "b"})
	start := time.Unix(1000, 0)
	b.Opened()
	r.Sweep(start)
	r.Sweep(start.Add(59 * time.Second))
	if len(r.series) != 2 {
		t.Fatal("forgotten too early")
	}
	r.Sweep(start.Add(time.Minute))
	if len(r.series) != 1 || r.Series(Key{Destination: "b"}) != b {
		t.Fatal("the idle series was kept, or the connected one was not")
	}
	a.Record(Request{Status: 200})
	if r.Series(Key{Destination: "a"}) != a || len(r.Deltas()) != 2 {
		t.Error("a kept handle did not come back")
	}
	r.Sweep(start.Add(2 * time.Minute))
	r.Sweep(start.Add(3 * time.Minute))
	c := r.Series(Key{Destination: "c"})
	a.Record(Request{Status: 200})
	if a.requests.Load() != 1 || r.other(Key{}).requests.Load() != 1 {
		t.Error("a kept handle passed the limit")
	}
	if d := c.Opened(); d != c || a.Opened() == a {
		t.Error("connections go to the wrong series")
	}
}

func TestAKeptHandleCountsInTheSeriesThatReplacedIt(t *testing.T) {
	r := NewRegistry(0, time.Minute)
	kept := r.Series(shop)
	r.Sweep(time.Unix(1000, 0))
	r.Sweep(time.Unix(1060, 0))
	next := r.Series(shop)
	if next == kept {
		t.Fatal("the idle series was kept")
	}
	for range 3 {
		kept.Record(Request{Status: 200})
	}
	if next.requests.Load() != 3 || kept.instead.Load() != next {
		t.Errorf("%d requests", next.requests.Load())
	}
	r.Sweep(time.Unix(1120, 0))
	r.Sweep(time.Unix(1180, 0))
	kept.Record(Request{Status: 200})
	if r.Series(shop) != kept || kept.requests.Load() != 1 {
		t.Error("the handle did not come back after its replacement went too")
	}
}

func TestMetricsOfOthersAreWritten(t *testing.T) {
	r := NewRegistry(0, 0)
	r.Gauge("leno_goroutines", "Old.", func() float64 { return 1 })
	r.Gauge("leno_goroutines", "Goroutines \"now\\\n.", func() float64 { return math.Inf(-1) })
	r.Counter("leno_accepts", "Accepted.", func() float64 { return 1.5 })
	for format, want := range map[Format][]string{
		Prometheus:  {"# HELP leno_goroutines Goroutines \"now\\\\\\n.\n# TYPE leno_goroutines gauge\nleno_goroutines -Inf\n", "# TYPE leno_accepts_total counter\nleno_accepts_total 1.5\n"},
		OpenMetrics: {"# HELP leno_goroutines Goroutines \\\"now\\\\\\n.\n", "# TYPE leno_accepts counter\nleno_accepts_total 1.5\n# EOF\n"},
	} {
		out := render(t, r, format)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%q is not in %s", w, out)
			}
		}
	}
}

func TestTheFormatIsNegotiated(t *testing.T) {
	for accept, want := range map[string]Format{
		"": Prometheus, "*/*": Prometheus, "text/html": Prometheus,
		"application/openmetrics-text": OpenMetrics,
		"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2": OpenMetrics,
		"application/openmetrics-text;q=0.1, text/plain": Prometheus,
		"application/openmetrics-text;q=0":               Prometheus,
		"application/openmetrics-text;q=x":               Prometheus,
		"TEXT/PLAIN;q=0.9, Application/OpenMetrics-Text": OpenMetrics,
	} {
		if got := Negotiate(accept); got != want {
			t.Errorf("%q: got %s", accept, got.ContentType())
		}
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	r := NewRegistry(0, 0)
	s := r.Series(shop)
	req := Request{Status: 503, GRPC: 3, Duration: time.Millisecond, Sent: 1, Received: 2, Side: http.Upstream, Fault: http.KindReset}
	if n := testing.AllocsPerRun(1000, func() {
		r.Series(shop).Record(req)
		s.Opened().Carried(1, 2)
		s.Closed()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestCountingIsSafeForConcurrentUse(t *testing.T) {
	r := NewRegistry(0, time.Nanosecond)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				s := r.Series(shop).Opened()
				s.Record(Request{Status: 200})
				s.Closed()
			}
		})
	}
	total := uint64(0)
	for range 20 {
		for _, e := range r.Deltas() {
			total += e.Requests
		}
		render(t, r, OpenMetrics)
	}
	wg.Wait()
	for _, e := range r.Deltas() {
		total += e.Requests
	}
	if total != 4000 {
		t.Errorf("%d requests", total)
	}
}

func BenchmarkRecord(b *testing.B) {
	s := NewRegistry(0, 0).Series(shop)
	b.ReportAllocs()
	for b.Loop() {
		s.Record(Request{Status: 200, Duration: 1234567, Sent: 100, Received: 2000})
	}
}

func BenchmarkSeries(b *testing.B) {
	r := NewRegistry(0, 0)
	b.ReportAllocs()
	for b.Loop() {
		r.Series(shop)
	}
}

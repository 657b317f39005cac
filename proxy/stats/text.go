package stats

import (
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/leno-mesh/leno/proxy/http"
)

// Format is a text format for metrics.
type Format uint8

// The formats: Prometheus' 0.0.4 and OpenMetrics 1.0.
const (
	Prometheus Format = iota
	OpenMetrics
)

// ContentType returns the media type of the format.
func (f Format) ContentType() string {
	if f == OpenMetrics {
		return "application/openmetrics-text; version=1.0.0; charset=utf-8"
	}
	return "text/plain; version=0.0.4; charset=utf-8"
}

// Negotiate chooses the format for an Accept header: OpenMetrics where it is
// asked for at least as much as plain text.
func Negotiate(accept string) Format {
	best, format := 0.0, Prometheus
	for part := range strings.SplitSeq(accept, ",") {
		media, parameters, _ := strings.Cut(part, ";")
		q := quality(parameters)
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "application/openmetrics-text":
			if q > 0 && q >= best {
				best, format = q, OpenMetrics
			}
		case "text/plain", "text/*", "*/*":
			if q > best {
				best, format = q, Prometheus
			}
		}
	}
	return format
}

func quality(parameters string) float64 {
	for p := range strings.SplitSeq(parameters, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || !(q >= 0 && q <= 1) {
				return 0
			}
			return q
		}
	}
	return 1
}

// metric is a gauge or a counter that another package owns.
type metric struct {
	name, help string
	counter    bool
	read       func() float64
}

// Gauge adds a metric that is read at each collection. The name is one of the
// format's (letters, digits, underscores).
func (r *Registry) Gauge(name, help string, read func() float64) {
	r.add(metric{name: name, help: help, read: read})
}

// Counter is Gauge for a value that only grows; the name has no _total.
func (r *Registry) Counter(name, help string, read func() float64) {
	r.add(metric{name: name, help: help, counter: true, read: read})
}

func (r *Registry) add(m metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.metrics {
		if r.metrics[i].name == m.name {
			r.metrics[i] = m
			return
		}
	}
	r.metrics = append(r.metrics, m)
}

// WriteText writes all metrics. The lock is not held while it writes.
func (r *Registry) WriteText(w io.Writer, f Format) error {
	r.mu.RLock()
	list := r.all()
	metrics := append([]metric(nil), r.metrics...)
	refused := r.refused
	r.mu.RUnlock()
	t := &text{w: w, format: f}
	rows := make([]row, 0, len(list))
	for _, s := range list {
		rows = append(rows, row{labels(&s.key), s.read()})
	}
	t.traffic(rows)
	t.family("leno_series_refused", "counter", "", "Lookups that were counted as other because there are too many series.")
	t.sample("leno_series_refused", "_total", "", float64(refused))
	for _, m := range metrics {
		if m.counter {
			t.family(m.name, "counter", "", m.help)
			t.sample(m.name, "_total", "", m.read())
		} else {
			t.family(m.name, "gauge", "", m.help)
			t.sample(m.name, "", "", m.read())
		}
	}
	if f == OpenMetrics {
		t.buf = append(t.buf, "# EOF\n"...)
	}
	t.flush(0)
	return t.err
}

type row struct {
	labels string
	*snapshot
}

// text builds the output in pieces.
type text struct {
	w      io.Writer
	format Format
	buf    []byte
	err    error
}

const flushAt = 32 << 10

func (t *text) flush(at int) {
	if len(t.buf) <= at {
		return
	}
	if t.err == nil {
		_, t.err = t.w.Write(t.buf)
	}
	t.buf = t.buf[:0]
}

func (t *text) family(name, kind, unit, help string) {
	suffix := ""
	if kind == "counter" && t.format == Prometheus {
		suffix = "_total"
	}
	t.buf = append(t.buf, "# HELP "+name+suffix+" "+escape(help, t.format == OpenMetrics)+"\n# TYPE "+name+suffix+" "+kind+"\n"...)
	if unit != "" && t.format == OpenMetrics {
		t.buf = append(t.buf, "# UNIT "+name+" "+unit+"\n"...)
	}
}

func (t *text) sample(name, suffix, labels string, v float64) {
	t.buf = append(t.buf, name...)
	t.buf = append(t.buf, suffix...)
	if labels != "" {
		t.buf = append(append(append(t.buf, '{'), labels...), '}')
	}
	t.buf = append(t.buf, ' ')
	switch {
	case math.IsInf(v, 1):
		t.buf = append(t.buf, "+Inf"...)
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		t.buf = strconv.AppendInt(t.buf, int64(v), 10)
	default:
		t.buf = strconv.AppendFloat(t.buf, v, 'g', -1, 64)
	}
	t.buf = append(t.buf, '\n')
	t.flush(flushAt)
}

func (t *text) traffic(rows []row) {
	t.family("leno_requests", "counter", "", "Requests that ended, by HTTP status; 0 is no answer.")
	for i := range rows {
		for _, c := range rows[i].codes {
			code := `,code="` + strconv.Itoa(c.code) + `",class="` + strconv.Itoa(c.code/100) + `xx"`
			t.sample("leno_requests", "_total", rows[i].labels+code, float64(c.count))
		}
	}
	t.family("leno_grpc_requests", "counter", "", "Requests that ended with a gRPC status.")
	for i := range rows {
		for code, n := range rows[i].grpc {
			if n > 0 {
				t.sample("leno_grpc_requests", "_total", rows[i].labels+`,grpc_status="`+strconv.Itoa(code)+`"`, float64(n))
			}
		}
	}
	t.family("leno_request_faults", "counter", "", "Requests that a peer or this proxy failed, by cause.")
	for i := range rows {
		for kind, n := range rows[i].faults {
			if n > 0 {
				t.sample("leno_request_faults", "_total", rows[i].labels+`,fault="`+http.Kind(kind).String()+`"`, float64(n))
			}
		}
	}
	t.each(rows, "leno_request_failures", "counter", "Requests answered by 5xx, by a gRPC status of a server's fault, or not at all.",
		func(s *snapshot) float64 { return float64(s.failures) })
	t.each(rows, "leno_bytes_sent", "counter", "Bytes towards the destination.", func(s *snapshot) float64 { return float64(s.sent) })
	t.each(rows, "leno_bytes_received", "counter", "Bytes from the destination.", func(s *snapshot) float64 { return float64(s.received) })
	t.each(rows, "leno_connections_opened", "counter", "Connections opened.", func(s *snapshot) float64 { return float64(s.opened) })
	t.each(rows, "leno_connections_active", "gauge", "Connections open now.", func(s *snapshot) float64 { return float64(s.active) })
	t.durations(rows)
}

func (t *text) each(rows []row, name, kind, help string, value func(*snapshot) float64) {
	t.family(name, kind, "", help)
	suffix := ""
	if kind == "counter" {
		suffix = "_total"
	}
	for i := range rows {
		t.sample(name, suffix, rows[i].labels, value(rows[i].snapshot))
	}
}

// firstExported and lastExported bound the exported bucket bounds, powers of
// two from 256 µs to 67 s.
const firstExported, lastExported = 8, 26

func (t *text) durations(rows []row) {
	const name = "leno_request_duration_seconds"
	t.family(name, "histogram", "seconds", "Time from a request's head to the end of its answer.")
	for i := range rows {
		var count uint64
		next := 0
		for octave := firstExported; octave <= lastExported; octave++ {
			end := uint64(1) << octave
			for next < overflow && bucketEnd(next) <= end {
				count += rows[i].snapshot.durations[next]
				next++
			}
			t.sample(name, "_bucket", rows[i].labels+`,le="`+strconv.FormatFloat(float64(end)/1e6, 'g', -1, 64)+`"`, float64(count))
		}
		for ; next < bucketCount; next++ {
			count += rows[i].snapshot.durations[next]
		}
		t.sample(name, "_bucket", rows[i].labels+`,le="+Inf"`, float64(count))
		t.sample(name, "_sum", rows[i].labels, float64(rows[i].sum)/1e9)
		t.sample(name, "_count", rows[i].labels, float64(count))
	}
}

func labels(k *Key) string {
	direction := "outbound"
	if k.Inbound {
		direction = "inbound"
	}
	return `direction="` + direction + `",source="` + escape(k.Source, true) + `",destination="` + escape(k.Destination, true) +
		`",route="` + escape(k.Route, true) + `",protocol="` + escape(k.Protocol, true) + `",mtls="` + strconv.FormatBool(k.MTLS) + `"`
}

// escape is for label values and, without quotes, for help in Prometheus' format.
func escape(s string, quotes bool) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if !strings.ContainsAny(s, "\\\n\"") {
		return s
	}
	s = strings.ReplaceAll(s, `\`, `\\`)
	s = strings.ReplaceAll(s, "\n", `\n`)
	if quotes {
		s = strings.ReplaceAll(s, `"`, `\"`)
	}
	return s
}

package cli

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

// goodEnough is the part of requests that must succeed.
const goodEnough = 0.999

// flow is what goes over an edge, all routes together.
type flow struct {
	edge
	protocol string
	mtls     bool    // all of it
	rps      float64 // of the last window
	failing  float64 // requests a second that failed
	denied   float64 // requests a second that policy refused
	bytes    float64 // a second
	p50, p99 float64 // milliseconds
	share    float64 // of the versions' requests, 1 where nothing is split
}

// versions are Services that are one for their callers.
var versions = map[string]string{"catalogue-v1": "catalogue", "catalogue-v2": "catalogue"}

func (f *flow) carries() bool { return f.rps > 0 || f.bytes > 0 }

// success is the share of requests that were served. What policy refuses is no
// fault of the destination, but neither did the caller get what it wanted.
func (f *flow) success() float64 {
	if f.rps == 0 {
		return 1
	}
	return 1 - (f.failing+f.denied)/f.rps
}

// flowsOf sums rows of the traffic table by edge: the shop's edges first, in
// their order, then others that carry something.
func flowsOf(rows []*adminv1.TrafficRow) []flow {
	flows := make([]flow, len(demoEdges))
	for i, e := range demoEdges {
		flows[i] = flow{edge: e, mtls: true}
	}
	busiest := make(map[edge]float64)
	for _, row := range rows {
		e := edge{shortName(row.GetSource()), shortName(row.GetDestination())}
		i := slices.IndexFunc(flows, func(f flow) bool { return f.edge == e })
		if i < 0 {
			i = len(flows)
			flows = append(flows, flow{edge: e, mtls: true})
		}
		f := &flows[i]
		rps := row.GetRequestsPerSecond()
		if rps > 0 || row.GetBytesPerSecond() > 0 {
			f.mtls = f.mtls && row.GetMtls()
		}
		if rps >= busiest[e] {
			busiest[e] = rps
			f.protocol, f.p50, f.p99 = row.GetProtocol(), row.GetP50Milliseconds(), row.GetP99Milliseconds()
		}
		f.rps += rps
		f.failing += rps * (1 - row.GetSuccessRate())
		f.denied += rps * row.GetDeniedRate()
		f.bytes += row.GetBytesPerSecond()
	}
	slices.SortFunc(flows[len(demoEdges):], func(a, b flow) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to))
	})
	for i := range flows {
		f := &flows[i]
		f.mtls = f.mtls && f.carries()
		f.share = share(f, flows)
	}
	return slices.DeleteFunc(flows, func(f flow) bool { return !f.carries() && !slices.Contains(demoEdges[:], f.edge) })
}

// share is a version's part of what its caller sends to all of them.
func share(f *flow, flows []flow) float64 {
	all := 0.0
	for _, other := range flows {
		if other.from == f.from && versions[f.to] != "" && versions[other.to] == versions[f.to] {
			all += other.rps
		}
	}
	if all == 0 {
		return 1
	}
	return f.rps / all
}

// shortName is the account or service of NAMESPACE/NAME/..., of the shop's
// namespace.
func shortName(name string) string {
	rest, ok := strings.CutPrefix(name, demoNamespace+"/")
	if !ok {
		return name
	}
	name, _, _ = strings.Cut(rest, "/")
	return name
}

// total is what went over an edge from the beginning.
type total struct{ requests, failures, denied float64 }

// totals are what had gone over an edge by a second.
type totals map[int64]total

// at is the total by a second, or by the last one before it that is known.
func (t totals) at(second int64) total {
	best, found := int64(0), false
	for s := range t {
		if s <= second && (!found || s > best) {
			best, found = s, true
		}
	}
	return t[best]
}

func (t totals) newest() total { return t.at(math.MaxInt64) }

// tally adds up tables, which look back on a window, to totals: what was until
// now is the window and what was until the window began.
type tally struct {
	until map[edge]totals
	mtls  map[edge]bool // all that was seen
	seen  map[edge]bool // carried anything
	last  []flow
}

func newTally() *tally {
	return &tally{until: make(map[edge]totals), mtls: make(map[edge]bool), seen: make(map[edge]bool)}
}

// add takes the table of a second, when traffic has flowed for some time.
// Seconds do not go backwards.
func (t *tally) add(second int64, window, flowed time.Duration, rows []*adminv1.TrafficRow) {
	t.last = flowsOf(rows)
	for _, f := range t.last {
		if f.carries() {
			t.mtls[f.edge] = f.mtls && (t.mtls[f.edge] || !t.seen[f.edge])
			t.seen[f.edge] = true
		}
		if t.until[f.edge] == nil {
			t.until[f.edge] = make(totals)
		}
		before := t.until[f.edge].at(second - int64(window/time.Second))
		t.until[f.edge][second] = total{
			before.requests + f.rps*window.Seconds(), before.failures + f.failing*window.Seconds(), before.denied + f.denied*window.Seconds(),
		}
	}
	if flowed >= window || flowed <= 0 {
		return
	}
	// At first there is nothing in most of the window.
	more := window.Seconds() / flowed.Seconds()
	for i := range t.last {
		f := &t.last[i]
		f.rps, f.failing, f.denied, f.bytes = f.rps*more, f.failing*more, f.denied*more, f.bytes*more
	}
}

// demoReport is demo -o json.
type demoReport struct {
	Edges          []edgeReport       `json:"edges"`
	Splits         map[string]float64 `json:"splits"` // share of the catalogue's requests by version
	Proxies        []demoProxy        `json:"proxies"`
	Sidecar        string             `json:"sidecar"` // the program that they run
	StartedInMS    int64              `json:"started_in_ms"`
	FirstRequestMS int64              `json:"first_request_ms"`
	OK             bool               `json:"ok"`
	Errors         []string           `json:"errors"`
}

type edgeReport struct {
	Source      string  `json:"source"`
	Destination string  `json:"destination"`
	Protocol    string  `json:"protocol"`
	MTLS        bool    `json:"mtls"`
	Requests    int64   `json:"requests"`
	Failures    int64   `json:"failures"`
	Denied      int64   `json:"denied"` // by policy, and no failures
	RPS         float64 `json:"rps"`
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
}

type demoProxy struct {
	Name          string `json:"name"`
	Service       string `json:"service"`
	Healthy       bool   `json:"healthy"`
	Synced        bool   `json:"synced"`
	ResidentBytes uint64 `json:"resident_bytes"`
}

// edges reports every edge and says what is wrong with those of the shop.
func (t *tally) edges() (edges []edgeReport, wrong []string) {
	edges = []edgeReport{}
	for _, f := range t.last {
		sum := t.until[f.edge].newest()
		edges = append(edges, edgeReport{
			Source: f.from, Destination: f.to, Protocol: f.protocol, MTLS: t.mtls[f.edge],
			Requests: int64(math.Round(sum.requests)), Failures: int64(math.Round(sum.failures)), Denied: int64(math.Round(sum.denied)),
			RPS: rounded(f.rps), P50: rounded(f.p50), P99: rounded(f.p99),
		})
	}
	for _, e := range demoEdges {
		sum := t.until[e].newest()
		switch {
		case !t.seen[e]:
			wrong = append(wrong, fmt.Sprintf("%s never called %s", e.from, e.to))
		case !t.mtls[e]:
			wrong = append(wrong, fmt.Sprintf("calls of %s to %s went without mutual TLS", e.from, e.to))
		case sum.requests > 0 && sum.failures > sum.requests*(1-goodEnough):
			wrong = append(wrong, fmt.Sprintf("%.0f of %.0f calls of %s to %s failed", sum.failures, sum.requests, e.from, e.to))
		case sum.requests > 0 && sum.denied > sum.requests*(1-goodEnough):
			wrong = append(wrong, fmt.Sprintf("%.0f of %.0f calls of %s to %s were denied", sum.denied, sum.requests, e.from, e.to))
		}
	}
	return edges, wrong
}

// splits are the shares of the versions now.
func (t *tally) splits() map[string]float64 {
	shares := make(map[string]float64)
	for _, f := range t.last {
		if versions[f.to] != "" {
			shares[f.to] = rounded(f.share)
		}
	}
	return shares
}

func rounded(x float64) float64 { return math.Round(x*1000) / 1000 }

// Package traffic keeps what proxies report about requests, for the last
// seconds: who talks to whom over which route, how fast and how well.
package traffic

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
)

const (
	slots      = 10 // seconds that a table looks back on
	maxSeries  = 200_000
	maxReport  = 300 // series of one proxy in one report
	maxBuckets = 64  // durations of one series
	maxText    = 256 // bytes of a name
	other      = "other"
	unrouted   = "default" // the route of requests that no route of the user takes; every service has it
)

// Reporter is the proxy that reports, with what its certificate says of it.
type Reporter struct {
	Name               string // unique among all proxies
	Namespace, Account string
}

// Traffic is a sliding window of all reports. It is safe for concurrent use.
type Traffic struct {
	now func() time.Time
	max int

	mu     sync.Mutex // guards all below
	series map[key]*series
	swept  int64 // second of the last sweep
}

type key struct {
	source, destination, route, protocol string
	mtls, inbound                        bool
}

// series is the traffic of one key: a ring of seconds.
type series struct {
	ring   [slots]second
	active map[string]int64 // open connections by proxy
}

type second struct {
	at                 int64 // seconds since 1970; the slot is stale when it is not the one asked for
	requests, failures uint64
	denied             uint64
	bytes              uint64
	durations          []bucket // by le
}

type bucket struct{ le, count uint64 }

// New returns an empty window. now is time.Now when nil.
func New(now func() time.Time) *Traffic {
	if now == nil {
		now = time.Now
	}
	return &Traffic{now: now, max: maxSeries, series: make(map[key]*series)}
}

// Record takes a report. A proxy speaks of its own traffic only: what it sent
// is from its own account, what it took is to its own namespace; anything else
// is dropped.
func (t *Traffic) Record(who Reporter, m *agentv1.Metrics) {
	at := t.now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(at)
	edges := m.GetEdges()
	for _, e := range edges[:min(len(edges), maxReport)] {
		k := key{
			source: e.GetSource(), destination: e.GetDestination(), route: e.GetRoute(), protocol: e.GetProtocol(),
			mtls: e.GetMtls(), inbound: e.GetInbound(),
		}
		if !k.inbound {
			k.source = who.Namespace + "/" + who.Account
		} else if !strings.HasPrefix(k.destination, who.Namespace+"/") {
			continue
		}
		if max(len(k.source), len(k.destination), len(k.route), len(k.protocol)) > maxText {
			continue
		}
		t.find(k).add(at, who.Name, e)
	}
}

// find returns the series of a key; when there are too many, the one for the
// rest.
func (t *Traffic) find(k key) *series {
	s := t.series[k]
	if s == nil && len(t.series) >= t.max {
		k = key{source: other, destination: other, inbound: k.inbound}
		s = t.series[k]
	}
	if s == nil {
		s = &series{}
		t.series[k] = s
	}
	return s
}

func (s *series) add(at int64, proxy string, e *agentv1.Edge) {
	slot := &s.ring[at%slots]
	if slot.at != at {
		*slot = second{at: at, durations: slot.durations[:0]}
	}
	slot.requests += e.GetRequests()
	slot.failures += min(e.GetFailures(), e.GetRequests())
	for _, c := range e.GetCodes() {
		if c.GetKey() == "403" || c.GetKey() == "grpc:7" {
			slot.denied += c.GetCount()
		}
	}
	slot.bytes += e.GetBytesSent() + e.GetBytesReceived()
	for _, d := range e.GetDurations() {
		i, found := slices.BinarySearchFunc(slot.durations, d.GetLe(), func(b bucket, le uint64) int { return cmp.Compare(b.le, le) })
		switch {
		case found:
			slot.durations[i].count += d.GetCount()
		case len(slot.durations) < maxBuckets:
			slot.durations = slices.Insert(slot.durations, i, bucket{d.GetLe(), d.GetCount()})
		}
	}
	switch {
	case e.GetConnectionsActive() > 0:
		if s.active == nil {
			s.active = make(map[string]int64)
		}
		s.active[proxy] = e.GetConnectionsActive()
	default:
		delete(s.active, proxy)
	}
}

// Leave forgets the open connections of a proxy that has gone.
func (t *Traffic) Leave(proxy string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.series {
		delete(s.active, proxy)
	}
}

// sweep drops, once a second, what has fallen out of the window.
func (t *Traffic) sweep(at int64) {
	if t.swept == at {
		return
	}
	t.swept = at
	for k, s := range t.series {
		if len(s.active) == 0 && !slices.ContainsFunc(s.ring[:], func(sec second) bool { return inWindow(sec, at) }) {
			delete(t.series, k)
		}
	}
}

func inWindow(s second, at int64) bool { return s.at > at-slots && s.at <= at }

// Table returns the rates of the last ten seconds, by source, destination,
// route and protocol. Where both ends report the same traffic, the sender's
// word counts, because it knows the route.
func (t *Traffic) Table() (time.Duration, []*adminv1.TrafficRow) {
	at := t.now().Unix()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(at)
	type edge struct{ source, destination string } // the proxies between may speak another protocol than the ends
	sent := make(map[edge]bool)
	for k := range t.series {
		if !k.inbound {
			sent[edge{k.source, k.destination}] = true
		}
	}
	type group struct{ source, route string }
	totals := make(map[group]float64)
	rows := make([]*adminv1.TrafficRow, 0, len(t.series))
	for k, s := range t.series {
		if k.inbound && sent[edge{k.source, k.destination}] {
			continue
		}
		row := s.row(at)
		row.Source, row.Destination, row.Route, row.Protocol, row.Mtls = k.source, k.destination, k.route, k.protocol, k.mtls
		totals[group{row.Source, row.Route}] += row.RequestsPerSecond
		rows = append(rows, row)
	}
	for _, row := range rows {
		row.Share = 1
		if total := totals[group{row.Source, row.Route}]; row.Route != "" && row.Route != unrouted && total > 0 {
			row.Share = row.RequestsPerSecond / total
		}
	}
	slices.SortFunc(rows, func(a, b *adminv1.TrafficRow) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination),
			cmp.Compare(a.Route, b.Route), cmp.Compare(a.Protocol, b.Protocol), compareBool(a.Mtls, b.Mtls))
	})
	return slots * time.Second, rows
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (s *series) row(at int64) *adminv1.TrafficRow {
	var total second
	for _, sec := range s.ring {
		if !inWindow(sec, at) {
			continue
		}
		total.requests += sec.requests
		total.failures += sec.failures
		total.denied += sec.denied
		total.bytes += sec.bytes
		total.durations = append(total.durations, sec.durations...)
	}
	row := &adminv1.TrafficRow{
		RequestsPerSecond: float64(total.requests) / slots,
		BytesPerSecond:    float64(total.bytes) / slots,
		SuccessRate:       1,
	}
	if total.requests > 0 {
		row.SuccessRate = 1 - float64(total.failures)/float64(total.requests)
		row.DeniedRate = min(float64(total.denied)/float64(total.requests), 1)
	}
	slices.SortFunc(total.durations, func(a, b bucket) int { return cmp.Compare(a.le, b.le) })
	row.P50Milliseconds = quantile(total.durations, 0.50)
	row.P99Milliseconds = quantile(total.durations, 0.99)
	for _, n := range s.active {
		row.Connections += n
	}
	return row
}

// quantile reads a percentile in milliseconds from sorted buckets of
// microseconds, evenly spread within each. The same le may occur repeatedly.
func quantile(buckets []bucket, q float64) float64 {
	var total uint64
	for _, b := range buckets {
		total += b.count
	}
	if total == 0 {
		return 0
	}
	rank := q * float64(total)
	var below uint64
	var lower uint64 // the next smaller le
	for i := 0; i < len(buckets); {
		le, count := buckets[i].le, uint64(0)
		for ; i < len(buckets) && buckets[i].le == le; i++ {
			count += buckets[i].count
		}
		if count > 0 && float64(below+count) >= rank {
			return (float64(lower) + float64(le-lower)*(rank-float64(below))/float64(count)) / 1000
		}
		below += count
		lower = le
	}
	return float64(lower) / 1000
}

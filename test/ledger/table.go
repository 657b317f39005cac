package ledger

import (
	"fmt"
	"strings"
	"time"
)

// Table renders what a run found, a line for each protocol.
func Table(requests []Request, r *Report, l *Latencies) string {
	var sent [protocols]int
	var found [protocols][kinds]int
	of := make(map[ID]Protocol, len(requests))
	for i := range requests {
		q := &requests[i]
		of[q.ID] = q.Protocol
		sent[q.Protocol]++
	}
	strays := 0
	for _, f := range r.Findings {
		if p, ok := of[f.ID]; ok {
			found[p][f.Kind]++
		} else {
			strays++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s%9s", "", "requests")
	for k := range kinds {
		fmt.Fprintf(&b, "%11s", k)
	}
	fmt.Fprintf(&b, "%10s%10s%10s\n", "p50", "p99", "p99.9")
	for p := range protocols {
		fmt.Fprintf(&b, "%-12s%9d", p, sent[p])
		for k := range kinds {
			fmt.Fprintf(&b, "%11d", found[p][k])
		}
		for _, q := range []float64{0.5, 0.99, 0.999} {
			fmt.Fprintf(&b, "%10s", l.Quantile(p, q).Round(10*time.Microsecond))
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%d complete, %d failed as their backends did, %d findings of ids that nobody sent\n", r.Completed, r.Refused, strays)
	return b.String()
}

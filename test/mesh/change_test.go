package mesh_test

import (
	"context"
	"testing"
	"time"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

// BenchmarkChangeInForce measures from the store's acknowledgement of a changed
// weight to its ack by every sidecar that it concerns: make bench-change.
func BenchmarkChangeInForce(b *testing.B) {
	m := newMesh(b)
	one, two := m.httpApp(text("v1")), m.httpApp(text("v2"))
	m.apply(service("shop", 80, one, "http") + service("shop-v1", 80, one, "http") + service("shop-v2", 80, two, "http") + split(100, 0))
	m.join("shop-v1", "one", withPort(one))
	m.join("shop-v2", "two", withPort(two))
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		m.join("web", name, withUpstream("shop", 80, m.freePort()))
	}
	m.registered(10)
	var worst time.Duration
	b.ResetTimer()
	for i := range b.N {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		res, err := m.admin.Apply(ctx, &adminv1.ApplyRequest{Documents: []*adminv1.Document{{Source: "split.yaml", Content: split(i%99+1, 50)}}})
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		m.wait(ctx, res.GetRevision())
		worst = max(worst, time.Since(begun))
		cancel()
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}

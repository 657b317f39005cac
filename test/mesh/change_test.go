package mesh_test

import (
	"context"
	"testing"
	"time"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/test/mesh/meshtest"
)

// BenchmarkChangeInForce measures from the store's acknowledgement of a changed
// weight to its ack by every sidecar that it concerns: make bench-change.
func BenchmarkChangeInForce(b *testing.B) {
	m := meshtest.New(b)
	one, two := m.HTTPApp(meshtest.Text("v1")), m.HTTPApp(meshtest.Text("v2"))
	m.Apply(meshtest.Service("shop", 80, one, "http") + meshtest.Service("shop-v1", 80, one, "http") + meshtest.Service("shop-v2", 80, two, "http") + split(100, 0))
	m.Join("shop-v1", "one", meshtest.WithPort(one))
	m.Join("shop-v2", "two", meshtest.WithPort(two))
	for _, name := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		m.Join("web", name, meshtest.WithUpstream("shop", 80, m.FreePort()))
	}
	m.Registered(10)
	var worst time.Duration
	b.ResetTimer()
	for i := range b.N {
		ctx, cancel := context.WithTimeout(b.Context(), 10*time.Second)
		res, err := m.Admin.Apply(ctx, &adminv1.ApplyRequest{Documents: []*adminv1.Document{{Source: "split.yaml", Content: split(i%99+1, 50)}}})
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		m.Wait(ctx, res.GetRevision())
		worst = max(worst, time.Since(begun))
		cancel()
	}
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms")
}

package traffic

import (
	"fmt"
	"math"
	"testing"
	"time"

	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
)

var web = Reporter{Name: "front/web/p1", Namespace: "front", Account: "web"}

func newAt(second *int64) *Traffic { return New(func() time.Time { return time.Unix(*second, 0) }) }

func edges(e ...*agentv1.Edge) *agentv1.Metrics { return &agentv1.Metrics{Edges: e} }

func TestTableHoldsTheLastTenSeconds(t *testing.T) {
	now := int64(1000)
	tr := newAt(&now)
	for range 10 {
		tr.Record(web, edges(&agentv1.Edge{
			Destination: "shop/cart/80", Route: "shop/canary/0", Protocol: "h2", Mtls: true, Requests: 30, Failures: 3, BytesSent: 10,
			Durations: []*agentv1.Bucket{{Le: 1000, Count: 15}, {Le: 2000, Count: 15}},
		}, &agentv1.Edge{Destination: "shop/cart-v2/80", Route: "shop/canary/0", Protocol: "h2", Requests: 10, ConnectionsActive: 2}))
		now++
	}
	now--
	window, rows := tr.Table()
	if window != 10*time.Second || len(rows) != 2 {
		t.Fatalf("window %v, rows %v", window, rows)
	}
	v2, v1 := rows[0], rows[1]
	if v1.Source != "front/web" || v1.RequestsPerSecond != 30 || math.Abs(v1.SuccessRate-0.9) > 1e-9 || v1.BytesPerSecond != 10 || !v1.Mtls {
		t.Errorf("row is %v", v1)
	}
	if v1.P50Milliseconds != 1 || math.Abs(v1.P99Milliseconds-1.98) > 1e-9 {
		t.Errorf("percentiles are %v and %v", v1.P50Milliseconds, v1.P99Milliseconds)
	}
	if v1.Share != 0.75 || v2.Share != 0.25 || v2.Connections != 2 {
		t.Errorf("shares are %v and %v, connections %d", v1.Share, v2.Share, v2.Connections)
	}
	now += 5
	if _, rows := tr.Table(); rows[1].RequestsPerSecond != 15 {
		t.Errorf("half the window later there are %v requests a second", rows[1].RequestsPerSecond)
	}
	now += 5
	if _, rows := tr.Table(); len(rows) != 1 || rows[0].Connections != 2 {
		t.Errorf("a window later there are %v", rows)
	}
	tr.Leave(web.Name)
	now++
	if _, rows := tr.Table(); len(rows) != 0 {
		t.Errorf("the proxy has left, and there are %v", rows)
	}
}

func TestAProxySpeaksOfItsOwnTrafficOnly(t *testing.T) {
	now := int64(1000)
	tr := newAt(&now)
	tr.Record(web, edges(
		&agentv1.Edge{Source: "shop/admin", Destination: "shop/cart/80", Requests: 1},
		&agentv1.Edge{Source: "shop/admin", Destination: "shop/pay/80", Requests: 1, Inbound: true},
		&agentv1.Edge{Source: "shop/admin", Destination: "front/web/80", Requests: 1, Inbound: true},
	))
	_, rows := tr.Table()
	if len(rows) != 2 || rows[0].Source != "front/web" || rows[1].Destination != "front/web/80" {
		t.Errorf("rows are %v", rows)
	}
}

func TestTheSendersWordCounts(t *testing.T) {
	now := int64(1000)
	tr := newAt(&now)
	cart := Reporter{Name: "c", Namespace: "shop", Account: "cart"}
	tr.Record(cart, edges(&agentv1.Edge{Source: "front/web", Destination: "shop/cart/80", Protocol: "h2", Requests: 10, Inbound: true}))
	if _, rows := tr.Table(); len(rows) != 1 {
		t.Fatalf("rows are %v", rows)
	}
	tr.Record(web, edges(&agentv1.Edge{Destination: "shop/cart/80", Protocol: "h2", Route: "r", Requests: 10}))
	if _, rows := tr.Table(); len(rows) != 1 || rows[0].Route != "r" {
		t.Errorf("rows are %v", rows)
	}
}

func TestServicesWithoutARouteShareNothing(t *testing.T) {
	now := int64(1000)
	tr := newAt(&now)
	tr.Record(web, edges(
		&agentv1.Edge{Destination: "shop/cart/80", Route: "default", Requests: 10},
		&agentv1.Edge{Destination: "shop/pay/80", Route: "default", Requests: 10},
	))
	_, rows := tr.Table()
	if len(rows) != 2 || rows[0].Share != 1 || rows[1].Share != 1 {
		t.Errorf("rows are %v", rows)
	}
}

func TestTooManySeriesAreOther(t *testing.T) {
	now := int64(1000)
	tr := newAt(&now)
	tr.max = 5
	for i := range 20 {
		tr.Record(web, edges(&agentv1.Edge{Destination: fmt.Sprintf("shop/s%d/80", i), Requests: 10}))
	}
	_, rows := tr.Table()
	if len(rows) != 6 {
		t.Fatalf("%d rows", len(rows))
	}
	var sum float64
	for _, r := range rows {
		sum += r.RequestsPerSecond
		if r.Source == other && r.RequestsPerSecond != 15 {
			t.Errorf("other has %v", r.RequestsPerSecond)
		}
	}
	if sum != 20 {
		t.Errorf("%v requests a second in all", sum)
	}
}

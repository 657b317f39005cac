package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

func specs(n int) (list []Spec) {
	for i := range n {
		list = append(list, Spec{Identity: Identity{Address: fmt.Sprintf("10.0.0.%d:80", i+1)}})
	}
	return list
}

func pickerOf(t testing.TB, p Policy, s *Set) Picker {
	t.Helper()
	k, err := NewPicker(p, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var policies = map[string]Policy{"peak EWMA": PeakEWMA, "least request": LeastRequest, "round robin": RoundRobin, "random": Random, "ring hash": RingHash, "Maglev": Maglev}

func ask(r *rand.Rand, now int64) Ask { return Ask{Now: now, Random: r.Uint64()} }

func TestEndpointsOutliveSets(t *testing.T) {
	a := NewSet(nil, append(specs(3), specs(1)...))
	if len(a.Endpoints()) != 3 || len(a.Specs()) != 3 {
		t.Fatalf("%d endpoints", len(a.Endpoints()))
	}
	kept := a.Endpoints()[1]
	kept.Begin(1)
	next := specs(2)
	next[1].Weight, next[1].Health = 7, Degraded
	next = append(next, Spec{Identity: Identity{Address: "10.0.0.3:80", Key: "v2"}}, Spec{Identity: Identity{Address: "/run/app.sock"}})
	b := NewSet(a, next)
	if b.Endpoints()[1] != kept || kept.InFlight() != 1 || kept.Weight() != 7 || kept.Health() != Degraded {
		t.Error("the endpoint was not carried over")
	}
	gone := b.Gone(a)
	if len(gone) != 1 || gone[0] != a.Endpoints()[2] {
		t.Errorf("gone: %v", gone)
	}
	if !b.Endpoints()[2].Addr.IsValid() || b.Endpoints()[3].Addr.IsValid() {
		t.Error("addresses are wrong")
	}
	if b.Lookup(Identity{Address: "10.0.0.1:80"}) != a.Endpoints()[0] || len(a.Gone(nil)) != 0 {
		t.Error("lookup is wrong")
	}
}

func TestWeightsAreHonoured(t *testing.T) {
	list := specs(5)
	weights := []uint32{1, 2, 3, 4, 10}
	for i := range list {
		list[i].Weight = weights[i]
	}
	for name, policy := range policies {
		s := NewSet(nil, list)
		p, r := pickerOf(t, policy, s), rand.New(rand.NewPCG(1, 1))
		got := map[*Endpoint]float64{}
		const n, held = 40000, 60
		var busy []*Endpoint
		now := int64(1)
		for range n {
			now += int64(time.Millisecond)
			e := p.Pick(ask(r, now))
			got[e]++
			e.Begin(now)
			if busy = append(busy, e); len(busy) > held {
				busy[0].End(now, Outcome{Latency: 10 * time.Millisecond})
				busy = busy[1:]
			}
		}
		for i, e := range s.Endpoints() {
			want := float64(n) * float64(weights[i]) / 20
			if math.Abs(got[e]-want) > 0.2*want {
				t.Errorf("%s: weight %d got %.0f of %.0f", name, weights[i], got[e], want)
			}
		}
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	list := specs(3)
	list[0].Weight, list[1].Weight, list[2].Weight = 2, 1, 1
	s := NewSet(nil, list)
	p, r := pickerOf(t, RoundRobin, s), rand.New(rand.NewPCG(1, 1))
	heavy, last := 0, 0
	for i := range 400 {
		if p.Pick(ask(r, 1)) != s.Endpoints()[0] {
			continue
		}
		heavy++
		if heavy > 1 && i-last > 3 {
			t.Fatalf("%d picks passed without the heaviest", i-last)
		}
		last = i
	}
	if heavy != 200 {
		t.Errorf("half of the weight got %d of 400", heavy)
	}
}

func TestProxiesStartAtDifferentEndpoints(t *testing.T) {
	starts := map[*Endpoint]bool{}
	s := NewSet(nil, specs(50))
	for seed := range uint64(50) {
		p, err := NewPicker(RoundRobin, s, seed)
		if err != nil {
			t.Fatal(err)
		}
		starts[p.Pick(Ask{Now: 1})] = true
	}
	if len(starts) < 20 {
		t.Errorf("only %d starts of 50", len(starts))
	}
}

func TestTriedEndpointsComeLast(t *testing.T) {
	for name, policy := range policies {
		s := NewSet(nil, specs(3))
		p, r := pickerOf(t, policy, s), rand.New(rand.NewPCG(1, 1))
		e := s.Endpoints()
		for range 200 {
			a := ask(r, 1)
			a.Tried = [3]*Endpoint{e[0], e[2]}
			if p.Pick(a) != e[1] {
				t.Fatalf("%s: took an endpoint that was tried", name)
			}
			a.Tried[1], a.Tried[2] = e[1], e[2]
			if p.Pick(a) == nil {
				t.Fatalf("%s: took none though all are usable", name)
			}
		}
	}
}

func TestLevelsFollowEachOther(t *testing.T) {
	list := specs(6)
	list[0].Priority, list[1].Priority = 1, 1
	list[2].Health, list[3].Health, list[4].Health, list[5].Health = Degraded, Draining, Unhealthy, Unhealthy
	pick := func(list []Spec) map[string]bool {
		got := map[string]bool{}
		for _, policy := range policies {
			p, r := pickerOf(t, policy, NewSet(nil, list)), rand.New(rand.NewPCG(1, 1))
			for range 200 {
				if e := p.Pick(ask(r, 1)); e != nil {
					got[e.Address] = true
				} else {
					got["none"] = true
				}
			}
		}
		return got
	}
	for i, want := range []string{
		"map[10.0.0.1:80:true 10.0.0.2:80:true]", "map[10.0.0.2:80:true]", "map[10.0.0.3:80:true]", "map[none:true]",
	} {
		if got := fmt.Sprint(pick(list)); got != want {
			t.Errorf("without the first %d: got %s, want %s", i, got, want)
		}
		list[min(i, 2)].Health = Unhealthy
	}
	if pickerOf(t, Random, NewSet(nil, nil)).Pick(Ask{}) != nil {
		t.Error("an empty set has an endpoint")
	}
}

func refuse(e *Endpoint, now int64) {
	e.Begin(now)
	e.End(now, Outcome{Result: Unreachable})
}

func TestUnreachableEndpointsAreEjectedLongerAndLonger(t *testing.T) {
	e := NewSet(nil, specs(1)).Endpoints()[0]
	now := int64(1)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		// Failures that come together count once.
		refuse(e, now)
		refuse(e, now+1)
		length := int64(want * time.Second)
		if !e.Ejected(now+length-1) || e.usable(now+length-1, 0) {
			t.Fatalf("not ejected for %d s", want)
		}
		now += length
		if e.Ejected(now) || !e.usable(now, 0) {
			t.Fatalf("still ejected after %d s", want)
		}
	}
	e.Begin(now)
	if e.usable(now, 0) {
		t.Error("a second exchange at the same time on probation")
	}
	e.End(now, Outcome{Latency: time.Millisecond})
	share := func(at time.Duration) (n int) {
		r := rand.New(rand.NewPCG(1, 1))
		for range 10000 {
			if e.usable(now+int64(at), r.Uint64()) {
				n++
			}
		}
		return n
	}
	if a, b, c := share(0), share(ramp/2), share(ramp); a < 500 || a > 1500 || b < 5000 || b > 6000 || c != 10000 {
		t.Errorf("the share grows as %d, %d, %d of 10000", a, b, c)
	}
	refuse(e, now+int64(ramp))
	if e.Ejected(now + int64(ramp+ejectFirst)) {
		t.Error("the first failure after a success ejects too long")
	}
}

func TestEjectedEndpointsAreAvoided(t *testing.T) {
	for name, policy := range policies {
		s := NewSet(nil, specs(4))
		p, r := pickerOf(t, policy, s), rand.New(rand.NewPCG(1, 1))
		refuse(s.Endpoints()[2], 1)
		for range 300 {
			if p.Pick(ask(r, 2)) == s.Endpoints()[2] {
				t.Fatalf("%s: picked an ejected endpoint", name)
			}
		}
	}
}

func TestEjectionNeverEmptiesASet(t *testing.T) {
	for name, policy := range policies {
		list := specs(4)
		s := NewSet(nil, list)
		p, r := pickerOf(t, policy, s), rand.New(rand.NewPCG(1, 1))
		for _, e := range s.Endpoints()[:3] {
			refuse(e, 1)
		}
		got := map[*Endpoint]bool{}
		for range 500 {
			got[p.Pick(ask(r, 2))] = true
		}
		if got[nil] || policy != PeakEWMA && len(got) != 4 {
			t.Errorf("%s: the load of 4 went to %d", name, len(got))
		}
		// With somewhere else to go, that is taken.
		list = append(specs(4), Spec{Identity: Identity{Address: "10.0.1.1:80"}, Priority: 1})
		s = NewSet(s, list)
		if p, e := pickerOf(t, policy, s), s.Endpoints()[4]; p.Pick(ask(r, 2)) != e {
			t.Errorf("%s: no failover to the next priority", name)
		}
	}
}

func TestTheAverageTakesPeaksAndForgets(t *testing.T) {
	var a average
	now := int64(1)
	for range 20 {
		a.observe(now, int64(10*time.Millisecond))
		now += int64(10 * time.Millisecond)
	}
	a.observe(now, int64(time.Second))
	if v := time.Duration(a.value(now)); v != time.Second {
		t.Errorf("the peak is %v", v)
	}
	if v := time.Duration(a.value(now + int64(decay))); v < 360*time.Millisecond || v > 380*time.Millisecond {
		t.Errorf("after the time constant it is %v", v)
	}
	a.atLeast(now, 1)
	if v := time.Duration(a.value(now)); v != time.Second {
		t.Errorf("a lower bound below it changed it to %v", v)
	}
	for range 4000 {
		now += int64(10 * time.Millisecond)
		a.observe(now, int64(10*time.Millisecond))
	}
	if v := time.Duration(a.value(now)); v > 30*time.Millisecond {
		t.Errorf("after 40 s of 10 ms it is %v", v)
	}
}

func TestFastFailuresDoNotAttract(t *testing.T) {
	s := NewSet(nil, specs(2))
	p, r := pickerOf(t, PeakEWMA, s), rand.New(rand.NewPCG(1, 1))
	bad := s.Endpoints()[1]
	picked := 0
	now := int64(1)
	for range 1000 {
		now += int64(time.Millisecond)
		e := p.Pick(ask(r, now))
		e.Begin(now)
		o := Outcome{Latency: 5 * time.Millisecond}
		if e == bad {
			picked++
			o = Outcome{Result: Failed, Latency: time.Microsecond}
		}
		e.End(now, o)
	}
	if picked > 5 {
		t.Errorf("%d of 1000 requests went to the endpoint that fails", picked)
	}
	if bad.Failures() != uint64(picked) || bad.Requests() != uint64(picked) {
		t.Error("the counts are wrong")
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	list := specs(10)
	list[3].Weight = 5
	for name, policy := range policies {
		s := NewSet(nil, list)
		p, r := pickerOf(t, policy, s), rand.New(rand.NewPCG(1, 1))
		refuse(s.Endpoints()[0], 1)
		now := int64(1)
		if n := testing.AllocsPerRun(1000, func() {
			now += 1000
			a := ask(r, now)
			a.Tried[0] = s.Endpoints()[1]
			e := p.Pick(a)
			e.Begin(now)
			e.End(now+500, Outcome{Latency: 500})
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestPickersAreSafeForConcurrentUse(t *testing.T) {
	for _, policy := range policies {
		s := NewSet(nil, specs(4))
		p := pickerOf(t, policy, s)
		var wg sync.WaitGroup
		for g := range uint64(4) {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(g, 1))
				for i := range int64(2000) {
					e := p.Pick(ask(r, i+1))
					e.Begin(i + 1)
					e.End(i+2, Outcome{Result: Result(r.IntN(4)), Latency: time.Duration(r.IntN(1000))})
				}
			})
		}
		wg.Wait()
		for _, e := range s.Endpoints() {
			if e.InFlight() != 0 {
				t.Errorf("%d in flight at the end", e.InFlight())
			}
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for name, policy := range policies {
		s := NewSet(nil, specs(100))
		p, r := pickerOf(b, policy, s), rand.New(rand.NewPCG(1, 1))
		now := int64(1)
		for range 1000 {
			e := p.Pick(ask(r, now))
			e.Begin(now)
			e.End(now, Outcome{Latency: time.Millisecond})
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				now += 1000
				e := p.Pick(ask(r, now))
				e.Begin(now)
				e.End(now, Outcome{Latency: time.Millisecond})
			}
		})
	}
}

package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cespare/xxhash/v2"
)

var affinities = map[string]Policy{"ring hash": RingHash, "Maglev": Maglev}

func hashed(h uint64) Ask {
	return Ask{Now: 1, Hash: xxhash.Sum64String(fmt.Sprint(h)), HasHash: true, Random: h}
}

func TestAHashStaysOnItsEndpoint(t *testing.T) {
	for name, policy := range affinities {
		s := NewSet(nil, specs(10))
		p, again := pickerOf(t, policy, s), pickerOf(t, policy, NewSet(s, specs(10)))
		for h := range uint64(1000) {
			a := hashed(h)
			b := a
			b.Random = rand.Uint64()
			if p.Pick(a) != again.Pick(b) {
				t.Fatalf("%s: the hash moved", name)
			}
		}
	}
}

func TestWithoutHashAllEndpointsAreUsed(t *testing.T) {
	for name, policy := range affinities {
		p, r := pickerOf(t, policy, NewSet(nil, specs(5))), rand.New(rand.NewPCG(1, 1))
		got := map[*Endpoint]bool{}
		for range 500 {
			got[p.Pick(ask(r, 1))] = true
		}
		if len(got) != 5 {
			t.Errorf("%s: %d of 5", name, len(got))
		}
	}
}

// TestALostEndpointMovesOnlyItsHashes bounds what a change of membership moves:
// a tenth has to move. The ring moves nothing else, Maglev little.
func TestALostEndpointMovesOnlyItsHashes(t *testing.T) {
	for name, most := range map[string]float64{"ring hash": 0, "Maglev": 0.05} {
		// Weights such that the ring keeps the same points for those that stay.
		a := NewSet(nil, specs(11))
		b := NewSet(a, specs(10))
		c := Hashing{}
		if affinities[name] == RingHash {
			c.MinRing = 1100
		}
		before, err := NewHashPicker(affinities[name], a, c)
		if err != nil {
			t.Fatal(err)
		}
		if affinities[name] == RingHash {
			c.MinRing = 1000
		}
		after, err := NewHashPicker(affinities[name], b, c)
		if err != nil {
			t.Fatal(err)
		}
		const n = 20000
		moved, lost := 0, 0
		for h := range uint64(n) {
			x, y := before.Pick(hashed(h)), after.Pick(hashed(h))
			switch {
			case x == a.Endpoints()[10]:
				lost++
			case x != y:
				moved++
			}
		}
		if float64(moved) > most*n || lost < n/20 || lost > n/7 {
			t.Errorf("%s: %d of %d moved besides the %d of the lost endpoint", name, moved, n, lost)
		}
	}
}

func TestEjectedAndTriedEndpointsAreLeftForAnotherFixedOne(t *testing.T) {
	for name, policy := range affinities {
		s := NewSet(nil, specs(5))
		p := pickerOf(t, policy, s)
		for h := range uint64(200) {
			a := hashed(h)
			home := p.Pick(a)
			a.Tried[0] = home
			second := p.Pick(a)
			if second == home || second == nil || second != p.Pick(a) {
				t.Fatalf("%s: the retry of %s went to %v", name, home.Address, second)
			}
		}
	}
}

// TestMaglevSharesEvenly holds the paper's claim: with a table a hundred times
// as large as the set, shares differ by about one per cent.
func TestMaglevSharesEvenly(t *testing.T) {
	list := specs(100)
	list[7].Weight = 3
	s := NewSet(nil, list)
	m, err := newMaglev(s.levels()[0], Hashing{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]int, 100)
	for _, place := range m.table {
		got[place]++
	}
	for i, n := range got {
		want := float64(len(m.table)) / 102 * float64(s.Specs()[i].Weight)
		if math.Abs(float64(n)-want) > 0.02*want {
			t.Errorf("endpoint %d has %d of %.0f entries", i, n, want)
		}
	}
}

func TestTablesAreThoseOfTheKeys(t *testing.T) {
	list := specs(3)
	for i := range list {
		list[i].HashKey = fmt.Sprint("pod-", i)
	}
	l := NewSet(nil, list).levels()[0]
	r, err := newRing(l, Hashing{MinRing: 12})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.points) != 12 {
		t.Fatalf("%d points", len(r.points))
	}
	want := map[uint64]uint16{}
	for i := range 12 {
		want[xxhash.Sum64String(fmt.Sprintf("pod-%d_%d", i/4, i%4))] = uint16(i / 4)
	}
	for i, p := range r.points {
		if place, ok := want[p.hash]; !ok || place != p.place || i > 0 && p.hash < r.points[i-1].hash {
			t.Errorf("point %d is %+v", i, p)
		}
	}
}

func TestBadSizesAreRefused(t *testing.T) {
	s := NewSet(nil, specs(2))
	for _, c := range []struct {
		policy Policy
		sizes  Hashing
	}{
		{Maglev, Hashing{Table: 65536}}, {Maglev, Hashing{Table: 1}}, {Maglev, Hashing{Table: 5000077}},
		{RingHash, Hashing{MinRing: 10, MaxRing: 5}}, {RingHash, Hashing{MaxRing: maxRing + 1}}, {99, Hashing{}},
	} {
		if _, err := NewHashPicker(c.policy, s, c.sizes); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}

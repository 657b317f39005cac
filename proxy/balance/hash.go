package balance

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Hashing has the sizes of the policies that keep affinity; 0 means Envoy's
// default. Tables are those that Envoy builds by xxHash64 for the same endpoints.
type Hashing struct {
	MinRing, MaxRing uint64 // 1024, 8 Mi entries
	Table            uint64 // 65537 entries of Maglev, a prime number
}

const (
	maxRing   = 8 << 20
	maxTable  = 5000011
	maxHashed = 1<<16 - 1 // endpoints in a table
)

// member is an endpoint of a level as hashing sees it.
type member struct {
	place  uint16
	key    string
	weight float64 // of 1
}

func members(l *level) ([]member, error) {
	if len(l.endpoints) > maxHashed {
		return nil, fmt.Errorf("build hash table: %d endpoints, at most %d are possible", len(l.endpoints), maxHashed)
	}
	var sum float64
	for _, w := range l.weights {
		sum += float64(w)
	}
	list := make([]member, len(l.endpoints))
	for i, e := range l.endpoints {
		list[i] = member{uint16(i), cmp.Or(l.keys[i], e.Address), float64(l.weights[i]) / sum}
	}
	return list, nil
}

// ring is consistent hashing: an endpoint stands at many points of a circle,
// and a hash belongs to the next point.
type ring struct{ points []point }

type point struct {
	hash  uint64
	place uint16
}

func newRing(l *level, c Hashing) (*ring, error) {
	smallest, largest := float64(cmp.Or(c.MinRing, 1024)), float64(cmp.Or(c.MaxRing, maxRing))
	if smallest > largest || largest > maxRing {
		return nil, fmt.Errorf("build hash ring: from %.0f to %.0f entries, at most %d are possible", smallest, largest, maxRing)
	}
	list, err := members(l)
	if err != nil {
		return nil, err
	}
	least := 1.0
	for _, m := range list {
		least = min(least, m.weight)
	}
	scale := min(math.Ceil(least*smallest)/least, largest)
	r := &ring{points: make([]point, 0, int(math.Ceil(scale)))}
	var key []byte
	target := 0.0
	for _, m := range list {
		target += scale * m.weight
		key = append(append(key[:0], m.key...), '_')
		stem := len(key)
		for i := int64(0); float64(len(r.points)) < target; i++ {
			key = strconv.AppendInt(key[:stem], i, 10)
			r.points = append(r.points, point{xxhash.Sum64(key), m.place})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.place, b.place))
	})
	return r, nil
}

// walk bounds how many points are passed over for one that is usable.
const walk = 128

func (r *ring) choose(l *level, a Ask, f filter) int {
	at, _ := slices.BinarySearchFunc(r.points, a.key(), func(p point, h uint64) int { return cmp.Compare(p.hash, h) })
	for i := range min(walk, len(r.points)) {
		place := int(r.points[(at+i)%len(r.points)].place)
		if f.admits(l.endpoints[place], &a) {
			return place
		}
	}
	return -1
}

// maglev is Google's Maglev hashing: a table that all endpoints fill in turn,
// each by its own permutation.
type maglev struct{ table []uint16 }

func newMaglev(l *level, c Hashing) (*maglev, error) {
	size := cmp.Or(c.Table, 65537)
	if size > maxTable || !prime(size) {
		return nil, fmt.Errorf("build Maglev table: %d entries, a prime number up to %d is required", size, maxTable)
	}
	list, err := members(l)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b member) int { return cmp.Compare(a.key, b.key) })
	most := 0.0
	for _, m := range list {
		most = max(most, m.weight)
	}
	next, skip, due := make([]uint64, len(list)), make([]uint64, len(list)), make([]float64, len(list))
	for i, m := range list {
		next[i] = xxhash.Sum64String(m.key) % size
		seeded := xxhash.NewWithSeed(1)
		_, _ = seeded.WriteString(m.key) // never fails
		skip[i] = seeded.Sum64()%(size-1) + 1
	}
	table := make([]uint16, size)
	taken := make([]bool, size)
	for filled, turn := uint64(0), 1.0; filled < size; turn++ {
		for i := 0; i < len(list) && filled < size; i++ {
			if turn*list[i].weight < due[i] {
				continue
			}
			due[i] += most
			for taken[next[i]] {
				next[i] = (next[i] + skip[i]) % size
			}
			table[next[i]], taken[next[i]] = list[i].place, true
			filled++
		}
	}
	return &maglev{table}, nil
}

func prime(n uint64) bool {
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}

func (m *maglev) choose(l *level, a Ask, f filter) int {
	h := a.key()
	for range 2 * tries {
		place := int(m.table[h%uint64(len(m.table))])
		if f.admits(l.endpoints[place], &a) {
			return place
		}
		h = mix(h)
	}
	return -1
}

// key is what affinity is kept for: a request without hash goes anywhere.
func (a *Ask) key() uint64 {
	if a.HasHash {
		return a.Hash
	}
	return mix(a.Random)
}

package balance

import "math/bits"

// tries bounds how often a policy proposes before the level is searched.
const tries = 4

// mix derives further random numbers from one (splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// sampler draws places in proportion to their weights in constant time, by
// Walker's alias method: a column is drawn evenly, then its owner or its alias.
type sampler struct {
	n     uint64
	alias []int32  // nil for equal weights
	split []uint32 // the owner's part of a column, of 2^32
}

func newSampler(weights []uint32) sampler {
	s := sampler{n: uint64(len(weights))}
	var sum uint64
	equal := true
	for _, w := range weights {
		sum += uint64(w)
		equal = equal && w == weights[0]
	}
	if equal {
		return s
	}
	s.alias = make([]int32, s.n)
	s.split = make([]uint32, s.n)
	left := make([]float64, s.n)
	var small, large []int32
	for i, w := range weights {
		left[i] = float64(w) * float64(s.n) / float64(sum)
		if left[i] < 1 {
			small = append(small, int32(i))
		} else {
			large = append(large, int32(i))
		}
	}
	for len(small) > 0 && len(large) > 0 {
		a, b := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		s.alias[a], s.split[a] = b, uint32(left[a]*(1<<32-1))
		if left[b] -= 1 - left[a]; left[b] < 1 {
			large = large[:len(large)-1]
			small = append(small, b)
		}
	}
	for _, i := range append(small, large...) {
		s.alias[i], s.split[i] = i, 1<<32-1
	}
	return s
}

func (s *sampler) draw(random uint64) int {
	column, part := bits.Mul64(random, s.n)
	if s.alias != nil && uint32(part>>32) > s.split[column] {
		return int(s.alias[column])
	}
	return int(column)
}

// random draws by weight.
type random struct{ sampler }

func (p *random) choose(l *level, a Ask, f filter) int {
	r := a.Random
	for range tries {
		r = mix(r)
		if i := p.draw(r); f.admits(l.endpoints[i], &a) {
			return i
		}
	}
	return -1
}

// twoChoices draws two endpoints by weight and takes the cheaper one for its
// weight.
type twoChoices struct {
	sampler
	cost func(*Endpoint, int64) float64
}

func (p *twoChoices) choose(l *level, a Ask, f filter) int {
	first, second := -1, -1
	r := a.Random
	for range tries {
		r = mix(r)
		i := p.draw(r)
		if i == first || !f.admits(l.endpoints[i], &a) {
			continue
		}
		if first >= 0 {
			second = i
			break
		}
		first = i
	}
	if first < 0 {
		return -1
	}
	// Among few endpoints, or very unequal ones, the same one is drawn again
	// and again: then its neighbour is the second choice.
	n := len(l.endpoints)
	for i := 1; i < n && second < 0; i++ {
		if at := (first + i) % n; f.admits(l.endpoints[at], &a) {
			second = at
		}
	}
	if second < 0 {
		return first
	}
	cost, other := p.cost(l.endpoints[first], a.Now), p.cost(l.endpoints[second], a.Now)
	if other*float64(l.weights[first]) < cost*float64(l.weights[second]) {
		return second
	}
	return first
}

// loadCost counts the exchanges in flight.
func (e *Endpoint) loadCost(int64) float64 { return float64(e.inFlight.Load() + 1) }

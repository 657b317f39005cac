package balance

import "sync/atomic"

// rotor is weighted round robin without a queue (the static stride scheduler of
// gRPC): in each round an endpoint is passed over so often that it keeps its
// weight, and the rounds of different endpoints are offset, so that the load is
// smooth.
type rotor struct {
	weights []uint64 // scaled so that the largest is at most maxStride
	largest uint64
	next    atomic.Uint64
}

const maxStride = 1 << 16

func newRotor(weights []uint32, seed uint64) *rotor {
	p := &rotor{weights: make([]uint64, len(weights))}
	var largest uint64
	for _, w := range weights {
		largest = max(largest, uint64(w))
	}
	for i, w := range weights {
		p.weights[i] = uint64(w)
		if largest > maxStride {
			p.weights[i] = max(uint64(w)*maxStride/largest, 1)
		}
		p.largest = max(p.largest, p.weights[i])
	}
	p.next.Store(mix(seed) >> 32)
	return p
}

func (p *rotor) choose(l *level, a Ask, f filter) int {
	for range tries {
		if i := p.turn(); f.admits(l.endpoints[i], &a) {
			return i
		}
	}
	return -1
}

// turn returns whose turn it is. Each round takes at least the endpoint with
// the largest weight.
func (p *rotor) turn() int {
	n := uint64(len(p.weights))
	for {
		at := p.next.Add(1)
		i, round := at%n, at/n
		w := p.weights[i]
		if (w*round+i*p.largest/2)%p.largest+w >= p.largest {
			return int(i)
		}
	}
}

package route

import (
	"errors"
	"sort"
)

// Choice is a value with its weight.
type Choice[T any] struct {
	Weight uint32
	Value  T
}

// Weighted chooses between values in proportion to their weights. It is
// immutable.
type Weighted[T any] struct {
	ends   []uint64 // sums of the weights so far
	values []T
}

// NewWeighted leaves out choices of weight 0; at least one must remain.
func NewWeighted[T any](choices []Choice[T]) (*Weighted[T], error) {
	w := &Weighted[T]{}
	var sum uint64
	for _, c := range choices {
		if c.Weight > 0 {
			sum += uint64(c.Weight)
			w.ends = append(w.ends, sum)
			w.values = append(w.values, c.Value)
		}
	}
	if sum == 0 {
		return nil, errors.New("build weighted choice: no value has a weight above 0")
	}
	return w, nil
}

// Pick returns a value for a random number. Of as many consecutive numbers as
// the weights sum up to, each value gets exactly its weight.
func (w *Weighted[T]) Pick(random uint64) T {
	if len(w.values) == 1 {
		return w.values[0]
	}
	at := random % w.ends[len(w.ends)-1]
	return w.values[sort.Search(len(w.ends), func(i int) bool { return at < w.ends[i] })]
}

// Values returns the values that can be picked. It must not be changed.
func (w *Weighted[T]) Values() []T { return w.values }

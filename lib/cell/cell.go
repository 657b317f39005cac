// Package cell publishes immutable values to many readers.
package cell

import "sync/atomic"

// Cell holds the newest of a series of immutable values. The zero Cell is
// empty. Load is one atomic read and may be called from any goroutine; a value
// must not be changed once it has been stored.
type Cell[T any] struct {
	box atomic.Pointer[box[T]]
}

type box[T any] struct {
	value   *T
	changed chan struct{} // closed by the Store that replaces this box
}

// New returns a cell that holds v.
func New[T any](v *T) *Cell[T] {
	c := &Cell[T]{}
	c.Store(v)
	return c
}

// Load returns the newest value, nil while nothing was stored.
func (c *Cell[T]) Load() *T {
	if b := c.box.Load(); b != nil {
		return b.value
	}
	return nil
}

// Store publishes v and wakes everyone who waits on Next.
func (c *Cell[T]) Store(v *T) {
	old := c.box.Swap(&box[T]{value: v, changed: make(chan struct{})})
	if old != nil {
		close(old.changed)
	}
}

// Next returns the newest value and a channel that is closed when a newer one
// has been stored.
func (c *Cell[T]) Next() (*T, <-chan struct{}) {
	b := c.box.Load()
	for b == nil {
		c.box.CompareAndSwap(nil, &box[T]{changed: make(chan struct{})})
		b = c.box.Load()
	}
	return b.value, b.changed
}

package generate

// memo remembers what a pure function made of its input, as long as each
// generation asks for it again.
type memo[In comparable, Out any] struct {
	make   func(In) Out
	recent map[In]Out // asked for in this generation
	old    map[In]Out // made in the last one
}

func newMemo[In comparable, Out any](f func(In) Out) *memo[In, Out] {
	return &memo[In, Out]{make: f, recent: make(map[In]Out)}
}

func (m *memo[In, Out]) get(in In) Out {
	if out, ok := m.recent[in]; ok {
		return out
	}
	out, ok := m.old[in]
	if !ok {
		out = m.make(in)
	}
	m.recent[in] = out
	return out
}

// age ends a generation: what it did not ask for is forgotten.
func (m *memo[In, Out]) age() { m.old, m.recent = m.recent, make(map[In]Out, len(m.recent)) }

// list is an immutable list that is comparable: equal lists of one interner
// are the same pointer, so a list can be part of a memo's input. nil is empty.
type list[T comparable] struct {
	head T
	tail *list[T]
}

func (l *list[T]) all(yield func(T) bool) {
	for ; l != nil; l = l.tail {
		if !yield(l.head) {
			return
		}
	}
}

// interner makes equal lists the same pointer.
type interner[T comparable] struct{ lists *memo[list[T], *list[T]] }

func newInterner[T comparable]() interner[T] {
	return interner[T]{newMemo(func(l list[T]) *list[T] { return &l })}
}

func (i interner[T]) list(values []T) *list[T] {
	var l *list[T]
	for n := len(values) - 1; n >= 0; n-- {
		l = i.lists.get(list[T]{values[n], l})
	}
	return l
}

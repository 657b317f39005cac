package h2

import "sync"

// Memory lends the sessions of a process what they need while they work, so that
// an idle session holds nothing. The zero Memory is ready for use.
type Memory struct{ outs, small, large, streams sync.Pool }

func (m *Memory) takeOut() *outBuffer {
	if o, ok := m.outs.Get().(*outBuffer); ok {
		return o
	}
	return &outBuffer{make([]byte, 0, outSize+4096)}
}

func (m *Memory) giveOut(o *outBuffer) {
	if cap(o.b) > outSize+4096 {
		return
	}
	o.b = o.b[:0]
	m.outs.Put(o)
}

// Chunk sizes: two, so that a peer cannot make us hold much more than it sent.
const (
	smallChunk = 2048
	largeChunk = frameSize
)

// chunk is received DATA that waits for its reader.
type chunk struct {
	b    []byte
	next *chunk
}

func (m *Memory) takeChunk(n int) *chunk {
	pool, size := &m.large, largeChunk
	if n <= smallChunk {
		pool, size = &m.small, smallChunk
	}
	if c, ok := pool.Get().(*chunk); ok {
		return c
	}
	return &chunk{b: make([]byte, 0, size)}
}

func (m *Memory) giveChunk(c *chunk) {
	pool := &m.large
	if cap(c.b) == smallChunk {
		pool = &m.small
	}
	c.b, c.next = c.b[:0], nil
	pool.Put(c)
}

// queue holds the chunks of a stream in order.
type queue struct {
	first, last *chunk
	bytes       int
}

// put copies p to the end of the queue.
func (q *queue) put(m *Memory, p []byte) {
	q.bytes += len(p)
	for len(p) > 0 {
		if q.last == nil || len(q.last.b) == cap(q.last.b) {
			c := m.takeChunk(len(p))
			if q.last == nil {
				q.first = c
			} else {
				q.last.next = c
			}
			q.last = c
		}
		c := q.last
		n := copy(c.b[len(c.b):cap(c.b)], p)
		c.b = c.b[:len(c.b)+n]
		p = p[n:]
	}
}

// take removes the first chunk, nil if there is none.
func (q *queue) take() *chunk {
	c := q.first
	if c == nil {
		return nil
	}
	if q.first = c.next; q.first == nil {
		q.last = nil
	}
	c.next = nil
	q.bytes -= len(c.b)
	return c
}

// clear gives all chunks back and returns how many bytes they held.
func (q *queue) clear(m *Memory) int {
	n := q.bytes
	for c := q.take(); c != nil; c = q.take() {
		m.giveChunk(c)
	}
	return n
}

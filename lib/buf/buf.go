// Package buf lends fixed-size read buffers, so that a connection holds one
// only while bytes are in it.
package buf

import "sync"

// Size is the size of every buffer in bytes. One read of this size takes a
// 16 KiB answer with its head, which halves the cost of medium bodies compared
// with 16 KiB buffers.
const Size = 64 << 10

// Buffer is a window [start, end) of unread bytes over a fixed array. It
// belongs to whoever took it from the pool and is not safe for concurrent use.
type Buffer struct {
	start, end int
	data       [Size]byte
}

// Bytes returns the unread bytes; they are valid until the next Compact or
// until the buffer is given back.
func (b *Buffer) Bytes() []byte { return b.data[b.start:b.end] }

// Len returns the number of unread bytes.
func (b *Buffer) Len() int { return b.end - b.start }

// Free returns the space after the unread bytes, to be filled and then claimed
// by Extend.
func (b *Buffer) Free() []byte { return b.data[b.end:] }

// Extend adds the first n bytes of Free to the unread bytes.
func (b *Buffer) Extend(n int) { b.end += n }

// Consume drops the first n unread bytes. Their memory stays as it is until
// Compact, so slices of them remain readable.
func (b *Buffer) Consume(n int) {
	b.start += n
	if b.start > b.end {
		panic("buf: consumed more than was read")
	}
}

// Compact moves the unread bytes to the front to make all free space
// contiguous. It invalidates every slice of the buffer.
func (b *Buffer) Compact() {
	if b.start == 0 {
		return
	}
	b.end = copy(b.data[:], b.data[b.start:b.end])
	b.start = 0
}

// Full reports that Free has no space left, also after a Compact.
func (b *Buffer) Full() bool { return b.end-b.start == Size }

// Pool lends buffers. The zero Pool is ready for use from any goroutine.
type Pool struct{ pool sync.Pool }

// Get returns an empty buffer.
func (p *Pool) Get() *Buffer {
	if b, ok := p.pool.Get().(*Buffer); ok {
		b.start, b.end = 0, 0
		return b
	}
	return new(Buffer)
}

// Put takes a buffer back; the caller keeps no slice of it.
func (p *Pool) Put(b *Buffer) { p.pool.Put(b) }

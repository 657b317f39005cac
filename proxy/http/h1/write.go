package h1

import (
	"strconv"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/http"
)

// WriteData implements http.Stream.
func (l *link) WriteData(p []byte, end bool) error {
	l.mu.Lock()
	if !l.begun || l.ended {
		l.mu.Unlock()
		return l.misuse(wrongOrder)
	}
	return l.unlock(l.put(p, end))
}

// put frames p into the buffer that is held, or sends it.
func (l *link) put(p []byte, end bool) error {
	var err error
	switch l.out {
	case modeLength:
		if l.left -= int64(len(p)); l.left < 0 || end && l.left > 0 {
			l.failed = true
			return l.misuse(wrongLength)
		}
		err = l.putRaw(p)
	case modeChunked:
		err = l.putChunks(p)
		if err == nil && end {
			err = l.putRaw(lastChunk)
		}
	case modeClose, modeTunnel:
		err = l.putRaw(p)
	}
	l.ended = l.ended || end
	if err == nil && end && l.out == modeTunnel {
		if err = l.flushLocked(); err == nil {
			err = l.c.CloseWrite()
		}
	}
	return err
}

// lastChunk is never written.
var lastChunk = []byte("0\r\n\r\n")

// direct is the size from which bytes are worth a system call of their own
// rather than a copy.
const direct = 16 << 10

func (l *link) putRaw(p []byte) error {
	for len(p) > 0 {
		if l.held == nil && len(p) >= direct {
			return l.write(p)
		}
		b := l.buffer()
		n := copy(b.Free(), p)
		b.Extend(n)
		p = p[n:]
		if len(b.Free()) == 0 {
			if err := l.flushLocked(); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunkRoom is what a chunk takes beside its data.
const chunkRoom = 16 + 2 + 2

func (l *link) putChunks(p []byte) error {
	for len(p) > 0 {
		b := l.buffer()
		free := b.Free()
		if len(free) < min(len(p), 512)+chunkRoom {
			if err := l.flushLocked(); err != nil {
				return err
			}
			continue
		}
		n := min(len(p), len(free)-chunkRoom)
		f := strconv.AppendInt(free[:0], int64(n), 16)
		f = append(f, "\r\n"...)
		f = append(f, p[:n]...)
		f = append(f, "\r\n"...)
		b.Extend(len(f))
		p = p[n:]
	}
	return nil
}

// WriteTrailers implements http.Stream. They are dropped where the framing has no
// place for them.
func (l *link) WriteTrailers(h *http.Head) error {
	l.mu.Lock()
	if !l.begun || l.ended {
		l.mu.Unlock()
		return l.misuse(wrongOrder)
	}
	if l.out != modeChunked {
		return l.unlock(l.put(nil, true))
	}
	if !fits(h) {
		l.failed = true
		return l.unlock(l.misuse(wrongSize))
	}
	b, err := l.room(h.Size() + headRoom)
	if err != nil {
		return l.unlock(err)
	}
	p, bad := appendTrailers(b.Free()[:0], h)
	if bad != nil {
		l.failed = true
		return l.unlock(l.misuse(bad))
	}
	b.Extend(len(p))
	l.ended = true
	return l.unlock(nil)
}

// Flush implements http.Stream.
func (l *link) Flush() error {
	l.mu.Lock()
	err := l.flushLocked()
	l.mu.Unlock()
	if err != nil {
		return l.broken(err)
	}
	return nil
}

// unlock ends a write. It sends what is held if nothing follows it (a client's
// request waits for the reader, who sends it and looks for the answer in one
// go), or if the peer may be waiting for it.
func (l *link) unlock(err error) error {
	if c := l.cause.Load(); c != nil && err == nil {
		err = c.err
	}
	if l.ended {
		l.whole.Store(true)
	}
	if err == nil && (l.ended && l.side == http.Downstream || l.reading.Load()) {
		err = l.flushLocked()
	}
	l.mu.Unlock()
	if err == nil && l.reading.Load() {
		// The reader may have begun to wait since, and found the lock taken.
		l.mu.Lock()
		err = l.flushLocked()
		l.mu.Unlock()
	}
	if err != nil {
		return l.broken(err)
	}
	return nil
}

func (l *link) buffer() *buf.Buffer {
	if l.held == nil {
		l.held = l.c.Buffers().Get()
	}
	return l.held
}

// room returns the held buffer with at least n bytes free.
func (l *link) room(n int) (*buf.Buffer, error) {
	if l.held != nil && len(l.held.Free()) < n {
		if err := l.flushLocked(); err != nil {
			return nil, err
		}
	}
	return l.buffer(), nil
}

func (l *link) flushLocked() error {
	b := l.held
	if b == nil {
		return nil
	}
	l.held = nil
	var err error
	if b.Len() > 0 {
		err = l.write(b.Bytes())
	}
	l.c.Buffers().Put(b)
	return err
}

func (l *link) write(p []byte) error {
	l.pulse.waiting.Add(1)
	n, err := l.c.Write(p)
	l.pulse.waiting.Add(-1)
	l.pulse.beat()
	if n > 0 {
		l.sent.Store(true)
	}
	if err != nil {
		l.failed = true
	}
	return err
}

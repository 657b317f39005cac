package h1

import (
	"errors"
	"io"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// request is what the request of an exchange means for the framing of its
// response.
type request struct {
	head, connect bool
	protocol      string
}

// link is what the streams of both sides share: a connection with one message
// being read and one being written.
type link struct {
	c      *conn.Conn
	side   http.Side
	limits *http.Limits
	pulse  pulse
	asked  request
	cause  atomic.Pointer[cause] // of Abort

	// Of the reading goroutine.
	in      inbound
	scan    scanner
	framing framing

	// reading is set while the reader has waited for bytes of the peer in this
	// exchange: from then on the writer holds nothing back, so that the peer
	// is never kept waiting for what it needs to go on.
	reading atomic.Bool
	// whole is set once the message that is written has ended; it is ended,
	// for the reader, who must not wait for the lock.
	whole atomic.Bool
	// sent is set once a byte of the exchange went out.
	sent atomic.Bool
	// spoiled is set once the peer broke the protocol: nothing that follows
	// on the connection can be trusted.
	spoiled atomic.Bool
	// reused says that the connection served an exchange before.
	reused bool

	mu   sync.Mutex // guards all below
	held *buf.Buffer
	out  mode
	left int64 // of modeLength
	// begun and ended are the life of the message that is written, failed
	// its sudden end.
	begun, ended, failed bool
	decision             decision
}

type cause struct{ err error }

// start makes the link ready for an exchange.
func (l *link) start() {
	l.in, l.scan, l.asked = inbound{}, scanner{}, request{}
	l.reading.Store(false)
	l.sent.Store(false)
	l.whole.Store(false)
	l.decision.made.Store(false)
	l.mu.Lock()
	l.decision.cond.L = &l.mu
	l.out, l.left, l.begun, l.ended, l.failed = modeNone, 0, false, false, false
	l.mu.Unlock()
}

// await sends what is held and blocks until bytes of the peer are added to those
// unread. It never waits for the writer, who may be blocked until we have read.
func (l *link) await() error {
	l.pulse.waiting.Add(1)
	defer l.pulse.waiting.Add(-1)
	if !l.reading.Load() {
		l.reading.Store(true)
		if l.mu.TryLock() {
			if l.ended && l.held != nil {
				b := l.held
				l.held = nil
				l.mu.Unlock()
				n, err := l.c.AskBuffer(b, l.reused && !l.sent.Load())
				if n > 0 {
					l.sent.Store(true)
				}
				l.pulse.beat()
				return err
			}
			err := l.flushLocked()
			l.mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
	err := l.c.Fill()
	l.pulse.beat()
	return err
}

// awaitHead reads until a complete head is at hand and returns its length.
func (l *link) awaitHead() (int, error) {
	for {
		b := l.c.Buffered()
		n := l.scan.end(b)
		if n > l.limits.HeadBytes || n == 0 && len(b) > l.limits.HeadBytes {
			return 0, l.refuse(l.tooLong())
		}
		if n > 0 {
			l.scan = scanner{}
			return n, nil
		}
		if len(b) > 0 && lower[b[0]] == 0 {
			return 0, l.refuse(badStart)
		}
		if err := l.await(); err != nil {
			if errors.Is(err, conn.ErrBufferFull) {
				return 0, l.refuse(l.tooLong())
			}
			return 0, l.broken(err)
		}
	}
}

func (l *link) tooLong() *fault {
	if l.scan.lines == 0 && l.side == http.Downstream {
		return lineTooLong
	}
	return headTooLarge
}

// ReadData implements http.Stream.
func (l *link) ReadData() ([]byte, error) {
	if c := l.cause.Load(); c != nil {
		return nil, c.err
	}
	for {
		data, used, end, bad := l.in.next(l.c.Buffered(), l.limits)
		if bad != nil {
			return nil, l.refuse(bad)
		}
		l.c.Consume(used)
		if len(data) > 0 {
			return data, nil
		}
		if end {
			if l.side == http.Downstream {
				l.reading.Store(false) // the response may be held back again
			}
			return nil, io.EOF
		}
		if err := l.await(); err != nil {
			if conn.IsEOF(err) && (l.in.mode == modeClose || l.in.mode == modeTunnel) {
				l.in.mode = modeNone
				return nil, io.EOF
			}
			return nil, l.broken(err)
		}
	}
}

// ReadTrailers implements http.Stream.
func (l *link) ReadTrailers(h *http.Head) error {
	h.Reset()
	if l.in.mode != modeNone {
		return l.misuse(wrongOrder)
	}
	if l.in.block == 0 {
		return nil
	}
	bad := parseTrailers(l.c.Buffered()[:l.in.block], h, l.limits.Fields)
	l.dropTrailers()
	if bad != nil {
		return l.refuse(bad)
	}
	return nil
}

func (l *link) dropTrailers() {
	l.c.Consume(l.in.block)
	l.in.block = 0
}

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

// discard gives the held buffer back, and reports whether it held nothing.
func (l *link) discard() (clean bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == nil {
		return true
	}
	clean = l.held.Len() == 0
	l.c.Buffers().Put(l.held)
	l.held = nil
	return clean
}

// release gives all memory back once nobody uses the connection any more.
func (l *link) release() {
	l.discard()
	l.c.Consume(len(l.c.Buffered()))
	l.c.Release()
}

// refuse makes the error of a message that the peer should not have sent.
func (l *link) refuse(f *fault) error {
	l.spoiled.Store(true)
	if c := l.cause.Load(); c != nil {
		return c.err
	}
	e := &http.Error{Side: l.side, Kind: f.kind, Reason: f.reason}
	if l.side == http.Downstream {
		e.Status = f.status
	}
	return e
}

// misuse makes the error of something that this proxy should not have sent.
func (l *link) misuse(f *fault) error {
	return &http.Error{Side: http.Local, Kind: f.kind, Unsent: !l.sent.Load(), Reason: f.reason}
}

// broken makes the error of a connection that failed in an exchange.
func (l *link) broken(err error) error {
	if c := l.cause.Load(); c != nil {
		return c.err
	}
	var e *http.Error
	if errors.As(err, &e) {
		return e
	}
	e = &http.Error{Side: l.side, Kind: http.KindReset, Reason: "the connection failed", Err: err}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Kind, e.Reason = http.KindTimeout, "nothing moved on the connection for too long"
	case errors.Is(err, conn.ErrNotQuiet):
		e.Kind, e.Reason, e.Err = http.KindClosed, "the endpoint had ended the kept connection", nil
	case conn.IsEOF(err), errors.Is(err, io.ErrUnexpectedEOF):
		e.Kind, e.Reason, e.Err = http.KindClosed, "the connection was closed in the middle of an exchange", nil
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		e.Reason = "the connection was reset"
	}
	if l.side == http.Upstream {
		e.Unsent = !l.sent.Load()
	}
	return e
}

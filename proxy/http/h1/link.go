package h1

import (
	"errors"
	"io"
	"os"
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
	// blind is set while an answer is awaited whose request was sent without
	// a look at what had arrived before.
	blind atomic.Bool
	// trusted allows that: the request may be repeated, and the connection was
	// found quiet just now, or read to the end of a body less than fresh ago.
	// What can have come since is an end; a failing send or the sweeper's
	// nudge makes it known.
	trusted bool

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
	for _, b := range [...]*atomic.Bool{&l.reading, &l.sent, &l.whole, &l.blind, &l.decision.made} {
		unset(b)
	}
	l.mu.Lock()
	l.decision.cond.L = &l.mu
	l.out, l.left, l.begun, l.ended, l.failed = modeNone, 0, false, false, false
	l.mu.Unlock()
}

// unset is Store(false) without its barrier where it is false already.
func unset(b *atomic.Bool) {
	if b.Load() {
		b.Store(false)
	}
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
				return l.ask(b)
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

// ask sends b, the end of a message, and waits for an answer as one.
func (l *link) ask(b *buf.Buffer) error {
	var n int
	var err error
	if first := l.reused && !l.sent.Load(); first && l.trusted {
		l.blind.Store(true)
		n, err = l.c.AskBlindly(b)
	} else {
		n, err = l.c.AskBuffer(b, first)
	}
	if n > 0 {
		l.sent.Store(true)
	}
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

package h2

import (
	"errors"
	"io"
	"sync"

	"github.com/leno-mesh/leno/proxy/http"
)

// stream is an http.Stream. It goes back to Memory in Close and is used again, for
// another session even: after Close nobody may call it. All of it is guarded by
// the session's mutex, except that lent belongs to the reading user.
type stream struct {
	s     *session
	id    uint32 // 0 until the head of a client's request is sent
	start func() // runs the session's handler; made once

	readable, writable sync.Cond
	err                error // ends both directions
	writeErr           error // ends writing: the peer wants no more
	link               http.Stream
	moved              int64 // coarse time when something was received or sent
	waiting            int   // users who wait for the peer

	remoteEnd bool // END_STREAM came
	localEnd  bool // END_STREAM was appended
	counted   bool // in session.counted
	toHead    bool // the request's method is HEAD
	connect   bool // the request's method is CONNECT
	protocol  string
	tunnel    bool // CONNECT or an upgrade was granted
	final     bool // the final response head came

	head, interim, trailers          http.Head
	hasHead, hasInterim, hasTrailers bool
	headErr                          error

	data       queue
	lent       *chunk
	left       int64 // bytes that Content-Length still promises, -1 without one
	recvWindow int
	recvCredit int // consumed and not given back

	sendWindow int64
	queued     bool // in session.waiting
	next       *stream
}

func (m *Memory) takeStream(s *session) *stream {
	st, ok := m.streams.Get().(*stream)
	if !ok {
		st = new(stream)
		st.start = st.run
	}
	st.s = s
	st.readable.L, st.writable.L = &s.w.mu, &s.w.mu
	st.left = -1
	st.recvWindow = s.limits.StreamWindow
	st.moved = s.w.now
	s.open++
	return st
}

func (m *Memory) giveStream(st *stream) {
	st.head.Trim()
	st.interim.Trim()
	st.trailers.Trim()
	*st = stream{start: st.start, head: st.head, interim: st.interim, trailers: st.trailers}
	m.streams.Put(st)
}

func (st *stream) run() { st.s.handle(st) }

// accept checks DATA with n bytes of body against the state of the stream.
func (st *stream) accept(f frame, n int) (code Code, reason string) {
	switch {
	case st.remoteEnd:
		return StreamClosed, "DATA on a stream that the peer ended"
	case !st.s.server() && !st.final:
		return ProtocolError, "DATA comes before the response head"
	}
	if st.recvWindow -= f.length; st.recvWindow < 0 {
		return FlowControlError, "DATA exceeds the stream's window"
	}
	if st.left >= 0 {
		if st.left -= int64(n); st.left < 0 {
			return ProtocolError, "the body is longer than its Content-Length"
		}
		if f.has(flagEndStream) && st.left > 0 {
			return ProtocolError, "the body is shorter than its Content-Length"
		}
	}
	return NoError, ""
}

// giveBack returns n received bytes to the stream's window, in larger pieces.
func (st *stream) giveBack(n int) {
	if st.remoteEnd || st.s.streams[st.id] != st {
		return
	}
	if st.recvCredit += n; st.recvCredit < st.s.limits.StreamWindow/2 {
		return
	}
	o := st.s.w.buffer()
	o.b = appendWord(o.b, frameWindowUpdate, st.id, uint32(st.recvCredit))
	st.recvWindow += st.recvCredit
	st.recvCredit = 0
	st.s.unanswered = true
}

// fail ends both directions.
func (st *stream) fail(err error) {
	if st.err != nil {
		return
	}
	st.err = err
	st.s.credit(st.data.clear(st.s.memory))
	st.readable.Broadcast()
	st.writable.Broadcast()
	if st.link != nil {
		st.link.Abort(err)
	}
}

// resetByPeer takes a RST_STREAM. One that follows a complete message says only
// that the peer reads no more of ours.
func (st *stream) resetByPeer(code Code) {
	e := exchangeError(st.s.side, http.KindReset, "the peer reset the stream", code)
	if code == RefusedStream {
		e.Kind, e.Unsent, e.Reason = http.KindRefused, true, "the peer refused the stream"
	}
	if st.remoteEnd && !st.s.server() {
		st.writeErr = e
		st.writable.Broadcast()
		return
	}
	st.fail(e)
}

// tooLarge ends a stream whose head or trailers pass a limit.
func (st *stream) tooLarge(s *session) {
	s.remove(st, true)
	o := s.w.buffer()
	o.b = appendWord(o.b, frameReset, st.id, uint32(Cancel))
	s.unanswered = true
	st.fail(exchangeError(s.side, http.KindTooLarge, "a head or trailers are larger than allowed", nil))
}

// abort ends both directions because of cause and resets the stream.
func (st *stream) abort(cause error) {
	if st.s.streams[st.id] == st {
		st.reset(st.resetCode(cause))
	}
	st.fail(cause)
}

func (st *stream) resetCode(cause error) Code {
	var e *http.Error
	errors.As(cause, &e)
	switch {
	case st.tunnel || st.connect:
		return ConnectError
	case !st.s.server():
		return Cancel
	case e != nil && e.Kind == http.KindRefused:
		return RefusedStream
	}
	return InternalError
}

// reset appends RST_STREAM for a stream that is alive.
func (st *stream) reset(code Code) {
	s := st.s
	s.remove(st, true)
	if s.err == nil {
		o := s.w.buffer()
		o.b = appendWord(o.b, frameReset, st.id, uint32(code))
		s.w.flush(s.open > 1)
	}
}

// half ends a stream that both sides have ended.
func (s *session) half(st *stream) {
	if st.remoteEnd && st.localEnd && s.streams[st.id] == st {
		s.guard.good++
		s.remove(st, false)
		s.uncount(st)
	}
}

// remove takes a stream off those alive. A reset one of a server counts against
// concurrency until its user closes it.
func (s *session) remove(st *stream, byUs bool) {
	delete(s.streams, st.id)
	mark := st.id << 1
	if byUs {
		mark |= 1
	}
	s.recent[st.id>>1&255] = mark
	if !s.server() {
		s.uncount(st)
	}
}

func (s *session) uncount(st *stream) {
	if st.counted {
		st.counted = false
		s.counted--
		s.freed()
	}
}

// bytes reports that the stream carries the bytes of a connection (RFC 9113
// section 8.5), which may be silent for as long as it likes.
func (st *stream) bytes() bool { return st.tunnel && st.protocol == "" }

// wait waits for the peer on one of the stream's conditions.
func (st *stream) wait(c *sync.Cond) {
	st.waiting++
	c.Wait()
	st.waiting--
}

// ReadHead implements http.Stream.
func (st *stream) ReadHead(h *http.Head) error {
	s := st.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	for {
		switch {
		case st.headErr != nil:
			return st.headErr
		case st.hasInterim:
			*h, st.interim = st.interim, *h
			st.hasInterim = false
			return nil
		case st.hasHead:
			*h, st.head = st.head, *h
			st.hasHead = false
			return nil
		case st.err != nil:
			return st.err
		case st.id == 0 && s.err != nil:
			return s.lost()
		}
		if !s.flushed() {
			st.wait(&st.readable)
		}
	}
}

// ReadData implements http.Stream.
func (st *stream) ReadData() ([]byte, error) {
	s := st.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	st.release()
	for {
		if c := st.data.take(); c != nil {
			st.lent = c
			if s.unanswered {
				s.flushed()
			}
			return c.b, nil
		}
		switch {
		case st.err != nil:
			return nil, st.err
		case st.remoteEnd:
			return nil, io.EOF
		}
		if !s.flushed() {
			st.wait(&st.readable)
		}
	}
}

// release gives back what ReadData lent.
func (st *stream) release() {
	if c := st.lent; c != nil {
		st.lent = nil
		n := len(c.b)
		st.s.memory.giveChunk(c)
		st.giveBack(n)
		st.s.credit(n)
	}
}

// ReadTrailers implements http.Stream.
func (st *stream) ReadTrailers(h *http.Head) error {
	st.s.w.mu.Lock()
	defer st.s.w.mu.Unlock()
	switch {
	case st.err != nil:
		return st.err
	case !st.remoteEnd || st.data.first != nil:
		return errEarlyTrailers
	case !st.hasTrailers:
		h.Reset()
		return nil
	}
	*h, st.trailers = st.trailers, *h
	st.hasTrailers = false
	return nil
}

// These are never written.
var (
	errEarlyTrailers = errors.New("h2: trailers are read before the end of the body")
	errEnded         = errors.New("h2: the message has ended already")
	errNoHead        = errors.New("h2: a body is written before its head")
)

// Abort implements http.Stream.
func (st *stream) Abort(cause error) {
	st.s.w.mu.Lock()
	defer st.s.w.mu.Unlock()
	st.abort(cause)
}

// Close implements http.Stream.
func (st *stream) Close() {
	s := st.s
	s.w.mu.Lock()
	st.link = nil
	if s.streams[st.id] == st {
		switch {
		case !s.server():
			st.reset(st.closeCode())
		case st.localEnd:
			st.reset(NoError)
		default:
			st.reset(st.resetCode(nil))
		}
	}
	if c := st.lent; c != nil {
		st.lent = nil
		s.credit(len(c.b))
		s.memory.giveChunk(c)
	}
	s.credit(st.data.clear(s.memory))
	s.uncount(st)
	if s.open--; s.open == 0 {
		s.quiet = s.w.now
	}
	s.flushed()
	s.settle()
	if s.open == 0 {
		s.ended.Broadcast()
	}
	memory := s.memory
	s.w.mu.Unlock()
	memory.giveStream(st)
}

func (st *stream) closeCode() Code {
	if st.remoteEnd {
		return NoError
	}
	return Cancel
}

// Link makes a reset of this stream by its peer, or the end of its connection,
// abort other too, at once, although nobody reads or writes here just then: so a
// client that gives up while the endpoint thinks is heard. Link(nil) undoes it,
// and must come before other is closed. Only a server's stream may be linked, and
// only to a client's.
func (st *stream) Link(other http.Stream) {
	st.s.w.mu.Lock()
	defer st.s.w.mu.Unlock()
	st.link = other
	if other != nil && st.err != nil {
		other.Abort(st.err)
	}
}

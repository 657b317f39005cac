package h2

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// session is one connection, of either side. Fields without a note are guarded
// by w.mu.
type session struct {
	c      *conn.Conn // never written after newSession, as what follows
	memory *Memory
	limits http.Limits
	side   http.Side         // of the peer
	handle func(http.Stream) // of a server
	pool   *Transport        // of a client

	w       writer
	streams map[uint32]*stream // those that the protocol counts as alive, by identifier
	open    int                // those not closed by their users
	counted int                // those that count against concurrency
	ended   sync.Cond          // open became 0, or the writer became empty
	recent  [256]uint32        // of streams that ended: identifier<<1 | whether we reset it
	waiting *stream            // first of those that wait for room or the connection's window
	lastOut *stream            // last of those
	err     error              // set once: nothing works any more

	sendWindow int64
	recvWindow int
	recvCredit int // bytes consumed and not given back by WINDOW_UPDATE

	peerWindow  int64  // SETTINGS_INITIAL_WINDOW_SIZE
	peerStreams uint32 // SETTINGS_MAX_CONCURRENT_STREAMS; 1 until SETTINGS came
	peerConnect bool   // extended CONNECT
	settled     bool   // SETTINGS came
	lastPeer    uint32
	nextID      uint32
	greeted     bool // our first block went out

	started  int64 // coarse times, writer.now
	quiet    int64 // when open became 0
	draining int64 // when the first GOAWAY of an orderly end was sent, 0 for never
	goneAt   uint32
	gone     bool // no stream above goneAt is taken (server), none is opened (client)
	quit     bool // close as soon as the last stream ended

	guard guard

	// Of the reading goroutine.
	heads       headReader
	block       []byte // of a head that CONTINUATION frames complete
	blockFrame  frame
	pieces      int
	blockSince  int64 // guarded: when the unfinished head began, 0 for none
	unanswered  bool  // guarded: answers were appended that nobody flushed
	prefaceLeft int
}

func newSession(c *conn.Conn, memory *Memory, limits http.Limits, side http.Side) *session {
	if memory == nil {
		memory = new(Memory)
	}
	s := &session{
		c: c, memory: memory, limits: limits.WithDefaults(), side: side,
		streams:    make(map[uint32]*stream),
		sendWindow: initialWindow, peerWindow: initialWindow, peerStreams: 1, nextID: 1,
	}
	// A peer that has not read our SETTINGS may fill the protocol's default.
	s.limits.StreamWindow = max(s.limits.StreamWindow, initialWindow)
	s.limits.ConnWindow = max(s.limits.ConnWindow, initialWindow)
	s.recvWindow = s.limits.ConnWindow
	s.w.init(c, memory, s.onSent)
	s.w.now = clock.Now()
	s.started, s.quiet, s.w.progress = s.w.now, s.w.now, s.w.now
	s.ended.L = &s.w.mu
	return s
}

func (s *session) server() bool { return s.side == http.Downstream }

// greet appends what each side sends first.
func (s *session) greet() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	o := s.w.buffer()
	if !s.server() {
		o.b = append(o.b, preface...)
	}
	start := len(o.b)
	o.b = appendFrame(o.b, 0, frameSettings, 0, 0)
	if s.server() {
		o.b = appendSetting(o.b, settingMaxStreams, uint32(s.limits.Streams))
		o.b = appendSetting(o.b, settingConnectProtocol, 1)
	} else {
		o.b = appendSetting(o.b, settingEnablePush, 0)
	}
	o.b = appendSetting(o.b, settingInitialWindow, uint32(s.limits.StreamWindow))
	o.b = appendSetting(o.b, settingMaxHeadBytes, uint32(s.limits.HeadBytes))
	appendFrame(o.b[:start], len(o.b)-start-frameHeader, frameSettings, 0, 0)
	if more := s.limits.ConnWindow - initialWindow; more > 0 {
		o.b = appendWord(o.b, frameWindowUpdate, 0, uint32(more))
	}
	s.w.flush(false)
}

// run reads, after greet, until the connection ends, and returns when it is closed and no
// stream is left.
func (s *session) run() error {
	err := s.read()
	s.end(err)
	s.w.mu.Lock()
	for s.open > 0 {
		s.ended.Wait()
	}
	s.w.mu.Unlock()
	if s.orderly(err) {
		return nil
	}
	return err
}

// orderly reports that err is how a connection without trouble ends.
func (s *session) orderly(err error) bool {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return conn.IsEOF(err) || s.quit && errors.Is(err, os.ErrDeadlineExceeded)
}

func (s *session) read() error {
	if s.server() {
		s.prefaceLeft = len(preface)
	}
	for {
		if err := s.frames(); err != nil {
			return err
		}
		s.w.mu.Lock()
		if s.unanswered {
			s.unanswered = false
			s.w.flush(s.open > 0)
		}
		s.w.mu.Unlock()
		if err := s.c.Fill(); err != nil {
			return err
		}
		now := clock.Now()
		s.w.mu.Lock()
		s.w.now = max(s.w.now, now)
		s.w.mu.Unlock()
	}
}

// frames handles every complete frame that was read.
func (s *session) frames() error {
	for {
		b := s.c.Buffered()
		if s.prefaceLeft > 0 {
			n := min(len(b), s.prefaceLeft)
			at := len(preface) - s.prefaceLeft
			if string(b[:n]) != preface[at:at+n] {
				return fatal(ProtocolError, "the connection does not begin with the preface")
			}
			s.prefaceLeft -= n
			s.c.Consume(n)
			if s.prefaceLeft > 0 {
				return nil
			}
			continue
		}
		if len(b) < frameHeader {
			return nil
		}
		f := parseFrame(b)
		if f.length > frameSize {
			return fatal(FrameSizeError, "a frame is larger than we allow")
		}
		if len(b) < frameHeader+f.length {
			return nil
		}
		if err := s.frame(f, b[frameHeader:frameHeader+f.length]); err != nil {
			return err
		}
		s.c.Consume(frameHeader + f.length)
	}
}

// end closes the connection after err: a GOAWAY where the peer deserves one, an
// error for each stream, and a short wait so that the peer can read it.
func (s *session) end(err error) {
	code := NoError
	cause := exchangeError(s.side, http.KindClosed, "the connection ended", err)
	var broken *connError
	if errors.As(err, &broken) {
		code = broken.code
		cause.Kind, cause.Reason = http.KindProtocol, broken.reason
		cause.Err = broken.code
	} else if !conn.IsEOF(err) {
		cause.Kind, cause.Reason = http.KindReset, "the connection broke"
	}
	s.w.mu.Lock()
	s.err = cause
	for _, st := range s.streams {
		st.fail(cause)
	}
	clear(s.streams)
	s.wakeAll()
	if broken != nil {
		o := s.w.buffer()
		o.b = appendGoAway(o.b, s.lastPeer, code)
	}
	s.c.SetDeadline(time.Now().Add(lingerTime))
	s.w.flush(false)
	for s.w.busy {
		s.ended.Wait()
	}
	lost := s.w.err != nil
	s.w.mu.Unlock()
	if s.pool != nil {
		s.pool.remove(s)
	}
	if !lost && !conn.IsEOF(err) && s.c.CloseWrite() == nil {
		s.linger()
	}
	s.c.Release()
	_ = s.c.Close()
}

const (
	lingerTime  = 300 * time.Millisecond
	lingerBytes = 256 << 10
)

// linger reads on for a moment: closing over unread bytes would reset the
// connection and take from the peer the GOAWAY that it has not read.
func (s *session) linger() {
	for n := 0; n < lingerBytes; {
		k := len(s.c.Buffered())
		n += k
		s.c.Consume(k)
		if s.c.Fill() != nil {
			return
		}
	}
}

// onSent is called by the writer, with w.mu held.
func (s *session) onSent() {
	if s.w.err != nil {
		_ = s.c.Close() // wakes the reader, which ends the session
	}
	s.wakeNext()
	s.settle()
	if !s.w.busy {
		s.ended.Broadcast()
	}
}

// settle ends an orderly session once nothing is left to do.
func (s *session) settle() {
	if s.quit && s.open == 0 && s.w.empty() {
		s.c.Expire() // wakes the reader
	}
}

// drain begins an orderly end. A server first tells the client to open no more
// streams, and only a round trip later which ones it took, so that none of those
// on their way is lost (RFC 9113, section 6.8).
func (s *session) drain() {
	if s.draining != 0 || s.err != nil {
		return
	}
	s.draining = s.w.now
	if !s.server() {
		s.gone, s.quit = true, true
		s.settle()
		return
	}
	o := s.w.buffer()
	o.b = appendGoAway(o.b, maxStreamID, NoError)
	o.b = append(appendFrame(o.b, len(drainPing), framePing, 0, 0), drainPing...)
	s.w.flush(false)
}

// drainPing is the PING whose answer ends the round trip of drain.
const drainPing = "goodbye\x00"

const drainTime = int64(time.Second)

// drained says which streams were taken, and closes when they end.
func (s *session) drained() {
	if s.gone || s.err != nil {
		return
	}
	s.gone, s.quit, s.goneAt = true, true, s.lastPeer
	o := s.w.buffer()
	o.b = appendGoAway(o.b, s.lastPeer, NoError)
	s.w.flush(false)
	s.settle()
}

// sweep ends what is overdue at now. It is to be called every 100 ms or so.
func (s *session) sweep(now int64) {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.now = max(s.w.now, now)
	if s.err != nil {
		return
	}
	stream, head := int64(s.limits.StreamIdleTimeout), int64(s.limits.HeadTimeout)
	switch {
	case !s.settled && now-s.started > head,
		s.blockSince != 0 && now-s.blockSince > head,
		s.w.busy && now-s.w.progress > stream:
		s.c.Expire()
		return
	case s.draining != 0 && !s.gone && now-s.draining > drainTime:
		s.drained()
	case s.open == 0 && !s.quit && now-s.quiet > int64(s.limits.IdleTimeout):
		s.draining = now
		s.drained()
	}
	for _, st := range s.streams {
		if st.waiting == 0 || st.bytes() {
			st.moved = now // our own work, or the other side's: not this peer's silence
		} else if now-st.moved > stream {
			st.abort(exchangeError(s.side, http.KindTimeout, "nothing moved on the stream for too long", nil))
		}
	}
}

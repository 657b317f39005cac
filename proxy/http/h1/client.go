package h1

import (
	"sync/atomic"

	"github.com/leno-mesh/leno/proxy/http"
)

// clientStream is a pooled connection with the exchange that has it.
type clientStream struct {
	link
	pool      *Pool
	index     int   // in Pool.all
	idleSince int64 // monotonic nanoseconds

	interims  int
	tunnel    atomic.Bool
	answered  bool // the final response head was read
	close     bool // the endpoint or the exchange forbids another use
	firstByte bool // something of the response came

	// looked says that the connection was found quiet when the exchange began,
	// ran that the answer before had a body of a known end.
	looked, ran bool
}

// maxInterims bounds the 1xx responses of one exchange.
const maxInterims = 16

func (s *clientStream) begin(reused bool) {
	s.start()
	s.reused = reused
	unset(&s.tunnel)
	s.interims, s.answered, s.close, s.firstByte, s.trusted = 0, false, false, false, false
}

// WriteHead implements http.Stream. A request that ends here is sent with the
// first read.
func (s *clientStream) WriteHead(h *http.Head, end bool) error {
	if !fits(h) {
		return s.misuse(wrongSize)
	}
	s.mu.Lock()
	if s.begun {
		s.mu.Unlock()
		return s.misuse(wrongOrder)
	}
	method := h.Method()
	s.asked = request{head: string(method) == "HEAD", connect: string(method) == "CONNECT", protocol: h.Protocol}
	out := modeLength
	switch {
	case s.asked.connect, h.Protocol != "":
		out, end, s.close = modeNone, true, true
	case end && h.Length > 0:
		s.mu.Unlock()
		return s.misuse(wrongLength)
	case h.Length < 0 && !end:
		out = modeChunked
	}
	b, err := s.room(h.Size() + len(h.Protocol) + headRoom)
	if err != nil {
		return s.unlock(err)
	}
	p, bad := appendRequest(b.Free()[:0], h, out == modeChunked)
	if bad != nil {
		s.mu.Unlock()
		return s.misuse(bad)
	}
	b.Extend(len(p))
	s.begun, s.ended, s.out, s.left = true, end, out, max(h.Length, 0)
	s.trusted = end && (s.looked || s.ran) && http.Idempotent(method)
	return s.unlock(nil)
}

// WriteData implements http.Stream. What is meant for a tunnel waits until there
// is one, and is dropped if the endpoint refuses.
func (s *clientStream) WriteData(p []byte, end bool) error {
	if s.tunnels() {
		if err := s.awaitDecision(); err != nil || !s.tunnel.Load() {
			return err
		}
	}
	return s.link.WriteData(p, end)
}

// ReadHead implements http.Stream.
func (s *clientStream) ReadHead(h *http.Head) error {
	if s.answered {
		return s.misuse(wrongOrder)
	}
	err := s.readHead(h)
	if s.tunnels() && (err != nil || s.answered) {
		s.mu.Lock()
		s.decide()
		s.mu.Unlock()
	}
	return err
}

func (s *clientStream) readHead(h *http.Head) error {
	n, err := s.awaitHead()
	if err != nil {
		return s.stale(err)
	}
	s.firstByte = true
	bad := parseResponse(s.c.Buffered()[:n], h, &s.framing, &s.asked, s.limits.Fields)
	s.c.Consume(n)
	if bad != nil {
		return s.refuse(bad)
	}
	s.close = s.close || h.Close
	if h.Status < 200 && h.Status != 101 {
		if s.interims++; s.interims > maxInterims {
			return s.refuse(manyInterims)
		}
		return nil
	}
	s.answered, s.ran = true, false
	if !s.whole.Load() {
		s.close = true // an early response: who knows what the endpoint does with the rest
	}
	switch {
	case h.Status == 101, s.asked.connect && h.Status < 300:
		s.in.start(modeTunnel, 0)
		if s.asked.connect {
			s.pulse.enter(phaseTunnel)
		}
		s.mu.Lock()
		s.out, s.ended = modeTunnel, false
		s.tunnel.Store(true)
		s.whole.Store(false)
		s.mu.Unlock()
	case h.Length > 0:
		s.ran = true
		s.in.start(modeLength, h.Length)
	case h.Length < 0 && s.framing.chunked:
		s.ran = true
		s.in.start(modeChunked, 0)
	case h.Length < 0:
		s.in.start(modeClose, 0)
	}
	return nil
}

// stale notes that a kept connection failed before any answer.
func (s *clientStream) stale(err error) error {
	if e, ok := err.(*http.Error); ok && s.reused && !s.firstByte && len(s.c.Buffered()) == 0 && s.cause.Load() == nil &&
		(e.Kind == http.KindClosed || e.Kind == http.KindReset) {
		e.Reused = true
	}
	return err
}

// Close implements http.Stream.
func (s *clientStream) Close() {
	if s.in.block > 0 {
		s.dropTrailers()
	}
	whole := s.discard() && s.answered && s.in.complete() && s.ended && !s.failed && !s.spoiled.Load() && s.cause.Load() == nil
	if whole && !s.close && len(s.c.Buffered()) == 0 {
		s.c.Release()
		s.pool.put(s)
		return
	}
	if whole {
		_ = s.c.Close()
	} else if s.cause.Load() == nil {
		_ = s.c.Reset()
	}
	s.release()
	s.pool.gone(s)
}

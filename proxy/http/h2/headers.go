package h2

import (
	"encoding/binary"

	"github.com/leno-mesh/leno/proxy/http"
)

// onHeaders takes a HEADERS frame (RFC 9113, section 6.2).
func (s *session) onHeaders(f frame, p []byte) error {
	if f.stream == 0 {
		return fatal(ProtocolError, "HEADERS belongs to no stream")
	}
	p, err := unpad(f, p)
	if err != nil {
		return err
	}
	selfish := false
	if f.has(flagPriority) {
		if len(p) < 5 {
			return fatal(FrameSizeError, "HEADERS is too short for its priority")
		}
		selfish = binary.BigEndian.Uint32(p)&maxStreamID == f.stream
		p = p[5:]
	}
	if selfish {
		f.flags |= flagSelfish
	} else {
		f.flags &^= flagSelfish
	}
	if f.has(flagEndHeaders) {
		return s.onBlock(f, p)
	}
	s.block = append(s.block[:0], p...)
	s.blockFrame, s.pieces = f, 1
	s.w.mu.Lock()
	s.blockSince = s.w.now
	s.w.mu.Unlock()
	return nil
}

// flagSelfish marks, in our own record of a HEADERS frame, a stream that depends
// on itself.
const flagSelfish = 0x80

// onContinuation takes a CONTINUATION frame (RFC 9113, section 6.10). All that a
// head may cost is bounded before it is complete.
func (s *session) onContinuation(f frame, p []byte) error {
	if s.pieces == 0 {
		return fatal(ProtocolError, "CONTINUATION follows no HEADERS")
	}
	if s.pieces++; s.pieces > s.limits.Continuations+1 || len(s.block)+len(p) > s.limits.HeadBytes+frameSize {
		return fatal(EnhanceYourCalm, "a header block is too long")
	}
	s.block = append(s.block, p...)
	if !f.has(flagEndHeaders) {
		return nil
	}
	s.pieces = 0
	s.w.mu.Lock()
	s.blockSince = 0
	s.w.mu.Unlock()
	err := s.onBlock(s.blockFrame, s.block)
	if cap(s.block) > frameSize {
		s.block = nil
	}
	return err
}

// onBlock decodes a complete header block and gives it to its stream. Every block
// is decoded, whatever becomes of it: the dynamic table depends on it.
func (s *session) onBlock(f frame, b []byte) error {
	s.w.mu.Lock()
	st := s.streams[f.stream]
	kind := blockTrailers
	switch {
	case st == nil && s.server():
		kind = blockRequest
	case st == nil, !s.server() && !st.final:
		kind = blockResponse
	}
	s.w.mu.Unlock()

	if err := s.heads.read(kind, b, &s.limits); err != nil {
		return fatal(CompressionError, err.Error())
	}

	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	err := s.onHead(f, kind)
	if s.heads.size > 8<<10 {
		s.heads.head.Trim()
	}
	return err
}

// onHead gives the head in s.heads to the stream of f.
func (s *session) onHead(f frame, kind block) error {
	st := s.streams[f.stream] // may have been reset since onBlock looked
	switch {
	case st == nil && kind == blockRequest:
		return s.onRequest(f)
	case st == nil:
		if s.idle(f.stream) {
			return fatal(ProtocolError, "HEADERS on a stream that was not opened")
		}
		return s.onLateHead(f)
	case f.has(flagSelfish):
		return s.refuse(f.stream, ProtocolError, "a stream depends on itself")
	case st.remoteEnd:
		return s.refuse(f.stream, StreamClosed, "HEADERS on a stream that the peer ended")
	case s.heads.over:
		st.tooLarge(s)
		return nil
	case s.heads.wrong != "":
		return s.refuse(f.stream, ProtocolError, "the message is malformed: "+s.heads.wrong)
	}
	st.moved = s.w.now
	if kind == blockTrailers {
		return s.onTrailers(f, st)
	}
	return s.onResponse(f, st)
}

// onLateHead handles HEADERS on a stream that has ended.
func (s *session) onLateHead(f frame) error {
	switch {
	case s.wasReset(f.stream), s.gone && s.server() && f.stream > s.goneAt:
		return nil
	case s.recent[f.stream>>1&255] == f.stream<<1:
		return fatal(StreamClosed, "HEADERS on a closed stream")
	}
	return fatal(ProtocolError, "HEADERS on a stream that was passed over or is long closed")
}

// onRequest opens a stream for a client.
func (s *session) onRequest(f frame) error {
	id := f.stream
	if id%2 == 0 {
		return fatal(ProtocolError, "a client's stream has an even identifier")
	}
	if id <= s.lastPeer {
		return s.onLateHead(f)
	}
	if s.gone {
		return nil // above what the GOAWAY said: the client knows that it was not taken
	}
	s.lastPeer = id
	s.guard.useful()
	h := &s.heads
	switch {
	case f.has(flagSelfish):
		return s.refuse(id, ProtocolError, "a stream depends on itself")
	case s.counted >= s.limits.Streams:
		return s.refuse(id, RefusedStream, "too many streams")
	case h.wrong != "":
		return s.refuse(id, ProtocolError, "the message is malformed: "+h.wrong)
	case h.length > 0 && f.has(flagEndStream):
		return s.refuse(id, ProtocolError, "the request has a Content-Length and no body")
	}
	st := s.memory.takeStream(s)
	st.id, st.sendWindow = id, s.peerWindow
	st.counted = true
	s.counted++
	s.streams[id] = st
	if h.over {
		st.headErr = &http.Error{Side: s.side, Kind: http.KindTooLarge, Status: 431,
			Reason: "the request head is larger than allowed"}
		if err := s.countReset(); err != nil {
			return err
		}
		h.head.Reset()
	}
	st.protocol = h.head.Protocol
	st.connect = string(h.head.Method()) == "CONNECT"
	st.toHead = string(h.head.Method()) == "HEAD"
	switch {
	case f.has(flagEndStream):
		st.remoteEnd = true
	case st.connect || st.protocol != "":
	default:
		h.head.Length = h.length
		st.left = h.length
	}
	st.head, h.head = h.head, st.head
	st.hasHead = true
	go st.start()
	return nil
}

// onResponse takes an interim or final response head.
func (s *session) onResponse(f frame, st *stream) error {
	h := &s.heads
	end := f.has(flagEndStream)
	if h.head.Status < 200 {
		if end {
			return s.refuse(st.id, ProtocolError, "an interim response ends the stream")
		}
		// Only the newest that was not read is kept: they are hints.
		st.interim, h.head = h.head, st.interim
		st.hasInterim = true
		st.readable.Broadcast()
		return s.guard.empty(s.w.now, &s.limits)
	}
	if end && h.length > 0 && !st.toHead && h.head.Status != 304 {
		return s.refuse(st.id, ProtocolError, "the response has a Content-Length and no body")
	}
	s.guard.useful()
	granted := h.head.Status < 300 && (st.connect || st.protocol != "")
	switch {
	case granted:
		st.tunnel = true
		h.head.Length = -1
		if st.protocol != "" {
			// As in HTTP/1.1, so that both have one reading.
			h.head.Status, h.head.Protocol = 101, st.protocol
		}
	case st.toHead || h.head.Status == 304 || h.head.Status == 204:
		if h.length >= 0 && h.head.Status != 204 {
			h.setLength()
		}
		st.left = 0
	case end:
	default:
		h.head.Length = h.length
		st.left = h.length
	}
	st.final = true
	st.head, h.head = h.head, st.head
	st.hasHead = true
	if end {
		st.remoteEnd = true
		s.half(st)
	}
	st.readable.Broadcast()
	return nil
}

// onTrailers takes the block that ends a message.
func (s *session) onTrailers(f frame, st *stream) error {
	switch {
	case !f.has(flagEndStream):
		return s.refuse(st.id, ProtocolError, "trailers do not end the stream")
	case st.left > 0:
		return s.refuse(st.id, ProtocolError, "the body is shorter than its Content-Length")
	case st.tunnel || st.connect && s.server():
		return s.refuse(st.id, ProtocolError, "a tunnel has trailers")
	}
	st.trailers, s.heads.head = s.heads.head, st.trailers
	st.hasTrailers = true
	st.remoteEnd = true
	s.half(st)
	st.readable.Broadcast()
	return nil
}

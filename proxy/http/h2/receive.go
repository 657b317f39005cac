package h2

import (
	"encoding/binary"

	"github.com/leno-mesh/leno/proxy/http"
)

// frame handles one frame on the reading goroutine. An error ends the connection.
func (s *session) frame(f frame, p []byte) error {
	if s.pieces > 0 && (f.kind != frameContinuation || f.stream != s.blockFrame.stream) {
		return fatal(ProtocolError, "a header block is interrupted")
	}
	if !s.settled && (f.kind != frameSettings || f.has(flagAck)) {
		return fatal(ProtocolError, "the first frame is not SETTINGS")
	}
	switch f.kind {
	case frameHeaders:
		return s.onHeaders(f, p)
	case frameContinuation:
		return s.onContinuation(f, p)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	switch f.kind {
	case frameData:
		return s.onData(f, p)
	case framePriority:
		return s.onPriority(f, p)
	case frameReset:
		return s.onReset(f, p)
	case frameSettings:
		return s.onSettings(f, p)
	case framePushPromise:
		return fatal(ProtocolError, "PUSH_PROMISE is not allowed")
	case framePing:
		return s.onPing(f, p)
	case frameGoAway:
		return s.onGoAway(f, p)
	case frameWindowUpdate:
		return s.onWindowUpdate(f, p)
	}
	return s.guard.empty(s.w.now, &s.limits)
}

// idle reports that a stream was never opened.
func (s *session) idle(id uint32) bool {
	if id%2 == 0 {
		return true
	}
	if s.server() {
		return id > s.lastPeer
	}
	return id >= s.nextID
}

// wasReset reports that we reset the stream lately, so that frames still on their
// way are to be ignored (RFC 9113, section 5.1).
func (s *session) wasReset(id uint32) bool { return s.recent[id>>1&255] == id<<1|1 }

// answer notes that a frame was appended in reply to the peer.
func (s *session) answer() error {
	s.unanswered = true
	if s.w.control++; s.w.control > s.limits.ControlFrames {
		return errAnswers
	}
	return nil
}

// refuse resets a stream for what the peer did (RFC 9113, section 5.4.2).
func (s *session) refuse(id uint32, code Code, reason string) error {
	o := s.w.buffer()
	if st := s.streams[id]; st != nil {
		s.remove(st, true)
		st.fail(exchangeError(s.side, http.KindProtocol, reason, code))
	} else {
		s.recent[id>>1&255] = id<<1 | 1
	}
	o.b = appendWord(o.b, frameReset, id, uint32(code))
	if err := s.answer(); err != nil {
		return err
	}
	return s.countReset()
}

// countReset counts a reset against a client; a server can only reset what we
// opened.
func (s *session) countReset() error {
	if !s.server() {
		return nil
	}
	return s.guard.reset(s.w.now, &s.limits)
}

// onData takes the body (RFC 9113, section 6.1).
func (s *session) onData(f frame, p []byte) error {
	if f.stream == 0 {
		return fatal(ProtocolError, "DATA belongs to no stream")
	}
	data, err := unpad(f, p)
	if err != nil {
		return err
	}
	if s.recvWindow -= f.length; s.recvWindow < 0 {
		return fatal(FlowControlError, "DATA exceeds the connection's window")
	}
	st := s.streams[f.stream]
	if st == nil {
		s.credit(f.length)
		if s.idle(f.stream) {
			return fatal(ProtocolError, "DATA on a stream that was not opened")
		}
		if s.wasReset(f.stream) || s.gone && s.server() && f.stream > s.goneAt {
			return nil
		}
		return s.refuse(f.stream, StreamClosed, "DATA on a closed stream")
	}
	if code, reason := st.accept(f, len(data)); reason != "" {
		s.credit(f.length)
		return s.refuse(f.stream, code, reason)
	}
	end := f.has(flagEndStream)
	if len(data) > 0 {
		s.guard.useful()
		st.data.put(s.memory, data)
	} else if !end {
		if err := s.guard.empty(s.w.now, &s.limits); err != nil {
			return err
		}
	}
	if padding := f.length - len(data); padding > 0 {
		s.credit(padding)
		st.giveBack(padding)
	}
	st.moved = s.w.now
	if end {
		st.remoteEnd = true
		s.half(st)
	}
	st.readable.Broadcast()
	return nil
}

func (s *session) onPriority(f frame, p []byte) error {
	if f.stream == 0 {
		return fatal(ProtocolError, "PRIORITY belongs to no stream")
	}
	if len(p) != 5 {
		if s.streams[f.stream] == nil {
			return fatal(FrameSizeError, "PRIORITY has a wrong length")
		}
		return s.refuse(f.stream, FrameSizeError, "PRIORITY has a wrong length")
	}
	if binary.BigEndian.Uint32(p)&maxStreamID == f.stream {
		if s.streams[f.stream] == nil {
			return fatal(ProtocolError, "a stream depends on itself")
		}
		return s.refuse(f.stream, ProtocolError, "a stream depends on itself")
	}
	return s.guard.empty(s.w.now, &s.limits)
}

func (s *session) onReset(f frame, p []byte) error {
	switch {
	case f.stream == 0:
		return fatal(ProtocolError, "RST_STREAM belongs to no stream")
	case len(p) != 4:
		return fatal(FrameSizeError, "RST_STREAM has a wrong length")
	case s.idle(f.stream):
		return fatal(ProtocolError, "RST_STREAM on a stream that was not opened")
	}
	if st := s.streams[f.stream]; st != nil {
		code := Code(binary.BigEndian.Uint32(p))
		s.remove(st, false)
		st.resetByPeer(code)
	}
	return s.countReset()
}

func (s *session) onSettings(f frame, p []byte) error {
	switch {
	case f.stream != 0:
		return fatal(ProtocolError, "SETTINGS belongs to a stream")
	case f.has(flagAck):
		if len(p) != 0 {
			return fatal(FrameSizeError, "a SETTINGS acknowledgement is not empty")
		}
		return nil
	case len(p)%6 != 0:
		return fatal(FrameSizeError, "SETTINGS has a wrong length")
	}
	window := s.peerWindow
	if !s.settled {
		s.peerStreams = 1<<32 - 1
	}
	for ; len(p) > 0; p = p[6:] {
		v := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingEnablePush:
			if v > 1 || v == 1 && !s.server() {
				return fatal(ProtocolError, "SETTINGS_ENABLE_PUSH is wrong")
			}
		case settingMaxStreams:
			s.peerStreams = v
		case settingInitialWindow:
			if v > maxWindow {
				return fatal(FlowControlError, "SETTINGS_INITIAL_WINDOW_SIZE is too large")
			}
			window = int64(v)
		case settingMaxFrame:
			if v < frameSize || v > 1<<24-1 {
				return fatal(ProtocolError, "SETTINGS_MAX_FRAME_SIZE is wrong")
			}
		case settingConnectProtocol:
			if v > 1 || v == 0 && s.peerConnect {
				return fatal(ProtocolError, "SETTINGS_ENABLE_CONNECT_PROTOCOL is wrong")
			}
			s.peerConnect = v == 1
		}
	}
	if err := s.moveWindows(window); err != nil {
		return err
	}
	if !s.settled {
		s.settled = true
		s.wakeAll()
	}
	s.moreStreams()
	o := s.w.buffer()
	o.b = appendFrame(o.b, 0, frameSettings, flagAck, 0)
	if err := s.answer(); err != nil {
		return err
	}
	return s.guard.answer(s.w.now, &s.limits)
}

// moveWindows applies a new initial window to all streams (RFC 9113, section
// 6.9.2); they may become negative.
func (s *session) moveWindows(window int64) error {
	delta := window - s.peerWindow
	s.peerWindow = window
	if delta == 0 {
		return nil
	}
	for _, st := range s.streams {
		if st.sendWindow += delta; st.sendWindow > maxWindow {
			return fatal(FlowControlError, "a stream's window overflows")
		}
		st.writable.Broadcast()
	}
	return nil
}

func (s *session) onPing(f frame, p []byte) error {
	switch {
	case f.stream != 0:
		return fatal(ProtocolError, "PING belongs to a stream")
	case len(p) != 8:
		return fatal(FrameSizeError, "PING has a wrong length")
	case f.has(flagAck):
		if s.draining != 0 && s.server() && string(p) == drainPing {
			s.drained()
			return nil
		}
		return s.guard.empty(s.w.now, &s.limits)
	}
	o := s.w.buffer()
	o.b = append(appendFrame(o.b, 8, framePing, flagAck, 0), p...)
	if err := s.answer(); err != nil {
		return err
	}
	return s.guard.answer(s.w.now, &s.limits)
}

func (s *session) onGoAway(f frame, p []byte) error {
	switch {
	case f.stream != 0:
		return fatal(ProtocolError, "GOAWAY belongs to a stream")
	case len(p) < 8:
		return fatal(FrameSizeError, "GOAWAY has a wrong length")
	case s.server():
		return s.guard.empty(s.w.now, &s.limits)
	}
	last := binary.BigEndian.Uint32(p) & maxStreamID
	s.gone, s.quit = true, true
	for id, st := range s.streams {
		if id > last {
			e := exchangeError(s.side, http.KindRefused, "the endpoint is going away", Code(binary.BigEndian.Uint32(p[4:])))
			e.Unsent = true
			s.remove(st, false)
			st.fail(e)
		}
	}
	s.freed()
	s.settle()
	return s.guard.empty(s.w.now, &s.limits)
}

func (s *session) onWindowUpdate(f frame, p []byte) error {
	if len(p) != 4 {
		return fatal(FrameSizeError, "WINDOW_UPDATE has a wrong length")
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if f.stream == 0 {
		if n == 0 {
			return fatal(ProtocolError, "WINDOW_UPDATE adds nothing")
		}
		if s.sendWindow += n; s.sendWindow > maxWindow {
			return fatal(FlowControlError, "the connection's window overflows")
		}
		s.wakeNext()
		return nil
	}
	if s.idle(f.stream) {
		return fatal(ProtocolError, "WINDOW_UPDATE on a stream that was not opened")
	}
	st := s.streams[f.stream]
	switch {
	case st == nil:
		return nil
	case n == 0:
		return s.refuse(f.stream, ProtocolError, "WINDOW_UPDATE adds nothing")
	case st.sendWindow+n > maxWindow:
		return s.refuse(f.stream, FlowControlError, "the stream's window overflows")
	}
	st.sendWindow += n
	st.writable.Broadcast()
	return nil
}

// credit gives n received bytes back to the peer, in larger pieces.
func (s *session) credit(n int) {
	if s.recvCredit += n; s.recvCredit < s.limits.ConnWindow/2 || s.err != nil {
		return
	}
	o := s.w.buffer()
	o.b = appendWord(o.b, frameWindowUpdate, 0, uint32(s.recvCredit))
	s.recvWindow += s.recvCredit
	s.recvCredit = 0
	s.unanswered = true
}

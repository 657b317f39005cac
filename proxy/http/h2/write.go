package h2

import "github.com/leno-mesh/leno/proxy/http"

// flushed sends what was held back; it returns true if it gave the mutex up, so
// that the caller has to look again before it waits.
func (s *session) flushed() bool {
	s.unanswered = false
	if s.w.busy || s.w.out == nil || s.w.err != nil {
		return false
	}
	s.w.flush(s.open > 1)
	return true
}

// enqueue puts a stream at the end of those that wait for room in the buffer or
// for the connection's window. They go one frame at a time, in turn.
func (s *session) enqueue(st *stream) {
	if st.queued {
		return
	}
	st.queued = true
	if s.lastOut == nil {
		s.waiting = st
	} else {
		s.lastOut.next = st
	}
	s.lastOut = st
}

func (s *session) dequeue(st *stream) {
	if !st.queued {
		return
	}
	var before *stream
	for p := s.waiting; p != st; p = p.next {
		before = p
	}
	if before == nil {
		s.waiting = st.next
	} else {
		before.next = st.next
	}
	if s.lastOut == st {
		s.lastOut = before
	}
	st.queued, st.next = false, nil
	s.wakeNext()
}

// wakeNext wakes the first that waits, if there may be something for it.
func (s *session) wakeNext() {
	if s.waiting != nil {
		s.waiting.writable.Broadcast()
	}
}

// wakeAll wakes all that wait, for the session has ended or has settled.
func (s *session) wakeAll() {
	for st := s.waiting; st != nil; st = st.next {
		st.writable.Broadcast()
	}
}

// writeFailure returns why nothing can be written.
func (st *stream) writeFailure() error {
	switch {
	case st.err != nil:
		return st.err
	case st.writeErr != nil:
		return st.writeErr
	case st.s.err != nil && st.id == 0:
		return st.s.lost()
	case st.s.err != nil:
		return st.s.err
	case st.localEnd:
		return errEnded
	case st.id == 0 && st.s.gone:
		return st.s.lost()
	}
	return nil
}

// lost is the error of a stream on which nothing was sent.
func (s *session) lost() error {
	e := exchangeError(s.side, http.KindRefused, "the connection ended before the request was sent", s.err)
	e.Unsent = true
	return e
}

// turn waits until ready says that the stream may go on, in turn with those that
// wait for the same.
func (st *stream) turn(ready func(*stream) bool) error {
	s := st.s
	for {
		if err := st.writeFailure(); err != nil {
			s.dequeue(st)
			return err
		}
		if ready(st) && (s.waiting == nil || s.waiting == st) {
			s.dequeue(st)
			return nil
		}
		s.enqueue(st)
		if !s.flushed() {
			st.wait(&st.writable)
		}
	}
}

// hasRoom is what a head waits for: space for a whole frame.
func hasRoom(st *stream) bool { return st.s.w.room() >= frameHeader+frameSize }

// canSend is what DATA waits for besides its stream's window.
func canSend(st *stream) bool { return st.s.sendWindow > 0 && hasRoom(st) }

// claim waits for room and windows and returns how many of n bytes may go in one
// frame.
func (st *stream) claim(n int) (int, error) {
	s := st.s
	for {
		for st.sendWindow <= 0 {
			if err := st.writeFailure(); err != nil {
				return 0, err
			}
			if !s.flushed() {
				st.wait(&st.writable)
			}
		}
		if err := st.turn(canSend); err != nil {
			return 0, err
		}
		if st.sendWindow > 0 { // SETTINGS may have changed it meanwhile
			break
		}
	}
	return int(min(int64(min(n, frameSize)), st.sendWindow, s.sendWindow)), nil
}

// WriteHead implements http.Stream.
func (st *stream) WriteHead(h *http.Head, end bool) error {
	s := st.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if err := st.turn(hasRoom); err != nil {
		return err
	}
	if s.server() {
		if st.protocol != "" && h.Status >= 200 && h.Status < 300 {
			return errNoSwitch
		}
		end = st.prepareResponse(h, end)
	} else {
		if err := st.prepareRequest(h); err != nil {
			return err
		}
		end = end && !st.connect && st.protocol == ""
	}
	o := s.w.buffer()
	start := len(o.b)
	o.b = appendFrame(o.b, 0, frameHeaders, 0, st.id)
	if !s.greeted {
		s.greeted = true
		o.b = append(o.b, emptyTable)
	}
	if s.server() {
		o.b = appendResponse(o.b, h)
	} else {
		o.b = appendRequest(o.b, h)
	}
	o.b = finishHead(o.b, start, st.id, end)
	st.wrote(end)
	return nil
}

// errNoSwitch is never written. HTTP/2 has no way to refuse an upgrade with
// success: the client would take it for granted (RFC 8441, section 5).
var errNoSwitch = &http.Error{Side: http.Upstream, Kind: http.KindUnsupported, Status: 502,
	Reason: "the endpoint answered an upgrade without switching protocols"}

// prepareResponse notes what a response head means for the stream.
func (st *stream) prepareResponse(h *http.Head, end bool) bool {
	granted := h.Status == 101 || st.connect && h.Status >= 200 && h.Status < 300
	if granted {
		st.tunnel = true
		return false
	}
	return end && h.Status >= 200
}

// prepareRequest gives the stream its identifier: they grow in the order in which
// requests are sent.
func (st *stream) prepareRequest(h *http.Head) error {
	s := st.s
	if h.Protocol != "" {
		for !s.settled {
			if err := st.writeFailure(); err != nil {
				s.dequeue(st)
				return err
			}
			s.enqueue(st)
			if !s.flushed() {
				st.wait(&st.writable)
			}
		}
		s.dequeue(st)
		if !s.peerConnect {
			e := exchangeError(s.side, http.KindUnsupported, "the endpoint does not take upgrades over HTTP/2", nil)
			e.Unsent = true
			return e
		}
	}
	if err := st.writeFailure(); err != nil {
		return err
	}
	if st.id != 0 {
		return errEnded
	}
	if s.nextID > maxStreamID-2 {
		s.gone, s.quit = true, true
		return s.lost()
	}
	st.id = s.nextID
	s.nextID += 2
	st.sendWindow = s.peerWindow
	st.toHead = string(h.Method()) == "HEAD"
	st.connect = string(h.Method()) == "CONNECT" && h.Protocol == ""
	st.protocol = h.Protocol
	s.streams[st.id] = st
	return nil
}

// wrote follows an appended frame. What ends a message is sent at once, other
// frames when there are enough of them.
func (st *stream) wrote(end bool) {
	s := st.s
	st.moved = s.w.now
	if end {
		st.localEnd = true
		s.half(st)
	}
	if end || s.w.room() < outSize/2 {
		s.flushed()
	}
}

// WriteData implements http.Stream.
func (st *stream) WriteData(p []byte, end bool) error {
	s := st.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if st.id == 0 {
		return errNoHead
	}
	for len(p) > 0 {
		n, err := st.claim(len(p))
		if err != nil {
			return err
		}
		last := end && n == len(p)
		o := s.w.buffer()
		o.b = appendFrame(o.b, n, frameData, flagIf(last), st.id)
		s.guard.moved()
		o.b = append(o.b, p[:n]...)
		p = p[n:]
		st.sendWindow -= int64(n)
		s.sendWindow -= int64(n)
		s.wakeNext()
		st.wrote(last)
		if last {
			return nil
		}
	}
	if !end {
		return st.writeFailure()
	}
	if err := st.turn(hasRoom); err != nil {
		return err
	}
	o := s.w.buffer()
	o.b = appendFrame(o.b, 0, frameData, flagEndStream, st.id)
	st.wrote(true)
	return nil
}

func flagIf(end bool) uint8 {
	if end {
		return flagEndStream
	}
	return 0
}

// WriteTrailers implements http.Stream.
func (st *stream) WriteTrailers(h *http.Head) error {
	if h.Len() == 0 {
		return st.WriteData(nil, true)
	}
	s := st.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if st.id == 0 {
		return errNoHead
	}
	if err := st.turn(hasRoom); err != nil {
		return err
	}
	o := s.w.buffer()
	start := len(o.b)
	o.b = appendFrame(o.b, 0, frameHeaders, 0, st.id)
	o.b = appendTrailers(o.b, h)
	o.b = finishHead(o.b, start, st.id, true)
	st.wrote(true)
	return nil
}

// Flush implements http.Stream.
func (st *stream) Flush() error {
	s := st.s
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	if st.err != nil {
		return st.err
	}
	s.flushed()
	return nil
}

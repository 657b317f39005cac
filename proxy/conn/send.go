package conn

// Send is Write that does not wait for the socket: what it does not take at
// once stays with the connection. If pending is true, p belongs to the
// connection until Finish, which must come before any other write, returned.
// p is at most 96 KiB.
func (c *Conn) Send(p []byte) (pending bool, err error) {
	if c.tls == nil {
		return c.sock.trySend(p)
	}
	c.rec.hold()
	if _, err := c.tls.Write(p); err != nil {
		_ = c.rec.flush()
		return false, err
	}
	return c.rec.trySend()
}

// Finish waits until the socket took what Send left pending.
func (c *Conn) Finish() error {
	if c.tls == nil {
		_, err := c.sock.Write(c.sock.rest)
		c.sock.rest = nil
		return err
	}
	return c.rec.flush()
}

// trySend sends what the socket takes at once and keeps the rest of p.
func (s *socket) trySend(p []byte) (pending bool, err error) {
	if s.raw == nil {
		s.rest = p
		return true, nil
	}
	s.trying = true
	n, err := s.Write(p)
	s.trying = false
	if err != nil || n == len(p) {
		return false, err
	}
	s.rest = p[n:]
	return true, nil
}

// trySend sends what the socket takes of the records held and keeps the rest
// held.
func (r *records) trySend() (pending bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.held) > 0 {
		pending, err = r.socket.trySend(r.held)
		if pending {
			n := copy(r.held, r.socket.rest)
			r.held, r.socket.rest = r.held[:n], nil
			return true, nil
		}
		if r.held = r.held[:0]; cap(r.held) > maxIdleHeld {
			r.held = nil
		}
	}
	r.holding = false
	return false, err
}

// maxIdleHeld is how large a buffer for records an idle connection keeps.
const maxIdleHeld = 4096

package conn

import (
	"errors"
	"syscall"

	"github.com/leno-mesh/leno/lib/buf"
)

// Buffers returns the pool that the connection borrows its read buffer from.
func (c *Conn) Buffers() *buf.Pool { return c.bufs }

// ErrNotQuiet is returned by AskBuffer when the peer of a connection that should
// be quiet has spoken or gone.
var ErrNotQuiet = errors.New("the peer has spoken or gone before it was asked")

// AskBuffer is Ask for the bytes of b, which it owns: b is given back as soon as
// they are sent, so that a connection that waits for a slow answer holds
// nothing. With quiet it sends nothing and returns ErrNotQuiet if Quiet does not
// hold. It returns how many bytes the kernel took.
func (c *Conn) AskBuffer(b *buf.Buffer, quiet bool) (sent int, err error) {
	return c.askBuffer(b, quiet, false)
}

// AskBlindly is AskBuffer without the look at what arrived before, a system call,
// for a connection that was read to its end a moment ago. Should the peer have
// ended the stream since, and take what is sent all the same, the wait goes on
// until Nudge.
func (c *Conn) AskBlindly(b *buf.Buffer) (sent int, err error) {
	return c.askBuffer(b, false, true)
}

func (c *Conn) askBuffer(b *buf.Buffer, quiet, blind bool) (sent int, err error) {
	if c.tls != nil {
		if quiet && !c.Quiet() {
			c.bufs.Put(b)
			return 0, ErrNotQuiet
		}
		sent, err = c.Write(b.Bytes())
		c.bufs.Put(b)
		if err != nil {
			return sent, err
		}
		return sent, c.fill(nil)
	}
	c.sock.askFrom, c.sock.askQuiet, c.sock.askBlind, c.sock.asked = b, quiet, blind, 0
	err = c.fill(b.Bytes())
	c.sock.askQuiet, c.sock.askBlind = false, false
	if c.sock.askFrom != nil {
		c.sock.askFrom = nil
		c.bufs.Put(b)
	}
	return c.sock.asked, err
}

// Waited reports that the last Fill looked for bytes and found none at first:
// a system call in vain.
func (c *Conn) Waited() bool { return c.sock.waited }

// Nudge makes the kernel say again that something has arrived, if it has, to a
// reader that waits. Any goroutine may call it.
func (c *Conn) Nudge() {
	if c.sock.raw == nil {
		return
	}
	_ = c.sock.raw.Control(func(fd uintptr) {
		// Setting the mark at which a socket is readable, here to what it
		// is already, looks whether it is.
		_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, 1)
	})
}

// Quiet reports, without blocking, that the peer has neither sent a byte nor
// ended the stream: what a connection kept for reuse must be. Only its reading
// goroutine may call it.
func (c *Conn) Quiet() bool {
	if c.in != nil && c.in.Len() > 0 || c.more {
		return false
	}
	if c.rec != nil && c.rec.in != nil && c.rec.in.Len() > 0 {
		return false
	}
	return c.sock.quiet()
}

func (s *socket) quiet() bool {
	if s.raw == nil {
		return true
	}
	s.peeked = false
	if err := s.raw.Control(s.peek); err != nil {
		return false
	}
	return s.peeked
}

func (s *socket) onPeek(fd uintptr) { s.peeked = !s.somethingArrived(fd) }

// somethingArrived reports that a read would not block: bytes, the end or an
// error wait.
func (s *socket) somethingArrived(fd uintptr) bool {
	_, errno := recvFlags(fd, s.onePeek[:], syscall.MSG_DONTWAIT|syscall.MSG_PEEK)
	return errno != syscall.EAGAIN
}

package conn

import (
	"io"
	"net"
	"syscall"
	"unsafe"

	"github.com/leno-mesh/leno/lib/buf"
)

// socket reads and writes one connection. TCP goes by raw system calls; other
// kinds (pipes in tests, unix sockets) by their net.Conn.
type socket struct {
	nc  net.Conn
	tcp *net.TCPConn    // nil for other kinds
	raw syscall.RawConn // nil for other kinds

	// Of the reading goroutine. The callbacks are made once, so that a call
	// allocates nothing.
	readReady func(fd uintptr) bool
	ask       []byte
	asking    bool
	asked     int         // bytes of ask that the kernel took
	askQuiet  bool        // do not ask if something arrived already
	askBlind  bool        // do not look whether something arrived already
	askFrom   *buf.Buffer // where ask lies, given back once it is sent; may be nil
	into      **buf.Buffer
	bufs      *buf.Pool
	readErr   error
	waited    bool // the last fill found nothing at first
	peek      func(fd uintptr)
	peeked    bool    // the last peek found nothing
	onePeek   [1]byte // what peeks read into

	// Of the writing goroutine.
	writeReady func(fd uintptr) bool
	out        []byte
	writeErr   error
	trying     bool   // Write does not wait
	rest       []byte // what Send left pending
}

func newSocket(nc net.Conn) *socket {
	s := &socket{nc: nc}
	if t, ok := nc.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			s.tcp, s.raw = t, raw
			s.readReady, s.writeReady, s.peek = s.onReadable, s.onWritable, s.onPeek
		}
	}
	return s
}

// fill sends ask, waits for bytes and appends them to *into, taking a buffer
// from bufs when there is none.
func (s *socket) fill(ask []byte, into **buf.Buffer, bufs *buf.Pool) error {
	if s.raw == nil {
		return s.fillSlow(ask, into, bufs)
	}
	s.ask, s.asking, s.asked = ask, len(ask) > 0, 0
	s.into, s.bufs, s.readErr, s.waited = into, bufs, nil, false
	err := s.raw.Read(s.readReady)
	s.ask, s.into = nil, nil
	if err != nil {
		return err
	}
	return s.readErr
}

// onReadable returns false to wait for the next edge. After sending it waits
// without looking if nothing had arrived before: RawConn.Read cleared the
// poller's readiness before it called us, so the edge of an answer cannot have
// been missed, but that of something earlier is gone.
func (s *socket) onReadable(fd uintptr) bool {
	if s.asking {
		s.asking = false
		pending := !s.askBlind && s.somethingArrived(fd)
		if pending && s.askQuiet {
			s.readErr = ErrNotQuiet
			return true
		}
		n, errno := send(fd, s.ask)
		if errno != 0 && errno != syscall.EAGAIN {
			s.readErr = errno
			return true
		}
		s.asked = n
		if n < len(s.ask) {
			n, err := s.Write(s.ask[n:])
			s.asked += n
			if err != nil {
				s.readErr = err
				return true
			}
		}
		if s.askFrom != nil {
			s.bufs.Put(s.askFrom)
			s.askFrom = nil
		}
		if !pending {
			return false
		}
	}
	b := *s.into
	if b == nil {
		b = s.bufs.Get()
	}
	n, errno := recv(fd, b.Free())
	switch {
	case n > 0:
		b.Extend(n)
		*s.into = b
		return true
	case errno == syscall.EAGAIN:
		if *s.into == nil {
			s.bufs.Put(b)
		}
		s.waited = true
		return false
	}
	if *s.into == nil {
		s.bufs.Put(b)
	}
	if errno != 0 {
		s.readErr = errno
	} else {
		s.readErr = io.EOF
	}
	return true
}

func (s *socket) fillSlow(ask []byte, into **buf.Buffer, bufs *buf.Pool) error {
	if len(ask) > 0 {
		n, err := s.nc.Write(ask)
		s.asked = n
		if err != nil {
			return err
		}
	}
	b := *into
	if b == nil {
		b = bufs.Get()
	}
	n, err := s.nc.Read(b.Free())
	if n > 0 {
		b.Extend(n)
		*into = b
		return nil
	}
	if *into == nil {
		bufs.Put(b)
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// Write sends all of p.
func (s *socket) Write(p []byte) (int, error) {
	if s.raw == nil {
		return s.nc.Write(p)
	}
	s.out, s.writeErr = p, nil
	err := s.raw.Write(s.writeReady)
	sent := len(p) - len(s.out)
	s.out = nil
	if err == nil {
		err = s.writeErr
	}
	return sent, err
}

func (s *socket) onWritable(fd uintptr) bool {
	for len(s.out) > 0 {
		n, errno := send(fd, s.out)
		if errno == syscall.EAGAIN {
			return s.trying
		}
		if errno != 0 {
			s.writeErr = errno
			return true
		}
		s.out = s.out[n:]
	}
	return true
}

func (s *socket) closeWrite() error {
	if c, ok := s.nc.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return s.nc.Close()
}

// recv and send never block. RawSyscall does not tell the scheduler, which is
// right for calls that cannot wait.
func recv(fd uintptr, p []byte) (int, syscall.Errno) {
	return recvFlags(fd, p, syscall.MSG_DONTWAIT)
}

func recvFlags(fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		if errno != syscall.EINTR {
			if errno != 0 {
				return 0, errno
			}
			return int(n), 0
		}
	}
}

func send(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		if errno != syscall.EINTR {
			if errno != 0 {
				return 0, errno
			}
			return int(n), 0
		}
	}
}

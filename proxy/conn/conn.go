// Package conn is the byte stream beneath every protocol: a socket or a TLS
// connection with who and where, a read buffer that is held only while bytes
// are in it, and a relay between two of them.
//
// Sockets are read and written by non-blocking raw system calls inside
// syscall.RawConn, so that the runtime's monitor is not woken for each of them
// (-28 % CPU at low load, docs/performance.md); goroutines park in Go's own
// poller.
package conn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// Info is what is known of a connection before its first application byte.
type Info struct {
	Local, Remote netip.AddrPort
	// OriginalDst is the destination before interception; invalid if there was none.
	OriginalDst netip.AddrPort
	// Peer is the verified identity of the other end; zero if it proved none.
	Peer spiffe.ID
	// SNI and ALPN are what the handshake agreed on; empty without TLS.
	SNI, ALPN string
	// TLS says that the bytes are encrypted.
	TLS bool
}

// ErrBufferFull is returned by Fill when the unread bytes fill the buffer.
var ErrBufferFull = errors.New("read buffer is full")

// Conn is an accepted or dialed connection. One goroutine may read and one may
// write at a time; Expire and Close may be called from any.
type Conn struct {
	Info
	bufs *buf.Pool
	sock *socket
	tls  *tls.Conn   // nil for plaintext
	rec  *records    // what tls reads and writes; nil for plaintext
	in   *buf.Buffer // unread bytes; nil while there are none
	more bool        // tls may hold decrypted bytes that did not fit
}

// New wraps a connection. It owns nc afterwards.
func New(nc net.Conn, bufs *buf.Pool) *Conn {
	c := &Conn{bufs: bufs, sock: newSocket(nc)}
	c.Local, c.Remote = addrPort(nc.LocalAddr()), addrPort(nc.RemoteAddr())
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// Buffered returns the unread bytes; they are valid until the next Fill or Ask.
func (c *Conn) Buffered() []byte {
	if c.in == nil {
		return nil
	}
	return c.in.Bytes()
}

// Consume drops the first n bytes of Buffered. Slices of them stay valid until
// the next Fill or Ask.
func (c *Conn) Consume(n int) {
	if n > 0 {
		c.in.Consume(n)
	}
}

// Fill blocks until bytes are added to Buffered. While it waits with nothing
// unread the connection holds no buffer. At the end of the stream it returns
// io.EOF.
func (c *Conn) Fill() error { return c.fill(nil) }

// Ask sends p and then fills, as one wait: the answer is not looked for before
// the kernel says that something arrived.
func (c *Conn) Ask(p []byte) error { return c.fill(p) }

func (c *Conn) fill(ask []byte) error {
	if c.in != nil {
		switch {
		case c.in.Len() == 0:
			c.release()
		case c.in.Full():
			return ErrBufferFull
		default:
			c.in.Compact()
		}
	}
	if c.tls == nil {
		return c.sock.fill(ask, &c.in, c.bufs)
	}
	if len(ask) > 0 {
		if _, err := c.Write(ask); err != nil {
			return err
		}
	}
	for {
		if !c.more {
			if err := c.rec.await(); err != nil {
				return err
			}
		}
		if c.in == nil {
			c.in = c.bufs.Get()
		}
		free := c.in.Free()
		n, err := c.tls.Read(free)
		c.in.Extend(n)
		c.more = n == len(free)
		if n > 0 {
			return nil
		}
		if err != nil {
			c.release()
			return err
		}
	}
}

// release gives the read buffer back if nothing unread is in it.
func (c *Conn) release() {
	if c.in != nil && c.in.Len() == 0 {
		c.bufs.Put(c.in)
		c.in = nil
	}
}

// Release gives the read buffer back if nothing unread is in it. It ends the
// life of every slice of Buffered.
func (c *Conn) Release() { c.release() }

// Write sends all of p in as few system calls as the socket allows, however
// many TLS records it takes.
func (c *Conn) Write(p []byte) (int, error) {
	if c.tls == nil {
		return c.sock.Write(p)
	}
	c.rec.hold()
	n, err := c.tls.Write(p)
	if ferr := c.rec.flush(); err == nil {
		err = ferr
	}
	return n, err
}

// CloseWrite tells the peer that no more bytes will come: close_notify over
// TLS, then FIN.
func (c *Conn) CloseWrite() error {
	if c.tls != nil {
		if err := c.tls.CloseWrite(); err != nil {
			return err
		}
	}
	return c.sock.closeWrite()
}

// Close closes the connection at once. The read buffer is not given back:
// another goroutine may still be reading it.
func (c *Conn) Close() error { return c.sock.nc.Close() }

// Reset closes the connection so that the peer sees a reset (RST) and no
// orderly end.
func (c *Conn) Reset() error {
	if c.sock.tcp != nil {
		_ = c.sock.tcp.SetLinger(0)
	}
	return c.sock.nc.Close()
}

// Expire makes blocked and later reads and writes fail with
// os.ErrDeadlineExceeded.
func (c *Conn) Expire() { _ = c.sock.nc.SetDeadline(time.Unix(1, 0)) }

// SetDeadline bounds reads and writes until it is set again; the zero time
// takes the bound away.
func (c *Conn) SetDeadline(t time.Time) { _ = c.sock.nc.SetDeadline(t) }

// TCP returns the socket where nothing is encrypted above it, so that the
// kernel can splice; unread bytes must be taken first.
func (c *Conn) TCP() (*net.TCPConn, bool) {
	return c.sock.tcp, c.sock.tcp != nil && c.tls == nil
}

// StartTLS puts a TLS connection, made by wrap over the connection's bytes, on
// top. Bytes that were read already belong to the handshake. The caller runs
// the handshake and fills in Info.
func (c *Conn) StartTLS(wrap func(net.Conn) *tls.Conn) *tls.Conn {
	c.rec = &records{socket: c.sock, bufs: c.bufs, in: c.in}
	c.in = nil
	c.tls = wrap(c.rec)
	c.TLS = true
	return c.tls
}

// TLSState returns the state of the TLS connection, nil for plaintext.
func (c *Conn) TLSState() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	s := c.tls.ConnectionState()
	return &s
}

// IsEOF reports that err is the orderly end of a stream. Over TLS that takes
// close_notify: a bare FIN is io.ErrUnexpectedEOF.
func IsEOF(err error) bool { return errors.Is(err, io.EOF) }

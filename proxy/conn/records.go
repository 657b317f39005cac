package conn

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
)

// records is the net.Conn that crypto/tls works on. It reads the socket in
// large pieces but hands out at most one TLS record at a time, so that between
// two reads of the TLS connection all unread bytes are here, where await can see
// them; and it gathers the records of one Write into one system call.
type records struct {
	*socket
	bufs *buf.Pool

	// Of the reading goroutine.
	in     *buf.Buffer // nil while empty
	header [recordHeader]byte
	seen   int // bytes of header handed out
	left   int // bytes of the record's payload not handed out

	mu      sync.Mutex // guards held and holding: the reader too may write, to answer a KeyUpdate
	held    []byte     // records not sent yet
	holding bool
}

const recordHeader = 5 // type, version, length (RFC 8446, section 5.1)

// await blocks until unread bytes are here. It holds no buffer while it waits.
func (r *records) await() error {
	if r.in != nil {
		if r.in.Len() > 0 {
			return nil
		}
		r.bufs.Put(r.in)
		r.in = nil
	}
	return r.fill(nil, &r.in, r.bufs)
}

// Read hands out bytes up to the end of the current record.
func (r *records) Read(p []byte) (int, error) {
	if err := r.await(); err != nil {
		if err == io.EOF && (r.seen > 0 || r.left > 0) {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	unread := r.in.Bytes()
	n := 0
	if r.left == 0 {
		n = copy(r.header[r.seen:], unread[:min(len(unread), len(p))])
		copy(p, r.header[r.seen:r.seen+n])
		r.seen += n
		if r.seen == recordHeader {
			r.seen = 0
			r.left = int(binary.BigEndian.Uint16(r.header[3:]))
		}
	}
	if r.left > 0 {
		k := copy(p[n:], unread[n:min(len(unread), n+r.left)])
		r.left -= k
		n += k
	}
	r.in.Consume(n)
	return n, nil
}

// hold makes Write keep records back until flush.
func (r *records) hold() {
	r.mu.Lock()
	r.holding = true
	r.mu.Unlock()
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.holding {
		return r.socket.Write(p)
	}
	r.held = append(r.held, p...)
	if len(r.held) >= maxHeld {
		return len(p), r.send()
	}
	return len(p), nil
}

// maxHeld is how many bytes of records one system call sends at the most.
const maxHeld = 128 << 10

func (r *records) send() error {
	_, err := r.socket.Write(r.held)
	r.held = r.held[:0]
	return err
}

func (r *records) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.holding = false
	if len(r.held) == 0 {
		return nil
	}
	err := r.send()
	if cap(r.held) > 4096 {
		r.held = nil
	}
	return err
}

func (r *records) Close() error                       { return r.nc.Close() }
func (r *records) LocalAddr() net.Addr                { return r.nc.LocalAddr() }
func (r *records) RemoteAddr() net.Addr               { return r.nc.RemoteAddr() }
func (r *records) SetDeadline(t time.Time) error      { return r.nc.SetDeadline(t) }
func (r *records) SetReadDeadline(t time.Time) error  { return r.nc.SetReadDeadline(t) }
func (r *records) SetWriteDeadline(t time.Time) error { return r.nc.SetWriteDeadline(t) }

package engine

import (
	"errors"
	"io"
	"sync/atomic"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// buffered is what a stream may know: that ReadData would return at once. A
// relay flushes the other side before it waits, and only then.
type buffered interface{ Buffered() bool }

func ready(s http.Stream) bool {
	b, ok := s.(buffered)
	return ok && b.Buffered()
}

// ended reports the orderly end of a stream: io.EOF itself. A connection that
// was lost is an error that may well wrap io.EOF, and must not be taken for it.
func ended(err error) bool { return err == io.EOF }

// copyBody moves a body and its trailers from one stream to another. It flushes
// before every wait, so that nothing is held back while the sender thinks.
func copyBody(to, from http.Stream, trailers *http.Head, count *int64) error {
	for {
		if !ready(from) {
			if err := to.Flush(); err != nil {
				return err
			}
		}
		p, err := from.ReadData()
		if ended(err) {
			break
		}
		if err != nil {
			return err
		}
		*count += int64(len(p))
		if err := to.WriteData(p, false); err != nil {
			return err
		}
	}
	trailers.Reset()
	if err := from.ReadTrailers(trailers); err != nil {
		return err
	}
	if trailers.Len() > 0 {
		return to.WriteTrailers(trailers)
	}
	return to.WriteData(nil, true)
}

// copyTunnel moves one direction of a tunnel, half close included.
func copyTunnel(to, from http.Stream, count *int64) error {
	for {
		if !ready(from) {
			if err := to.Flush(); err != nil {
				return err
			}
		}
		p, err := from.ReadData()
		if ended(err) {
			return to.WriteData(nil, true)
		}
		if err != nil {
			return err
		}
		*count += int64(len(p))
		if err := to.WriteData(p, false); err != nil {
			return err
		}
	}
}

// farEnd is what the bytes of a connection go to: another connection, or a
// stream that tunnels them.
type farEnd interface {
	// first blocks until the endpoint's first bytes or its end are known.
	first() error
	// out moves what the client sends to the endpoint, in the reverse.
	out(c *conn.Conn, count *atomic.Int64) error
	in(c *conn.Conn, count *atomic.Int64) error
	abort(cause error)
	close()
}

// join moves the bytes of c and far both ways until both directions have ended
// or one fails; then both ends are reset. Where another goroutine is filling c,
// filled tells when it is done. The caller closes both ends afterwards.
func (e *Engine) join(c *conn.Conn, far farEnd, sent, received *atomic.Int64, filled <-chan error) error {
	cut := func(err error) {
		far.abort(err)
		_ = c.Reset()
	}
	outward := make(chan error, 1)
	go func() {
		var err error
		if filled != nil {
			err = <-filled
		}
		if err == nil || errors.Is(err, io.EOF) {
			err = e.contained(func() error { return far.out(c, sent) })
		}
		if err != nil {
			cut(err)
		}
		outward <- err
	}()
	err := e.contained(func() error { return far.in(c, received) })
	if err != nil {
		cut(err)
	}
	if other := <-outward; err == nil {
		err = other
	}
	return err
}

// joinStreams is join for a client whose bytes come in a stream: a CONNECT
// request.
func (e *Engine) joinStreams(down http.Stream, far farEnd, sent, received *atomic.Int64) error {
	switch f := far.(type) {
	case *connEnd:
		return e.join(f.to, &streamEnd{s: down}, received, sent, nil)
	case *streamEnd:
		outward := make(chan error, 1)
		var n int64
		go func() {
			err := e.contained(func() error { return copyTunnel(f.s, down, &n) })
			if err != nil {
				f.s.Abort(err)
				down.Abort(err)
			}
			outward <- err
		}()
		var back int64
		err := e.contained(func() error { return copyTunnel(down, f.s, &back) })
		if err != nil {
			f.s.Abort(err)
			down.Abort(err)
		}
		if other := <-outward; err == nil {
			err = other
		}
		sent.Store(n)
		received.Store(back)
		return err
	}
	panic("engine: unknown far end")
}

// connEnd is an endpoint's socket.
type connEnd struct{ to *conn.Conn }

func (f *connEnd) first() error {
	if err := f.to.Fill(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (f *connEnd) out(c *conn.Conn, n *atomic.Int64) error { return conn.Copy(f.to, c, n) }
func (f *connEnd) in(c *conn.Conn, n *atomic.Int64) error  { return conn.Copy(c, f.to, n) }
func (f *connEnd) abort(error)                             { _ = f.to.Reset() }
func (f *connEnd) close()                                  { f.to.Close() }

// streamEnd is a CONNECT stream.
type streamEnd struct {
	s    http.Stream
	read []byte // what first found
	err  error
}

func (f *streamEnd) first() error {
	f.read, f.err = f.s.ReadData()
	if ended(f.err) {
		return nil
	}
	return f.err
}

func (f *streamEnd) abort(cause error) { f.s.Abort(cause) }
func (f *streamEnd) close()            { f.s.Close() }

func (f *streamEnd) out(c *conn.Conn, count *atomic.Int64) error {
	for {
		if p := c.Buffered(); len(p) > 0 {
			if err := f.s.WriteData(p, false); err != nil {
				return err
			}
			if err := f.s.Flush(); err != nil {
				return err
			}
			count.Add(int64(len(p)))
			c.Consume(len(p))
		}
		err := c.Fill()
		if errors.Is(err, io.EOF) {
			c.Release()
			return f.s.WriteData(nil, true)
		}
		if err != nil {
			return err
		}
	}
}

func (f *streamEnd) in(c *conn.Conn, count *atomic.Int64) error {
	p, err := f.read, f.err
	f.read, f.err = nil, nil
	for {
		if len(p) > 0 {
			if _, err := c.Write(p); err != nil {
				return err
			}
			count.Add(int64(len(p)))
		}
		if ended(err) {
			return c.CloseWrite()
		}
		if err != nil {
			return err
		}
		p, err = f.s.ReadData()
	}
}

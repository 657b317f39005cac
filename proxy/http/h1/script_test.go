package h1

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// script is a connection whose peer sends fixed pieces, whatever it is told, and
// then ends its side.
type script struct {
	pieces [][]byte
	wrote  bytes.Buffer
	closed bool
}

func (s *script) Read(p []byte) (int, error) {
	for len(s.pieces) > 0 && len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if s.closed {
		return 0, net.ErrClosed
	}
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	s.pieces[0] = s.pieces[0][n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error)      { return s.wrote.Write(p) }
func (s *script) Close() error                     { s.closed = true; return nil }
func (s *script) CloseWrite() error                { return nil }
func (s *script) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *script) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// pieces copies raw, which the codec lowers in place, and cuts it at the given
// positions.
func pieces(raw string, cuts ...int) [][]byte {
	b := []byte(raw)
	var out [][]byte
	from := 0
	for _, c := range cuts {
		out = append(out, b[from:c:c])
		from = c
	}
	return append(out, b[from:])
}

// every cuts raw into single bytes.
func every(raw string) [][]byte {
	var out [][]byte
	for i := range len(raw) {
		out = append(out, []byte{raw[i]})
	}
	return out
}

// describe writes down all that a Head says.
func describe(h *http.Head) string {
	var b strings.Builder
	if h.Status > 0 {
		fmt.Fprintf(&b, "%d", h.Status)
	} else {
		fmt.Fprintf(&b, "%s %s %s %s", h.Method(), h.Scheme(), h.Authority(), h.Path())
	}
	fmt.Fprintf(&b, " v=%d len=%d close=%v", h.Version, h.Length, h.Close)
	if h.Protocol != "" {
		fmt.Fprintf(&b, " protocol=%s", h.Protocol)
	}
	if h.Expect {
		b.WriteString(" expect")
	}
	b.WriteString(fields(h))
	return b.String()
}

func fields(h *http.Head) string {
	var b strings.Builder
	for i := range h.Slots() {
		if f, ok := h.At(i); ok {
			fmt.Fprintf(&b, " [%s=%s]", f.Name, f.Value)
		}
	}
	return b.String()
}

// hear serves the pieces and writes down every exchange. Each request is answered
// by 200 without a body.
func hear(o ServerOptions, in [][]byte) (heard []string, wrote string) {
	sc := &script{pieces: in}
	var h, trailers http.Head
	NewServer(conn.New(sc, &buf.Pool{}), o).Serve(func(s http.Stream) {
		defer s.Close()
		if err := s.ReadHead(&h); err != nil {
			heard = append(heard, failure(err))
			refuse(s, err)
			return
		}
		line := describe(&h)
		var body []byte
		var err error
		if !wantsTunnel(&h) {
			body, err = readBody(s)
		}
		if len(body) > 0 {
			line += " body=" + string(body)
		}
		if err == nil {
			err = s.ReadTrailers(&trailers)
			if trailers.Len() > 0 {
				line += " trailers=" + fields(&trailers)
			}
		}
		if err != nil {
			heard = append(heard, line+" "+failure(err))
			refuse(s, err)
			return
		}
		heard = append(heard, line)
		h.Reset()
		h.Status = 200
		_ = s.WriteHead(&h, true)
	})
	return heard, sc.wrote.String()
}

// wantsTunnel reports that the body is a tunnel, which nobody can read before the
// answer.
func wantsTunnel(h *http.Head) bool { return string(h.Method()) == "CONNECT" || h.Protocol != "" }

func failure(err error) string {
	e := http.AsError(err, 0)
	return fmt.Sprintf("error %d %s: %s", e.Status, e.Kind, e.Reason)
}

// asked is the request whose answer a client script hears.
func hearAnswer(request *http.Head, in [][]byte) (heard []string, reusable bool) {
	sc := &script{pieces: in}
	bufs := &buf.Pool{}
	p := NewPool(PoolOptions{Dial: func(int64) (*conn.Conn, error) { return conn.New(sc, bufs), nil }})
	s, err := p.Open(0)
	if err != nil {
		return []string{err.Error()}, false
	}
	defer func() {
		s.Close()
		reusable = p.Stats().Idle == 1
	}()
	if err := s.WriteHead(request, request.Length == 0); err != nil {
		return []string{failure(err)}, false
	}
	var h http.Head
	for {
		if err := s.ReadHead(&h); err != nil {
			return append(heard, failure(err)), false
		}
		line := describe(&h)
		if h.Status < 200 && h.Status != 101 {
			heard = append(heard, line)
			continue
		}
		body, err := readBody(s)
		if len(body) > 0 {
			line += " body=" + string(body)
		}
		if err != nil {
			return append(heard, line+" "+failure(err)), false
		}
		if err := s.ReadTrailers(&h); err != nil {
			return append(heard, line+" "+failure(err)), false
		}
		if h.Len() > 0 {
			line += " trailers=" + fields(&h)
		}
		return append(heard, line), false
	}
}

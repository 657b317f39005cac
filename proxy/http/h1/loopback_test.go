package h1

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// pair returns the two ends of a loopback connection.
func pair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// serve runs a Server on one end of a connection and returns the other, and a
// channel that is closed when the Server has returned.
func serve(t testing.TB, o ServerOptions, handle func(http.Stream)) (net.Conn, *Server, chan struct{}) {
	t.Helper()
	client, nc := pair(t)
	s := NewServer(conn.New(nc, &buf.Pool{}), o)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(handle)
	}()
	t.Cleanup(func() { client.Close(); <-done })
	return client, s, done
}

// poolTo returns a pool whose connections are served by handle.
func poolTo(t testing.TB, o PoolOptions, handle func(http.Stream)) *Pool {
	t.Helper()
	bufs := &buf.Pool{}
	o.Dial = func(int64) (*conn.Conn, error) {
		client, _, _ := serve(t, ServerOptions{Scheme: "http", AcceptHTTP10: true}, handle)
		return conn.New(client, bufs), nil
	}
	return NewPool(o)
}

// echo answers every request with its body.
func echo(s http.Stream) {
	defer s.Close()
	var h http.Head
	if err := s.ReadHead(&h); err != nil {
		refuse(s, err)
		return
	}
	length := h.Length
	h.Reset()
	h.Status, h.Length = 200, length
	h.AddString("x-echo", "yes")
	if s.WriteHead(&h, length == 0) != nil || length == 0 {
		return
	}
	for {
		p, err := s.ReadData()
		if err == io.EOF {
			break
		}
		if err != nil {
			s.Abort(err)
			return
		}
		if s.WriteData(p, false) != nil {
			return
		}
	}
	var trailers http.Head
	if s.ReadTrailers(&trailers) == nil {
		_ = s.WriteTrailers(&trailers)
	}
}

// refuse answers a request that cannot be read.
func refuse(s http.Stream, err error) {
	e := http.AsError(err, http.Downstream)
	if e.Status == 0 {
		return
	}
	var h http.Head
	h.Status = e.Status
	_ = s.WriteHead(&h, true)
}

func newRequest(method, path string, length int64) *http.Head {
	h := &http.Head{Length: length}
	h.SetMethodString(method)
	h.SetSchemeString("http")
	h.SetAuthorityString("example.com")
	h.SetPathString(path)
	return h
}

func readBody(s http.Stream) ([]byte, error) {
	var b []byte
	for {
		p, err := s.ReadData()
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
		b = append(b, p...)
	}
}

func TestBodiesComeBackAsTheyWereSent(t *testing.T) {
	big := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	for _, tt := range []struct {
		name    string
		chunked bool
		body    []byte
	}{
		{"none", false, nil},
		{"small", false, []byte("hello")},
		{"small chunked", true, []byte("hello")},
		{"big", false, big},
		{"big chunked", true, big},
		{"empty chunked", true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := poolTo(t, PoolOptions{}, echo)
			for range 3 {
				s, err := p.Open(0)
				if err != nil {
					t.Fatal(err)
				}
				length := int64(len(tt.body))
				if tt.chunked {
					length = -1
				}
				write := func() error {
					if err := s.WriteHead(newRequest("POST", "/", length), length == 0); err != nil || length == 0 {
						return err
					}
					return s.WriteData(tt.body, true)
				}
				wrote := make(chan error, 1)
				if len(tt.body) < 1000 {
					wrote <- write()
				} else {
					go func() { wrote <- write() }()
				}
				var h http.Head
				if err := s.ReadHead(&h); err != nil {
					t.Fatal(err)
				}
				got, err := readBody(s)
				if err != nil || !bytes.Equal(got, tt.body) || h.Status != 200 {
					t.Fatalf("got %d, %d bytes, %v", h.Status, len(got), err)
				}
				if err := <-wrote; err != nil {
					t.Fatal(err)
				}
				s.Close()
			}
			// The echo begins before it knows how long a chunked request is:
			// it announces the end of the connection.
			if got := p.Stats(); len(tt.body) < 1000 && !tt.chunked && (got.Open != 1 || got.Idle != 1) {
				t.Errorf("the connection was not reused: %+v", got)
			}
		})
	}
}

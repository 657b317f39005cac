package h2

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// serve runs a server on a port of the kernel's choice and returns its address.
func serve(t testing.TB, o ServerOptions, handle func(http.Stream)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var bufs buf.Pool
	var all sync.WaitGroup
	var mu sync.Mutex
	var servers []*Server
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			v := NewServer(conn.New(nc, &bufs), o)
			mu.Lock()
			servers = append(servers, v)
			mu.Unlock()
			all.Go(func() { _ = v.Serve(handle) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, v := range servers {
			v.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

// transport returns a Transport to addr.
func transport(t testing.TB, addr string, o TransportOptions) *Transport {
	t.Helper()
	var bufs buf.Pool
	o.Dial = func(int64) (*conn.Conn, error) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		return conn.New(nc, &bufs), nil
	}
	tr := NewTransport(o)
	t.Cleanup(tr.Drain)
	return tr
}

func open(t testing.TB, tr *Transport) *stream {
	t.Helper()
	st, err := tr.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	return st.(*stream)
}

func request(method, path string, fields ...string) *http.Head {
	h := new(http.Head)
	h.SetMethodString(method)
	h.SetSchemeString("http")
	h.SetAuthorityString("example.test")
	h.SetPathString(path)
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
	return h
}

func response(status int, fields ...string) *http.Head {
	h := &http.Head{Status: status}
	for i := 0; i < len(fields); i += 2 {
		h.AddString(fields[i], fields[i+1])
	}
	return h
}

// body reads all data.
func body(st http.Stream) ([]byte, error) {
	var b bytes.Buffer
	for {
		p, err := st.ReadData()
		if errors.Is(err, io.EOF) {
			return b.Bytes(), nil
		}
		if err != nil {
			return b.Bytes(), err
		}
		b.Write(p)
	}
}

// echo answers with the request's body and trailers.
func echo(st http.Stream) {
	defer st.Close()
	var h http.Head
	if st.ReadHead(&h) != nil {
		return
	}
	r := response(200, "x-path", string(h.Path()), "x-method", string(h.Method()))
	if c, ok := h.GetNamed(http.Cookie); ok {
		r.Add([]byte("x-cookie"), c)
	}
	r.Length = -1
	if st.WriteHead(r, false) != nil || st.Flush() != nil {
		return
	}
	for {
		p, err := st.ReadData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || st.WriteData(p, false) != nil || st.Flush() != nil {
			return
		}
	}
	if st.ReadTrailers(&h) == nil {
		_ = st.WriteTrailers(&h)
	}
}

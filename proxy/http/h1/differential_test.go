package h1

import (
	"bufio"
	"bytes"
	"io"
	nethttp "net/http"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

func hosts(s *testing.F) {
	for _, tt := range refused {
		if len(tt.raw) < 2000 {
			s.Add([]byte(tt.raw))
		}
	}
	for _, tt := range accepted {
		s.Add([]byte(tt.raw))
	}
}

// FuzzRequestHead checks that whatever Leno accepts means the same to net/http,
// and that it means the same once Leno has written it anew.
func FuzzRequestHead(f *testing.F) {
	hosts(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		checkRequest(t, raw)
	})
}

func TestNetHTTPReadsRequestsTheSameWay(t *testing.T) {
	for _, tt := range accepted {
		t.Run(tt.name, func(t *testing.T) { checkRequest(t, []byte(tt.raw)) })
	}
	for _, tt := range refused {
		checkRequest(t, []byte(tt.raw))
	}
}

// first is the first exchange that a server heard.
type first struct {
	head, trailers http.Head
	body           []byte
	err            error
}

func hearFirst(raw []byte) (x first) {
	seen := false
	sc := &script{pieces: [][]byte{bytes.Clone(raw)}}
	NewServer(conn.New(sc, &buf.Pool{}), plain).Serve(func(s http.Stream) {
		if seen {
			return
		}
		seen = true
		if x.err = s.ReadHead(&x.head); x.err != nil || wantsTunnel(&x.head) {
			return
		}
		if x.body, x.err = readBody(s); x.err == nil {
			x.err = s.ReadTrailers(&x.trailers)
		}
	})
	if !seen {
		x.err = io.EOF
	}
	return x
}

func checkRequest(t *testing.T, raw []byte) {
	x := hearFirst(raw)
	if x.err != nil {
		return
	}
	h := &x.head
	if string(h.Method()) == "CONNECT" {
		return // net/http does not read a tunnel
	}
	compareRequest(t, raw, h, x.body)
	again, ok := rewrite(t, h, x.body)
	if !ok {
		return
	}
	compareRequest(t, again, h, x.body)
	y := hearFirst(again)
	if y.err != nil {
		t.Fatalf("%q was accepted, then written as %q and refused: %v", raw, again, y.err)
	}
	if !bytes.Equal(y.body, x.body) || !bytes.Equal(y.head.Path(), h.Path()) || !bytes.Equal(y.head.Authority(), h.Authority()) {
		t.Fatalf("%q became %q", raw, again)
	}
	if _, ok := h.Get(keyName); !ok {
		y.head.Del(keyName) // made up for the endpoint
	}
	if got, want := fields(&y.head), fields(h); got != want {
		t.Fatalf("fields %q became %q", want, got)
	}
}

// rewrite returns what a pool sends for the request.
func rewrite(t *testing.T, h *http.Head, body []byte) ([]byte, bool) {
	sc := &script{}
	p := NewPool(PoolOptions{Dial: func(int64) (*conn.Conn, error) { return conn.New(sc, &buf.Pool{}), nil }})
	s, _ := p.Open(0)
	defer s.Close()
	none := h.Length == 0
	if err := s.WriteHead(h, none); err != nil {
		if len(h.Authority()) == 0 {
			return nil, false
		}
		t.Fatalf("a head that was read cannot be written: %v", err)
	}
	if !none {
		if err := s.WriteData(body, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(sc.wrote.Bytes()), len(h.Authority()) > 0
}

func compareRequest(t *testing.T, raw []byte, h *http.Head, body []byte) {
	t.Helper()
	r, err := nethttp.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\r\n")))))
	if err != nil {
		if strings.Contains(err.Error(), "invalid URL escape") || strings.Contains(err.Error(), "parse ") {
			return // net/url is stricter than RFC 3986's grammar in paths; no other reading
		}
		t.Fatalf("net/http refuses %q: %v", raw, err)
	}
	theirs, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatalf("net/http cannot read the body of %q: %v", raw, err)
	}
	if r.Method != string(h.Method()) || !bytes.Equal(theirs, body) || !strings.EqualFold(r.Host, string(h.Authority())) {
		t.Fatalf("%q is %s %s %q to net/http, %s %s %q to Leno", raw, r.Method, r.Host, theirs, h.Method(), h.Authority(), body)
	}
	if r.ProtoMinor != int(h.Version) && h.Version == 0 && r.ProtoMinor != 1 {
		t.Fatalf("%q has another version", raw)
	}
	want := h.Length
	if got := r.ContentLength; got != want {
		t.Fatalf("%q has length %d to net/http, %d to Leno", raw, got, want)
	}
	if strings.HasPrefix(r.RequestURI, "/") && r.RequestURI != string(h.Path()) {
		t.Fatalf("%q has target %q to net/http, %q to Leno", raw, r.RequestURI, h.Path())
	}
	for i := range h.Slots() {
		f, ok := h.At(i)
		if !ok || f.ID == http.TE {
			continue
		}
		found := false
		for _, v := range r.Header.Values(string(f.Name)) {
			found = found || v == string(f.Value)
		}
		if !found && f.ID != http.Trailer {
			t.Fatalf("%q has no field %s=%q to net/http: %q", raw, f.Name, f.Value, r.Header)
		}
	}
}

// FuzzResponseHead is FuzzRequestHead for responses.
func FuzzResponseHead(f *testing.F) {
	for _, tt := range answers {
		f.Add(tt.method, []byte(tt.raw))
	}
	f.Fuzz(checkResponse)
}

func TestNetHTTPReadsResponsesTheSameWay(t *testing.T) {
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) { checkResponse(t, tt.method, []byte(tt.raw)) })
	}
}

func checkResponse(t *testing.T, method string, raw []byte) {
	if method != "GET" && method != "HEAD" {
		method = "GET"
	}
	sc := &script{pieces: [][]byte{bytes.Clone(raw)}}
	p := NewPool(PoolOptions{Dial: func(int64) (*conn.Conn, error) { return conn.New(sc, &buf.Pool{}), nil }})
	s, _ := p.Open(0)
	defer s.Close()
	if err := s.WriteHead(newRequest(method, "/", 0), true); err != nil {
		t.Fatal(err)
	}
	br := bufio.NewReader(bytes.NewReader(raw))
	var h http.Head
	for {
		if s.ReadHead(&h) != nil {
			return
		}
		if h.Status == 204 && h.Close {
			return // it declares a body that it cannot have; Leno reads no further
		}
		r, err := nethttp.ReadResponse(br, &nethttp.Request{Method: method})
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", raw, err)
		}
		if r.StatusCode != h.Status || r.ProtoMinor != int(h.Version) {
			t.Fatalf("%q is %d to net/http, %d to Leno", raw, r.StatusCode, h.Status)
		}
		if h.Status < 200 && h.Status != 101 {
			if h.Close {
				return
			}
			continue
		}
		body, err := readBody(s)
		if err != nil {
			return
		}
		theirs, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(body, theirs) {
			t.Fatalf("%q has body %q to net/http (%v), %q to Leno", raw, theirs, err, body)
		}
		return
	}
}

// FuzzChunked checks that a chunked body is what net/http makes of it, however it
// is cut, and that written anew it comes back.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\n"), uint8(3))
	f.Add([]byte("5;a=b\r\nhello\r\n000\r\nA: b\r\n\r\n"), uint8(7))
	f.Add([]byte("5\nhello\r\n0\r\n\r\n"), uint8(1))
	f.Add([]byte("ffffffffffffffff\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, raw []byte, step uint8) {
		message := post + chunked + string(raw)
		x := hearFirst([]byte(message))
		cutAt := int(step)%16 + 1
		var in [][]byte
		for rest := []byte(message); len(rest) > 0; {
			n := min(cutAt, len(rest))
			in = append(in, bytes.Clone(rest[:n]))
			rest = rest[n:]
		}
		heard, _ := hear(plain, in)
		if refused := strings.Contains(heard[0], " error "); refused != (x.err != nil) {
			t.Fatalf("%q cut every %d bytes: %q, at once %v", raw, cutAt, heard, x.err)
		}
		if x.err != nil {
			return
		}
		checkRequest(t, []byte(message))
	})
}

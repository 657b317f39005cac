// Package admin serves a proxy's own HTTP pages, at the paths that Envoy's
// admin interface has. It listens where it is told to and nowhere else; what
// changes the proxy takes POST.
package admin

import (
	"bytes"
	"errors"
	"net"
	"net/url"
	"sort"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h1"
)

// Page answers one path. A page with Change set answers POST only.
type Page struct {
	Change bool
	About  string // one line for the index
	Serve  func(query url.Values, accept string) Answer
}

// Answer is what a page says.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
}

// Text returns a plain answer.
func Text(status int, body string) Answer {
	return Answer{Status: status, ContentType: "text/plain; charset=utf-8", Body: []byte(body)}
}

// JSON returns an answer of encoded JSON.
func JSON(body []byte) Answer {
	return Answer{Status: 200, ContentType: "application/json", Body: body}
}

// Server serves pages by path.
type Server struct {
	pages map[string]Page
	bufs  buf.Pool
	limit chan struct{} // connections at once
}

// maxConnections bounds what an admin client can make the proxy hold.
const maxConnections = 32

// New returns a server of these pages; "/" lists them.
func New(pages map[string]Page) *Server {
	return &Server{pages: pages, limit: make(chan struct{}, maxConnections)}
}

// Serve answers on ln until it is closed.
func (s *Server) Serve(ln net.Listener) error {
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case s.limit <- struct{}{}:
		default:
			nc.Close()
			continue
		}
		go func() {
			defer func() { <-s.limit }()
			h1.NewServer(conn.New(nc, &s.bufs), h1.ServerOptions{Scheme: "http", AcceptHTTP10: true}).Serve(s.handle)
		}()
	}
}

func (s *Server) handle(down http.Stream) {
	defer down.Close()
	var req http.Head
	if err := down.ReadHead(&req); err != nil {
		if f := http.AsError(err, http.Downstream); f.Status != 0 {
			write(down, false, Text(f.Status, f.Reason+"\n"))
		}
		return
	}
	write(down, string(req.Method()) == "HEAD", s.answer(&req))
}

func (s *Server) answer(req *http.Head) Answer {
	path := string(req.PathOnly())
	var query url.Values
	if raw := req.Path()[len(path):]; len(raw) > 1 {
		var err error
		if query, err = url.ParseQuery(string(raw[1:])); err != nil {
			return Text(400, "the query cannot be read: "+err.Error()+"\n")
		}
	}
	if path == "/" {
		return s.index()
	}
	p, ok := s.pages[path]
	if !ok {
		return Text(404, "there is no page "+path+"; / lists those there are\n")
	}
	switch m := string(req.Method()); {
	case p.Change && m != "POST":
		return Text(405, path+" changes the proxy: use POST\n")
	case !p.Change && m != "GET" && m != "HEAD":
		return Text(405, path+" only reads: use GET\n")
	}
	accept, _ := req.GetNamed(http.Accept)
	return p.Serve(query, string(accept))
}

func (s *Server) index() Answer {
	paths := make([]string, 0, len(s.pages))
	for p := range s.pages {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	var b bytes.Buffer
	for _, p := range paths {
		method := "GET "
		if s.pages[p].Change {
			method = "POST"
		}
		b.WriteString(method + " " + p + "\t" + s.pages[p].About + "\n")
	}
	return Text(200, b.String())
}

func write(down http.Stream, head bool, a Answer) {
	var h http.Head
	h.Status, h.Length = a.Status, int64(len(a.Body))
	h.AddString("content-type", a.ContentType)
	h.AddString("cache-control", "no-store")
	h.AddString("x-content-type-options", "nosniff")
	end := head || len(a.Body) == 0
	if down.WriteHead(&h, end) == nil && !end {
		_ = down.WriteData(a.Body, true)
	}
}

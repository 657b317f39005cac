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
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/clock"
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

	mu   sync.Mutex
	open map[*h1.Server]struct{}
}

// maxConnections bounds what an admin client can make the proxy hold.
const maxConnections = 32

// New returns a server of these pages; "/" lists them.
func New(pages map[string]Page) *Server {
	return &Server{pages: pages, limit: make(chan struct{}, maxConnections), open: map[*h1.Server]struct{}{}}
}

// limits keep a client that stalls from holding its connection for ever.
func limits() http.Limits {
	return http.Limits{HeadTimeout: 5 * time.Second, IdleTimeout: time.Minute, StreamIdleTimeout: 30 * time.Second}
}

// Serve answers on ln until it is closed, and then ends what is open.
func (s *Server) Serve(ln net.Listener) error {
	ended := make(chan struct{})
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		s.sweep(ended)
	}()
	defer func() { close(ended); <-swept }()
	for {
		nc, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			time.Sleep(acceptPause) // out of descriptors, most likely: looking at the proxy must outlive that
			continue
		}
		select {
		case s.limit <- struct{}{}:
		default:
			nc.Close()
			continue
		}
		go func() {
			defer func() { <-s.limit }()
			s.serve(nc)
		}()
	}
}

const (
	acceptPause = 100 * time.Millisecond
	sweepEvery  = 250 * time.Millisecond
)

func (s *Server) serve(nc net.Conn) {
	defer nc.Close()
	h := h1.NewServer(conn.New(nc, &s.bufs), h1.ServerOptions{Limits: limits(), Scheme: "http", AcceptHTTP10: true})
	s.mu.Lock()
	s.open[h] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.open, h)
		s.mu.Unlock()
	}()
	h.Serve(s.handle)
}

// sweep ends connections that are overdue, and all once ended is closed.
func (s *Server) sweep(ended <-chan struct{}) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		over := false
		select {
		case <-tick.C:
		case <-ended:
			over = true
		}
		s.mu.Lock()
		for h := range s.open {
			if over {
				h.CloseIdle()
			} else {
				h.Sweep(clock.Now())
			}
		}
		s.mu.Unlock()
		if over {
			return
		}
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
	if _, foreign := req.Get("origin"); foreign && p.Change {
		return Text(403, "a page of a browser must not change the proxy\n")
	}
	switch m := string(req.Method()); {
	case p.Change && m != "POST":
		return Text(405, path+" changes the proxy: use POST\n")
	case !p.Change && m != "GET" && m != "HEAD":
		return Text(405, path+" only reads: use GET\n")
	}
	accept, _ := req.GetNamed(http.Accept)
	return serve(p, query, string(accept))
}

// serve answers with the page; a page with a defect must not end the proxy.
func serve(p Page, query url.Values, accept string) (a Answer) {
	defer func() {
		if recover() != nil {
			a = Text(500, "this page has a defect\n")
		}
	}()
	return p.Serve(query, accept)
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

package h2

import (
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// ServerOptions is what a Server needs besides its connection.
type ServerOptions struct {
	Limits http.Limits
	// Memory is shared by all sessions of the process; nil makes one.
	Memory *Memory
}

// Server serves one client's connection.
type Server struct{ s *session }

// NewServer makes a Server of a connection on which nothing was written and the
// preface not read. It owns c.
func NewServer(c *conn.Conn, o ServerOptions) *Server {
	return &Server{newSession(c, o.Memory, o.Limits, http.Downstream)}
}

// Serve reads the connection until it ends and runs handle for each stream on a
// goroutine of its own; handle must close its stream. Serve returns after the
// last stream was closed, with nil if the connection ended in good order.
func (v *Server) Serve(handle func(http.Stream)) error {
	v.s.handle = handle
	v.s.greet()
	return v.s.run()
}

// Drain tells the client to open no more streams (GOAWAY, twice with a round trip
// between), lets the streams there are finish, and closes.
func (v *Server) Drain() {
	v.s.w.mu.Lock()
	defer v.s.w.mu.Unlock()
	v.s.drain()
}

// Sweep ends what is overdue at now (clock.Now): heads, streams without progress,
// idle connections, peers that do not read. It is to be called about every 100 ms,
// from any goroutine.
func (v *Server) Sweep(now int64) { v.s.sweep(now) }

// Close ends the connection at once; streams fail.
func (v *Server) Close() { _ = v.s.c.Close() }

// Streams returns how many streams are open.
func (v *Server) Streams() int {
	v.s.w.mu.Lock()
	defer v.s.w.mu.Unlock()
	return v.s.open
}

// Linker is what the streams of a Server are besides http.Stream.
type Linker interface{ Link(other http.Stream) }

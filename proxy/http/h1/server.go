// Package h1 is HTTP/1.0 and HTTP/1.1 on both sides of an exchange: a Server
// reads the requests of one accepted connection, a Pool keeps the connections to
// one endpoint. Both read strictly by RFC 9112, so that a message has one reading
// or none, and never pass on framing: what goes out is serialised anew.
package h1

import (
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// ServerOptions is the configuration of the connections of one listener. It must
// not change while a Server uses it.
type ServerOptions struct {
	Limits http.Limits // zero values mean the defaults
	// Scheme is the scheme of every request, "http" or "https".
	Scheme string
	// AcceptHTTP10 lets HTTP/1.0 requests in; they are answered 505 otherwise.
	AcceptHTTP10 bool
	// Draining reports that connections are to end with their next response;
	// nil means never.
	Draining func() bool
}

// Server is the server side of one connection.
type Server struct {
	x        serverStream
	options  ServerOptions
	patience patience
}

// serverStream is the exchange at hand; requests come one after the other.
type serverStream struct {
	link
	options *ServerOptions

	version   uint8
	expecting atomic.Bool // the client waits for 100 Continue
	headRead  bool        // a request head was read, or refused
	refused   bool
	answered  bool         // a final response has begun
	close     bool         // nothing follows the response
	large     bool         // the request's body is of more than drain reads, or of unknown length
	taken     atomic.Bool  // that body was read to its end
	key       [keyLen]byte // of a WebSocket request
	keyed     bool
	tunnel    bool

	// Requests before the next yield, and how many there are after one in vain.
	unyielding, pause int
}

// NewServer makes the server side of c, which it owns.
func NewServer(c *conn.Conn, o ServerOptions) *Server {
	o.Limits = o.Limits.WithDefaults()
	s := &Server{options: o}
	s.patience = patience{
		head:     ns(o.Limits.HeadTimeout),
		idle:     ns(o.Limits.IdleTimeout),
		exchange: ns(o.Limits.StreamIdleTimeout),
	}
	s.x.link = link{c: c, side: http.Downstream, limits: &s.options.Limits}
	s.x.options = &s.options
	return s
}

// Serve runs handle for each request in turn, on the caller's goroutine, until
// the connection ends; then it closes it. handle reads the request from the
// stream, answers, and calls Close. When it returns nothing else may use the
// stream.
func (s *Server) Serve(handle func(http.Stream)) {
	x := &s.x
	for first := true; x.awaitRequest(first); first = false {
		x.begin()
		handle(x)
		if !x.finish() {
			break
		}
	}
	_ = x.c.Close()
	x.release()
}

// Sweep ends the connection if it has waited for too long: for a request head,
// for a next request, or for bytes of an exchange to move. One sweeper calls it
// every now and then with the same clock; it costs two atomic reads.
func (s *Server) Sweep(now int64) {
	if s.x.pulse.overdue(now, &s.patience) {
		s.x.c.Expire()
	}
}

// CloseIdle ends the connection if no exchange is under way, and reports whether
// it did.
func (s *Server) CloseIdle() bool {
	if !s.x.pulse.retire() {
		return false
	}
	s.x.c.Expire()
	return true
}

// Conn returns the connection, for what is known of it and to close it.
func (s *Server) Conn() *conn.Conn { return s.x.c }

// awaitRequest blocks until the first byte of a request is there. One empty line
// before it is skipped (RFC 9112, section 2.2).
func (x *serverStream) awaitRequest(first bool) bool {
	skipped, yielded := false, false
	for {
		b := x.c.Buffered()
		switch {
		case len(b) == 0:
			if !first {
				if !x.pulse.enter(phaseIdle) {
					return false
				}
				yielded = x.yield()
			}
		case b[0] == '\r' && !skipped && len(b) == 1:
		case b[0] == '\r' && !skipped && b[1] == '\n':
			skipped = true
			x.c.Consume(2)
			continue
		default:
			return first || x.pulse.enter(phaseHead)
		}
		if err := x.c.Fill(); err != nil {
			return false
		}
		if yielded {
			x.yielded(!x.c.Waited())
		}
		if !first && !x.pulse.enter(phaseHead) {
			return false
		}
	}
}

// yield lets others run before the next request is looked for: on a busy proxy it
// arrives meanwhile, which saves a failing read and a park for most requests.
// Each try can wake another thread, so those in vain make it rarer.
func (x *serverStream) yield() bool {
	if x.unyielding > 0 {
		x.unyielding--
		return false
	}
	runtime.Gosched()
	return true
}

func (x *serverStream) yielded(helped bool) {
	if helped {
		x.pause = 0
		return
	}
	x.pause = min(2*x.pause+1, maxYieldPause)
	x.unyielding = x.pause
}

// maxYieldPause is how many requests pass without a yield where none helps.
const maxYieldPause = 15

// begin makes the stream ready for the next request.
func (x *serverStream) begin() {
	x.start()
	x.version = 1
	unset(&x.expecting)
	unset(&x.taken)
	x.headRead, x.refused, x.answered, x.close, x.tunnel, x.keyed, x.large = false, false, false, false, false, false, false
}

// ReadHead implements http.Stream.
func (x *serverStream) ReadHead(h *http.Head) error {
	if x.headRead {
		return x.misuse(wrongOrder)
	}
	x.headRead, x.refused = true, true
	n, err := x.awaitHead()
	if err != nil {
		return x.late(err)
	}
	if !x.pulse.enter(phaseExchange) {
		return x.late(x.broken(os.ErrDeadlineExceeded))
	}
	bad := parseRequest(x.c.Buffered()[:n], h, &x.framing, x.options)
	x.c.Consume(n)
	x.version = h.Version
	if bad != nil {
		return x.refuse(bad)
	}
	x.refused = false
	unset(&x.reading)
	method := h.Method()
	x.asked = request{head: string(method) == "HEAD", connect: string(method) == "CONNECT", protocol: h.Protocol}
	if h.Protocol == "websocket" {
		key, _ := h.Get(keyName)
		x.keyed = len(key) == keyLen && copy(x.key[:], key) == keyLen
	}
	x.close = h.Close || x.asked.connect || h.Protocol != ""
	x.expecting.Store(h.Expect)
	x.large = !x.tunnels() && (h.Length < 0 || h.Length > maxDrain)
	switch {
	case h.Length > 0:
		x.in.start(modeLength, h.Length)
	case h.Length < 0:
		x.in.start(modeChunked, 0)
	}
	return nil
}

// late turns the end of a head's time into an answer that the client still gets.
func (x *serverStream) late(err error) error {
	if e, ok := err.(*http.Error); ok && e.Kind == http.KindTimeout && x.cause.Load() == nil {
		e.Status, e.Reason = 408, "the request head did not arrive in time"
		x.c.SetDeadline(time.Now().Add(lingerTime))
	}
	return err
}

// ReadData implements http.Stream.
func (x *serverStream) ReadData() ([]byte, error) {
	if x.tunnels() {
		if err := x.awaitDecision(); err != nil {
			return nil, err
		}
	}
	if x.expecting.Load() && len(x.c.Buffered()) == 0 {
		if err := x.proceed(); err != nil {
			return nil, err
		}
	}
	data, err := x.link.ReadData()
	if x.large && x.in.complete() {
		x.taken.Store(true)
	}
	return data, err
}

// proceed asks for the body of a client that waits for 100 Continue.
func (x *serverStream) proceed() error {
	x.mu.Lock()
	if !x.expecting.Load() || x.answered {
		x.mu.Unlock()
		return nil
	}
	unset(&x.expecting)
	err := x.putRaw(continueHead)
	if err == nil {
		err = x.flushLocked()
	}
	x.mu.Unlock()
	if err != nil {
		return x.broken(err)
	}
	return nil
}

// continueHead is never written.
var continueHead = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// WriteHead implements http.Stream.
func (x *serverStream) WriteHead(h *http.Head, end bool) error {
	if !fits(h) {
		return x.misuse(wrongSize)
	}
	x.mu.Lock()
	if x.begun || x.ended {
		x.mu.Unlock()
		return x.misuse(wrongOrder)
	}
	if h.Status >= 100 && h.Status < 200 && h.Status != 101 {
		return x.unlock(x.interim(h))
	}
	a, bad := x.answer(h, end)
	if bad != nil {
		x.mu.Unlock()
		return x.misuse(bad)
	}
	if err := x.putResponse(h, a); err != nil {
		return x.unlock(err)
	}
	x.begun, x.answered, x.close = true, true, a.close
	unset(&x.expecting)
	x.out, x.left = a.framing, h.Length
	x.ended = end && a.framing != modeTunnel
	if a.framing == modeTunnel {
		x.tunnel = true
		x.in.start(modeTunnel, 0)
		if x.asked.connect {
			x.pulse.enter(phaseTunnel)
		}
	}
	x.decide()
	if x.tunnel {
		return x.unlock(x.flushLocked())
	}
	return x.unlock(nil)
}

// answer decides the framing of a final response (RFC 9112, section 6.3). One
// that comes before the end of a large request says that it is the last: the
// rest may never be read, and then nobody may count on the connection.
func (x *serverStream) answer(h *http.Head, end bool) (answer, *fault) {
	early := x.large && !x.taken.Load()
	a := answer{close: x.close || x.refused || early || x.spoiled.Load() || x.expecting.Load() || x.options.Draining != nil && x.options.Draining()}
	switch {
	case h.Status == 101:
		if x.asked.protocol == "" || h.Protocol != x.asked.protocol {
			return a, wrongUpgrade
		}
		a.framing = modeTunnel
		if x.keyed {
			a.key = x.key[:]
		}
	case x.asked.connect && h.Status >= 200 && h.Status < 300:
		a.framing = modeTunnel
	case x.asked.head, h.Status == 304:
		a.bodyless = true
	case h.Status == 204:
	case end && h.Length > 0:
		return a, wrongLength
	case end, h.Length >= 0:
		a.framing = modeLength
	case x.version > 0:
		a.framing = modeChunked
	default:
		a.framing, a.close = modeClose, true
	}
	a.close = a.close || a.framing == modeTunnel
	a.keepAlive = x.version == 0 && !a.close
	return a, nil
}

// interim sends a 1xx head at once; an HTTP/1.0 client does not know them.
func (x *serverStream) interim(h *http.Head) error {
	if x.version == 0 || x.refused {
		return nil
	}
	if h.Status == 100 {
		unset(&x.expecting)
	}
	if err := x.putResponse(h, answer{}); err != nil {
		return err
	}
	return x.flushLocked()
}

func (x *serverStream) putResponse(h *http.Head, a answer) error {
	b, err := x.room(h.Size() + len(h.Protocol) + headRoom)
	if err != nil {
		return err
	}
	p, bad := appendResponse(b.Free()[:0], h, a)
	if bad != nil {
		return x.misuse(bad)
	}
	b.Extend(len(p))
	return nil
}

// Close implements http.Stream. Serve does the rest when its handler returns.
func (x *serverStream) Close() {}

// finish ends an exchange and reports whether another request may follow.
func (x *serverStream) finish() bool {
	switch {
	case x.cause.Load() != nil && (!x.ended || x.failed || x.tunnel):
		return false
	case x.cause.Load() != nil && (x.close || x.spoiled.Load()):
		x.linger()
		return false
	case !x.ended || x.failed:
		if x.begun || x.headRead && !x.refused {
			_ = x.c.Reset()
		}
		return false
	case x.tunnel:
		if !x.in.complete() {
			_ = x.c.Reset()
		}
		return false
	}
	if x.in.block > 0 {
		x.dropTrailers()
	}
	if x.close || x.spoiled.Load() {
		if x.refused || x.spoiled.Load() || !x.in.complete() || len(x.c.Buffered()) > 0 {
			x.linger()
		} else if x.c.TLS {
			_ = x.c.CloseWrite() // a body that ends with the connection needs close_notify
		}
		return false
	}
	if x.cause.Load() != nil { // the rest of the request was not wanted, but the connection was promised to stay
		x.cause.Store(nil)
		x.c.SetDeadline(time.Time{})
	}
	if x.in.complete() {
		return true
	}
	if !x.drain() {
		x.linger()
		return false
	}
	return true
}

const (
	maxDrain   = 64 << 10
	lingerTime = 2 * time.Second
)

// drain reads a small rest of a request body that nobody wanted, so that the
// connection stays usable.
func (x *serverStream) drain() bool {
	if x.in.mode == modeLength && x.in.left > maxDrain {
		return false
	}
	x.c.SetDeadline(time.Now().Add(lingerTime))
	for n := 0; n < maxDrain; {
		data, err := x.link.ReadData()
		n += len(data)
		if err != nil {
			if x.in.block > 0 {
				x.dropTrailers()
			}
			x.c.SetDeadline(time.Time{})
			return conn.IsEOF(err) && x.in.complete()
		}
	}
	return false
}

// linger ends our side and reads on for a while: closing with bytes unread makes
// the kernel reset the connection, which can destroy the response on its way.
func (x *serverStream) linger() {
	x.c.SetDeadline(time.Now().Add(lingerTime))
	if x.c.CloseWrite() != nil {
		return
	}
	for n := 0; n < maxDrain; {
		n += len(x.c.Buffered())
		x.c.Consume(len(x.c.Buffered()))
		if x.c.Fill() != nil {
			return
		}
	}
}

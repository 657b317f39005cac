package ledger

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"path"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

func (b *Backend) serveHTTP(w http.ResponseWriter, r *http.Request) {
	t, err := b.arrive(path.Base(r.URL.Path))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch {
	case r.Header.Get("Upgrade") == "websocket":
		b.upgrade(w, r, &t)
		return
	case t.Behaviour == Early:
		// It reads the request afterwards, or leaves that to the server.
		_ = http.NewResponseController(w).EnableFullDuplex()
		if t.ID%2 == 1 && r.ProtoMajor == 1 {
			// net/http ends the connection then. Not to say so would be a fault
			// against the next request on it, whose loss nobody could prevent.
			w.Header().Set("connection", "close")
		}
		if b.send(w, r, &t) && t.ID%2 == 0 {
			b.receive(&t, r.Body)
		}
		return
	case !b.receive(&t, r.Body) || b.pause(&t, false, r.Context().Done()) != nil:
		panic(http.ErrAbortHandler)
	}
	own := t.Behaviour == Half || t.Behaviour == Reset || t.Behaviour == Short || t.Behaviour == Long || t.Framing == Close
	if r.ProtoMajor == 1 && own {
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil && b.own(c) {
			defer b.disown(c)
			b.misbehave(c, &t)
		}
		return
	}
	b.send(w, r, &t)
}

// receive reads a request's body, and notes it if it ends in order.
func (b *Backend) receive(t *Request, body io.Reader) bool {
	hash := xxhash.New()
	if _, err := io.Copy(hash, body); err != nil {
		return false
	}
	b.note(t, Received, hash.Sum64())
	return true
}

// send answers by the rules of net/http, as far as the ticket wants it.
func (b *Backend) send(w http.ResponseWriter, r *http.Request, t *Request) bool {
	if t.Behaviour == Reset {
		panic(http.ErrAbortHandler)
	}
	body := b.answer(t)
	if t.Framing == Length || t.Behaviour == Short {
		w.Header().Set("content-length", strconv.Itoa(len(body)))
	}
	control := http.NewResponseController(w)
	half := len(body) / 2
	_, err := w.Write(body[:half])
	if err == nil {
		err = control.Flush()
	}
	if t.Behaviour == Half || err != nil {
		panic(http.ErrAbortHandler)
	}
	if t.Behaviour == Short {
		return true
	}
	if b.pause(t, true, r.Context().Done()) != nil {
		panic(http.ErrAbortHandler)
	}
	_, err = w.Write(body[half:])
	_ = control.Flush()
	return err == nil
}

// misbehave answers in HTTP/1.1 with the framing and the faults that net/http
// would not let through.
func (b *Backend) misbehave(c net.Conn, t *Request) {
	if t.Behaviour == Reset {
		reset(c)
		return
	}
	body := b.answer(t)
	framing := t.Framing
	if framing == Close && (t.Behaviour == Short || t.Behaviour == Long) {
		framing = Length // without one there is nothing to lie about
	}
	first, second := bytes.NewBufferString("HTTP/1.1 200 OK\r\n"), new(bytes.Buffer)
	half := len(body) / 2
	switch framing {
	case Length:
		fmt.Fprintf(first, "content-length: %d\r\n\r\n%s", len(body), body[:half])
		second.Write(body[half:])
	case Chunked:
		fmt.Fprintf(first, "transfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n", half, body[:half])
		fmt.Fprintf(second, "%x\r\n%s\r\n0\r\n\r\n", len(body)-half, body[half:])
	case Close:
		fmt.Fprintf(first, "connection: close\r\n\r\n%s", body[:half])
		second.Write(body[half:])
	}
	switch t.Behaviour {
	case Half:
		_, _ = c.Write(first.Bytes())
		reset(c)
	case Short:
		_, _ = c.Write(first.Bytes())
	case Long:
		// One write, so that a proxy has both answers before it can send
		// another request.
		second.WriteString("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
		_, _ = c.Write(append(first.Bytes(), second.Bytes()...))
		if t.ID%2 == 0 {
			_, _ = io.Copy(io.Discard, c) // and leaves it to the proxy to end the connection
		}
	default:
		if _, err := c.Write(first.Bytes()); err == nil && b.pause(t, true, nil) == nil {
			_, _ = c.Write(second.Bytes())
		}
	}
}

// upgrade serves a WebSocket: it reads messages until one of text, and answers
// with as many as it likes.
func (b *Backend) upgrade(w http.ResponseWriter, r *http.Request, t *Request) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil || !b.own(c) {
		return
	}
	defer b.disown(c)
	if t.Behaviour == Reset && t.ID%2 == 0 {
		reset(c)
		return
	}
	_, _ = fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: %s\r\n\r\n", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
	hash := xxhash.New()
	for {
		opcode, p, err := readFrame(rw.Reader, true)
		if err != nil {
			return
		}
		if opcode == textFrame {
			break
		}
		_, _ = hash.Write(p)
	}
	b.note(t, Received, hash.Sum64())
	if t.Behaviour == Reset {
		reset(c)
		return
	}
	if b.pause(t, false, nil) != nil {
		return
	}
	body := b.answer(t)
	parts := pieces(t.ID, body)
	for i, p := range parts {
		if i == len(parts)/2 {
			if t.Behaviour == Half {
				reset(c)
				return
			}
			if b.pause(t, true, nil) != nil {
				return
			}
		}
		if _, err := c.Write(appendFrame(nil, binaryFrame, p, false)); err != nil {
			return
		}
	}
	_, _ = c.Write(appendFrame(nil, closeFrame, nil, false))
	if opcode, _, err := readFrame(rw.Reader, true); err != nil || opcode != closeFrame {
		return
	}
	_ = c.(*net.TCPConn).CloseWrite()
	_, _ = io.Copy(io.Discard, rw)
}

package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// pool is a client of HTTP/1.1 that repeats nothing, unlike net/http, and takes
// notice of bytes that nobody asked for.
type pool struct {
	mu   sync.Mutex
	idle map[string][]*keptConn // by address, the newest last
}

type keptConn struct {
	*net.TCPConn
	r     *bufio.Reader
	since time.Time
}

// maxIdle is far below the time after which a server may end an idle connection
// while a request is on its way.
const maxIdle = 2 * time.Second

func (p *pool) take(ctx context.Context, address string) (*keptConn, error) {
	p.mu.Lock()
	var c *keptConn
	if list := p.idle[address]; len(list) > 0 {
		c, p.idle[address] = list[len(list)-1], list[:len(list)-1]
	}
	p.mu.Unlock()
	if c != nil && time.Since(c.since) < maxIdle {
		at, _ := ctx.Deadline()
		return c, c.SetDeadline(at)
	}
	if c != nil {
		c.Close()
	}
	fresh, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	return &keptConn{TCPConn: fresh, r: bufio.NewReader(fresh)}, nil
}

func (p *pool) keep(address string, c *keptConn) {
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idle == nil {
		p.idle = map[string][]*keptConn{}
	}
	p.idle[address] = append(p.idle[address], c)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		for _, c := range list {
			c.Close()
		}
	}
	p.idle = nil
}

func (p *pool) send(ctx context.Context, address string, r *Request, body []byte) (uint64, error) {
	c, err := p.take(ctx, address)
	if err != nil {
		return 0, err
	}
	sent := make(chan error, 1)
	go func() { sent <- r.writeHTTP1(c, body) }()
	got, keep, err := readHTTP1(c.r, r.Method)
	select {
	case failed := <-sent:
		keep = keep && failed == nil
	default: // the answer is early, what is left of the request is not wanted
		keep = false
	}
	if err == nil && c.r.Buffered() > 0 {
		err = errors.New("bytes follow the answer")
	}
	if err == nil && keep {
		p.keep(address, c)
		return got, nil
	}
	c.Close()
	return got, err
}

// maxAtOnce is what of a body goes in one write.
const maxAtOnce = 16 << 10

func (r *Request) writeHTTP1(c io.Writer, body []byte) error {
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nhost: %s\r\n", r.Method, r.path(), r.Backend)
	streamed := r.Streamed && len(body) > 0
	switch {
	case streamed:
		head.WriteString("transfer-encoding: chunked\r\n")
	case r.Method != http.MethodGet:
		fmt.Fprintf(&head, "content-length: %d\r\n", len(body))
	}
	b := append([]byte(head.String()), "\r\n"...)
	if streamed {
		for _, p := range pieces(r.ID, body) {
			b = fmt.Appendf(b, "%x\r\n%s\r\n", len(p), p)
		}
		b = append(b, "0\r\n\r\n"...)
	} else {
		b = append(b, body...)
	}
	for len(b) > 0 {
		n, err := c.Write(b[:min(len(b), maxAtOnce)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// readHTTP1 returns the digest of the final answer, and whether another request
// may follow.
func readHTTP1(r *bufio.Reader, method string) (got uint64, keep bool, err error) {
	for {
		a, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return 0, false, err
		}
		if a.StatusCode < 200 && a.StatusCode != http.StatusSwitchingProtocols {
			continue
		}
		got, err := readAnswer(a)
		return got, !a.Close && err == nil, err
	}
}

// sendWebSocket sends the body in messages, ends it by one of text, and reads
// messages until the other end closes.
func sendWebSocket(ctx context.Context, address string, r *Request, body []byte) (uint64, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	const key = "bGVubyBsZWRnZXIgdGVzdA=="
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nhost: %s\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: %s\r\n\r\n", r.path(), r.Backend, key); err != nil {
		return 0, err
	}
	in := bufio.NewReader(c)
	a, err := http.ReadResponse(in, &http.Request{Method: http.MethodGet})
	if err != nil {
		return 0, err
	}
	if a.StatusCode != http.StatusSwitchingProtocols || a.Header.Get("Sec-WebSocket-Accept") != acceptKey(key) {
		defer a.Body.Close()
		if _, err := readAnswer(a); err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("the upgrade is answered %s with %v", a.Status, a.Header)
	}
	sent := make(chan error, 1)
	go func() {
		for _, p := range pieces(r.ID, body) {
			if _, err := c.Write(appendFrame(nil, binaryFrame, p, true)); err != nil {
				sent <- err
				return
			}
		}
		_, err := c.Write(appendFrame(nil, textFrame, []byte("end"), true))
		sent <- err
	}()
	got, err := readMessages(in)
	if err != nil {
		c.Close()
	}
	if failed := <-sent; err == nil {
		err = failed
	}
	if err == nil {
		err = farewell(c, in)
	}
	return digest(got), err
}

func readMessages(in *bufio.Reader) (got []byte, err error) {
	for {
		opcode, p, err := readFrame(in, false)
		if err != nil {
			return nil, err
		}
		if opcode == closeFrame {
			return got, nil
		}
		got = append(got, p...)
	}
}

// farewell answers a close frame and waits for the end of the connection.
func farewell(c *net.TCPConn, in *bufio.Reader) error {
	if _, err := c.Write(appendFrame(nil, closeFrame, nil, true)); err != nil {
		return err
	}
	rest, err := io.ReadAll(in)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes follow the close frame")
	}
	return err
}

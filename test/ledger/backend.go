package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Door is where a backend is asked in one way.
type Door struct {
	Backend string
	Way     Way
}

// World says by HOST:PORT where clients find each door. That of the backends
// themselves is the world without anything between.
type World map[Door]string

// Backend serves all protocols and does with each request what its ticket says.
type Backend struct {
	Name  string
	Ports map[Way]uint16 // on 127.0.0.1

	ledger *Ledger
	http   *http.Server
	grpc   *grpc.Server
	tcp    net.Listener
	ended  context.Context // by Close
	end    context.CancelFunc

	serving sync.WaitGroup
	mu      sync.Mutex
	open    map[net.Conn]bool // those that no server closes
}

// NewBackend serves on ports of loopback until Close.
func NewBackend(name string, l *Ledger) (*Backend, error) {
	b := &Backend{Name: name, Ports: map[Way]uint16{}, ledger: l, open: map[net.Conn]bool{}}
	b.ended, b.end = context.WithCancel(context.Background())
	var lns [3]net.Listener
	for i := range lns {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			for _, ln := range lns[:i] {
				ln.Close()
			}
			return nil, fmt.Errorf("listen for backend %s: %w", name, err)
		}
		lns[i] = ln
	}
	port := func(i int) uint16 { return uint16(lns[i].Addr().(*net.TCPAddr).Port) }
	b.Ports[OverHTTP1], b.Ports[OverHTTP2], b.Ports[OverGRPC], b.Ports[OverTCP] = port(0), port(0), port(1), port(2)
	b.http = &http.Server{Handler: http.HandlerFunc(b.serveHTTP), ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)}
	b.http.Protocols.SetHTTP1(true)
	b.http.Protocols.SetUnencryptedHTTP2(true)
	b.grpc = b.newGRPC()
	b.tcp = lns[2]
	b.serving.Go(func() { _ = b.http.Serve(lns[0]) })
	b.serving.Go(func() { _ = b.grpc.Serve(lns[1]) })
	b.serving.Go(b.acceptTCP)
	return b, nil
}

// Direct is the world of the backends themselves.
func Direct(backends ...*Backend) World {
	w := World{}
	for _, b := range backends {
		for way, port := range b.Ports {
			w[Door{b.Name, way}] = fmt.Sprintf("127.0.0.1:%d", port)
		}
	}
	return w
}

// Close ends the backend and returns when nothing of it is left.
func (b *Backend) Close() {
	b.end()
	b.http.Close()
	b.grpc.Stop()
	b.tcp.Close()
	b.mu.Lock()
	for c := range b.open {
		c.Close()
	}
	b.open = nil
	b.mu.Unlock()
	b.serving.Wait()
}

// own makes c one that Close closes; false if Close was called.
func (b *Backend) own(c net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open == nil {
		c.Close()
		return false
	}
	b.open[c] = true
	b.serving.Add(1)
	return true
}

func (b *Backend) disown(c net.Conn) {
	c.Close()
	b.mu.Lock()
	delete(b.open, c)
	b.mu.Unlock()
	b.serving.Done()
}

func (b *Backend) note(t *Request, e Event, digest uint64) {
	b.ledger.Append(Entry{ID: t.ID, Event: e, By: b.Name, Digest: digest})
}

// arrive notes the head of a request; a ticket that cannot be read counts as
// the request 0, which nobody sent.
func (b *Backend) arrive(ticket string) (Request, error) {
	t, err := readTicket(ticket)
	b.note(&t, Arrived, 0)
	return t, err
}

// answer notes what the answer is to be, and returns what is sent for it.
func (b *Backend) answer(t *Request) []byte {
	body := content(t.ID, down, t.Down)
	b.note(t, Answered, digest(body))
	if t.Behaviour == Flipped {
		body[int(t.ID)%len(body)] ^= 1 << (t.ID % 8)
	}
	return body
}

var errGone = errors.New("nobody waits for the answer")

// pause makes an answer late, before or after its first half; a silent one
// ends with its request or with the backend.
func (b *Backend) pause(t *Request, begun bool, gone <-chan struct{}) error {
	var over <-chan time.Time
	switch {
	case t.Behaviour == Silent:
	case t.Behaviour == Late && begun == (t.ID%2 == 0):
		timer := time.NewTimer(t.Pause)
		defer timer.Stop()
		over = timer.C
	default:
		return nil
	}
	select {
	case <-over:
		return nil
	case <-gone:
	case <-b.ended.Done():
	}
	return errGone
}

// reset ends c so that its peer cannot take it for an orderly end.
func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
}

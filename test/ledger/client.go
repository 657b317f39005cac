package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// Client sends requests into a world. It repeats nothing by itself but what the
// client libraries of HTTP/2 and gRPC do with requests that were refused
// unprocessed.
type Client struct {
	ledger *Ledger
	world  World
	http1  pool
	http2  *http.Client

	mu   sync.Mutex
	grpc map[string]*grpc.ClientConn // by address
}

// NewClient makes a client; Close ends its connections.
func NewClient(l *Ledger, w World) *Client {
	t := &http.Transport{Protocols: new(http.Protocols), DisableCompression: true}
	t.Protocols.SetUnencryptedHTTP2(true)
	return &Client{ledger: l, world: w, http2: &http.Client{Transport: t}, grpc: map[string]*grpc.ClientConn{}}
}

// Close ends the connections that no request uses.
func (c *Client) Close() {
	c.http1.close()
	c.http2.CloseIdleConnections()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.grpc {
		conn.Close()
	}
}

// patience is how long past the grace a client waits, so that it sees what
// comes too late.
const patience = time.Second

// Do sends a request and notes how it ends.
func (c *Client) Do(r *Request) {
	ctx, cancel := context.WithTimeout(context.Background(), r.Deadline+grace+patience)
	defer cancel()
	body := content(r.ID, up, r.Up)
	c.ledger.Append(Entry{ID: r.ID, Event: Sent, By: "client", Digest: digest(body)})
	got, err := c.send(ctx, r, body)
	if err != nil {
		c.ledger.Append(Entry{ID: r.ID, Event: Failed, By: "client", Note: err.Error()})
		return
	}
	c.ledger.Append(Entry{ID: r.ID, Event: Complete, By: "client", Digest: got})
}

// send returns the digest of a complete answer.
func (c *Client) send(ctx context.Context, r *Request, body []byte) (uint64, error) {
	address, ok := c.world[Door{r.Backend, r.Way}]
	if !ok {
		return 0, fmt.Errorf("the world has no door to %s over %s", r.Backend, r.Way)
	}
	switch r.Protocol {
	case HTTP1:
		return c.http1.send(ctx, address, r, body)
	case HTTP2:
		return c.sendHTTP2(ctx, address, r, body)
	case Unary, Bidi:
		conn, err := c.dialGRPC(address)
		if err != nil {
			return 0, err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, ticketKey, r.ticket())
		if r.Protocol == Unary {
			var got []byte
			err := conn.Invoke(ctx, "/"+serviceOf(r.Backend)+"/Unary", &body, &got)
			return digest(got), err
		}
		return sendBidi(ctx, conn, r, body)
	case WebSocket:
		return sendWebSocket(ctx, address, r, body)
	}
	return sendTCP(ctx, address, r, body)
}

// path of an HTTP request; its beginning decides where it goes.
func (r *Request) path() string { return "/" + r.Backend + "/" + string(r.Way) + "/" + r.ticket() }

func (c *Client) sendHTTP2(ctx context.Context, address string, r *Request, body []byte) (uint64, error) {
	var from io.Reader = http.NoBody
	if len(body) > 0 {
		from = io.NopCloser(bytes.NewReader(body)) // that the library cannot send it twice
	}
	q, err := http.NewRequestWithContext(ctx, r.Method, "http://"+address+r.path(), from)
	if err != nil {
		return 0, err
	}
	if q.ContentLength = int64(len(body)); r.Streamed {
		q.ContentLength = -1
	}
	a, err := c.http2.Do(q)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	return readAnswer(a)
}

// readAnswer returns the digest of an answer that is complete and good.
func readAnswer(a *http.Response) (uint64, error) {
	got, err := io.ReadAll(a.Body)
	switch {
	case err != nil:
		return 0, fmt.Errorf("read the answer of status %d: %w", a.StatusCode, err)
	case a.StatusCode != http.StatusOK:
		return 0, fmt.Errorf("answer %s: %.200s", a.Status, got)
	}
	return digest(got), nil
}

func (c *Client) dialGRPC(address string) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if conn := c.grpc[address]; conn != nil {
		return conn, nil
	}
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableRetry(), grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{})))
	if err == nil {
		c.grpc[address] = conn
	}
	return conn, err
}

// sendBidi sends the body in messages while it receives others.
func sendBidi(ctx context.Context, conn *grpc.ClientConn, r *Request, body []byte) (uint64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+serviceOf(r.Backend)+"/Bidi")
	if err != nil {
		return 0, err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for _, p := range pieces(r.ID, body) {
			if stream.SendMsg(&p) != nil {
				return // RecvMsg says why
			}
		}
		_ = stream.CloseSend()
	}()
	var got []byte
	for {
		var p []byte
		if err = stream.RecvMsg(&p); err != nil {
			break
		}
		got = append(got, p...)
	}
	cancel()
	<-sent
	if !errors.Is(err, io.EOF) {
		return 0, err
	}
	return digest(got), nil
}

// dial opens a connection that ends with ctx.
func dial(ctx context.Context, address string) (*net.TCPConn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	at, _ := ctx.Deadline()
	return c.(*net.TCPConn), c.SetDeadline(at)
}

// sendTCP sends a ticket and a body, each direction ended by its sender. A
// connection that is reset has no complete answer.
func sendTCP(ctx context.Context, address string, r *Request, body []byte) (uint64, error) {
	c, err := dial(ctx, address)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	sent := make(chan error, 1)
	go func() {
		_, err := c.Write(append([]byte(r.ticket()+"\n"), body...))
		if err == nil {
			err = c.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		c.Close()
	}
	// The kernel tells of a reset once: where the writer heard of it the reader
	// sees an end.
	if failed := <-sent; err == nil {
		err = failed
	}
	return digest(got), err
}

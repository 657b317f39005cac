// Package shop is the small shop that `leno demo` meshes: six services that
// know nothing of a mesh. They find each other by plain names through
// HTTP_PROXY and by local ports, as any program does under `leno run`.
//
//	web ──► catalogue (HTTP/1.1, two versions)
//	    ──► cart      (HTTP/1.1)
//	    ──► checkout  (gRPC) ──► payment (gRPC)
//	                         ──► stock   (TCP, the server speaks first)
package shop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
)

// Config says what one service of the shop needs.
type Config struct {
	Service string
	Listen  string // address on loopback
	Version string // what catalogue calls itself
	// Checkout, Payment and Stock are the local ports of those upstreams.
	Checkout, Payment, Stock string
	// Web is the URL that the shopper visits, Rate its visits a second.
	Web  string
	Rate int
}

// Run serves until ctx ends.
func Run(ctx context.Context, c Config) error {
	switch c.Service {
	case "web":
		return serveHTTP(ctx, c.Listen, newWeb(c))
	case "catalogue":
		return serveHTTP(ctx, c.Listen, catalogue(c.Version))
	case "cart":
		return serveHTTP(ctx, c.Listen, newCart())
	case "checkout":
		return serveGRPC(ctx, c.Listen, func(s *grpc.Server) (io.Closer, error) { return registerCheckout(s, c) })
	case "payment":
		return serveGRPC(ctx, c.Listen, registerPayment)
	case "stock":
		return serveStock(ctx, c.Listen)
	case "shopper":
		return visit(ctx, c)
	}
	return fmt.Errorf("the shop has no service %q: it has web, catalogue, cart, checkout, payment, stock and shopper", c.Service)
}

func listen(address string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), "tcp", address)
}

func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	ln, err := listen(address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(grace)
	})
	defer stop()
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func serveGRPC(ctx context.Context, address string, register func(*grpc.Server) (io.Closer, error)) error {
	ln, err := listen(address)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	closer, err := register(server)
	if err != nil {
		return err
	}
	defer closer.Close()
	defer context.AfterFunc(ctx, server.GracefulStop)()
	return server.Serve(ln)
}

// connections closes what is open when the service ends.
type connections struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
	done bool
}

// add returns false if the service has ended already.
func (c *connections) add(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return false
	}
	if c.open == nil {
		c.open = map[net.Conn]struct{}{}
	}
	c.open[conn] = struct{}{}
	return true
}

func (c *connections) remove(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, conn)
}

func (c *connections) closeAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done = true
	for conn := range c.open {
		conn.Close()
	}
}

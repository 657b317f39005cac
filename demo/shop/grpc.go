package shop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	shopv1 "github.com/leno-mesh/leno/demo/shop/v1"
)

type checkout struct {
	shopv1.UnimplementedCheckoutServer
	payment shopv1.PaymentClient
	stock   string
}

func registerCheckout(s *grpc.Server, c Config) (io.Closer, error) {
	conn, err := grpc.NewClient("passthrough:///"+c.Payment, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	shopv1.RegisterCheckoutServer(s, &checkout{payment: shopv1.NewPaymentClient(conn), stock: c.Stock})
	return conn, nil
}

// Place charges, then takes the goods from stock.
func (c *checkout) Place(ctx context.Context, order *shopv1.Order) (*shopv1.Receipt, error) {
	receipt, err := c.payment.Charge(ctx, order)
	if err != nil {
		return nil, err
	}
	left, err := takeStock(ctx, c.stock, order.GetItem())
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "stock: %v", err)
	}
	return &shopv1.Receipt{Text: receipt.GetText() + ", " + left}, nil
}

type payment struct {
	shopv1.UnimplementedPaymentServer
}

func registerPayment(s *grpc.Server) (io.Closer, error) {
	shopv1.RegisterPaymentServer(s, payment{})
	return io.NopCloser(nil), nil
}

// Charge always succeeds.
func (payment) Charge(_ context.Context, order *shopv1.Order) (*shopv1.Receipt, error) {
	return &shopv1.Receipt{Text: fmt.Sprintf("paid for %d %s", order.GetQuantity(), order.GetItem())}, nil
}

const greeting = "220 stock ready"

// serveStock speaks first, as SMTP and MySQL servers do, so that a mesh that
// waits for the client's first byte hangs here.
func serveStock(ctx context.Context, address string) error {
	ln, err := listen(address)
	if err != nil {
		return err
	}
	var open connections
	defer context.AfterFunc(ctx, func() { ln.Close(); open.closeAll() })()
	for {
		c, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		if !open.add(c) {
			c.Close()
			return nil
		}
		go func() {
			defer open.remove(c)
			defer c.Close()
			answerStock(c)
		}()
	}
}

func answerStock(c net.Conn) {
	if _, err := io.WriteString(c, greeting+"\r\n"); err != nil {
		return
	}
	lines := bufio.NewScanner(io.LimitReader(c, 1<<20))
	for lines.Scan() {
		item, ok := strings.CutPrefix(lines.Text(), "TAKE ")
		answer := "500 say TAKE and an item"
		if ok {
			answer = "250 took " + item
		}
		if _, err := io.WriteString(c, answer+"\r\n"); err != nil {
			return
		}
	}
}

func takeStock(ctx context.Context, address, item string) (string, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	lines := bufio.NewReader(c)
	line, err := lines.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("wait for the greeting: %w", err)
	}
	if strings.TrimSpace(line) != greeting {
		return "", fmt.Errorf("the greeting is %q", line)
	}
	if _, err := fmt.Fprintf(c, "TAKE %s\r\n", item); err != nil {
		return "", err
	}
	line, err = lines.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("wait for the answer: %w", err)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(line), "250 ")
	if !ok {
		return "", fmt.Errorf("stock answered %q", line)
	}
	return text, nil
}

package h1

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

func TestExchangesOverTLSReuseTheConnection(t *testing.T) {
	authority := httptest.NewTLSServer(nil)
	defer authority.Close()
	certificates := authority.TLS.Certificates
	dials := 0
	p := NewPool(PoolOptions{Dial: func(int64) (*conn.Conn, error) {
		dials++
		client, server := pair(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c := conn.New(server, &buf.Pool{})
			tc := c.StartTLS(func(nc net.Conn) *tls.Conn { return tls.Server(nc, &tls.Config{Certificates: certificates}) })
			if tc.Handshake() == nil {
				NewServer(c, ServerOptions{Scheme: "https"}).Serve(echo)
			}
		}()
		t.Cleanup(func() { client.Close(); <-done })
		c := conn.New(client, &buf.Pool{})
		tc := c.StartTLS(func(nc net.Conn) *tls.Conn { return tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) })
		return c, tc.Handshake()
	}})
	body := bytes.Repeat([]byte("x"), 10000)
	for range 3 {
		s := open(t, p)
		if err := s.WriteHead(newRequest("POST", "/", int64(len(body))), false); err != nil {
			t.Fatal(err)
		}
		if err := s.WriteData(body, true); err != nil {
			t.Fatal(err)
		}
		var h http.Head
		if err := s.ReadHead(&h); err != nil {
			t.Fatal(err)
		}
		if got, err := readBody(s); !bytes.Equal(got, body) || err != nil {
			t.Fatal(len(got), err)
		}
		s.Close()
		s.(*clientStream).idleSince -= int64(time.Second) // look at it before it is used again
	}
	if dials != 1 {
		t.Errorf("%d dials", dials)
	}
}

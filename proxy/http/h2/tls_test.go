package h2

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	stdhttp "net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
)

func TestBothSidesWorkOverTLS(t *testing.T) {
	// The certificate of a server that never serves.
	other := httptest.NewUnstartedServer(nil)
	other.StartTLS()
	defer other.Close()
	roots := x509.NewCertPool()
	roots.AddCert(other.Certificate())
	ours := &tls.Config{Certificates: other.TLS.Certificates, NextProtos: []string{"h2"}}
	theirs := &tls.Config{RootCAs: roots, ServerName: "example.com", NextProtos: []string{"h2"}}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var bufs buf.Pool
	var all sync.WaitGroup
	defer all.Wait()
	defer l.Close()
	all.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			c := conn.New(nc, &bufs)
			if c.StartTLS(func(nc net.Conn) *tls.Conn { return tls.Server(nc, ours) }).Handshake() != nil {
				continue
			}
			all.Go(func() { _ = NewServer(c, ServerOptions{}).Serve(echo) })
		}
	})
	tr := NewTransport(TransportOptions{Dial: func(int64) (*conn.Conn, error) {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		c := conn.New(nc, &bufs)
		return c, c.StartTLS(func(nc net.Conn) *tls.Conn { return tls.Client(nc, theirs) }).Handshake()
	}})
	defer tr.Drain()
	client := &stdhttp.Client{Transport: &stdhttp.Transport{TLSClientConfig: theirs.Clone(), ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()

	want := noise(1 << 20)
	var calls sync.WaitGroup
	for range 16 {
		calls.Go(func() {
			resp, err := client.Post("https://"+l.Addr().String()+"/", "", io.MultiReader(bytes.NewReader(want)))
			if err != nil {
				t.Error(err)
				return
			}
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("their client got %d bytes: %v", len(got), err)
			}
			_ = resp.Body.Close()
		})
		calls.Go(func() {
			st := open(t, tr)
			defer st.Close()
			var writing sync.WaitGroup
			defer writing.Wait()
			writing.Go(func() {
				if err := st.WriteHead(request("POST", "/"), false); err != nil {
					t.Error(err)
				}
				if err := st.WriteData(want, true); err != nil {
					t.Error(err)
				}
			})
			r := response(0)
			if err := st.ReadHead(r); err != nil {
				t.Error(err)
			}
			got, err := body(st)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("our client got %d bytes: %v", len(got), err)
			}
		})
	}
	calls.Wait()
}

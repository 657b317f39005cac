package conn

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
)

// pair returns both ends of a loopback TCP connection.
func pair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client, err = Dial("tcp", ln.Addr().String(), 0)
	if err != nil {
		t.Fatal(err)
	}
	server = <-accepted
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

func TestFillAppendsToWhatIsUnread(t *testing.T) {
	peer, nc := pair(t)
	c := New(nc, new(buf.Pool))
	write(t, peer, "hello ")
	if err := c.Fill(); err != nil {
		t.Fatal(err)
	}
	c.Consume(1)
	write(t, peer, "world")
	if err := c.Fill(); err != nil {
		t.Fatal(err)
	}
	if got := string(c.Buffered()); got != "ello world" {
		t.Errorf("Buffered() = %q", got)
	}
}

func TestFillReportsTheEndOfTheStream(t *testing.T) {
	peer, nc := pair(t)
	c := New(nc, new(buf.Pool))
	peer.Close()
	if err := c.Fill(); !errors.Is(err, io.EOF) {
		t.Errorf("Fill() = %v, want io.EOF", err)
	}
}

func TestFillRefusesAFullBuffer(t *testing.T) {
	peer, nc := pair(t)
	c := New(nc, new(buf.Pool))
	go func() { _, _ = peer.Write(make([]byte, buf.Size+1)) }()
	var err error
	for err == nil {
		err = c.Fill()
	}
	if !errors.Is(err, ErrBufferFull) {
		t.Errorf("Fill() = %v, want ErrBufferFull", err)
	}
}

func TestAskSendsAndWaitsForTheAnswer(t *testing.T) {
	peer, nc := pair(t)
	c := New(nc, new(buf.Pool))
	go func() { _, _ = io.CopyN(peer, peer, 4) }()
	if err := c.Ask([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if got := string(c.Buffered()); got != "ping" {
		t.Errorf("Buffered() = %q", got)
	}
}

func TestAskSendsMoreThanTheSocketHolds(t *testing.T) {
	peer, nc := pair(t)
	c := New(nc, new(buf.Pool))
	const size = 32 << 20
	go func() {
		_, _ = io.CopyN(io.Discard, peer, size)
		_, _ = peer.Write([]byte("done"))
	}()
	if err := c.Ask(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	if got := string(c.Buffered()); got != "done" {
		t.Errorf("Buffered() = %q", got)
	}
}

func TestExpireWakesAReader(t *testing.T) {
	_, nc := pair(t)
	c := New(nc, new(buf.Pool))
	done := make(chan error, 1)
	go func() { done <- c.Fill() }()
	c.Expire()
	if err := <-done; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Fill() = %v, want a deadline error", err)
	}
}

func TestEchoDoesNotAllocate(t *testing.T) {
	peer, nc := pair(t)
	c, d := New(nc, new(buf.Pool)), New(peer, new(buf.Pool))
	msg := []byte("ping")
	got := testing.AllocsPerRun(1000, func() {
		if _, err := d.Write(msg); err != nil {
			t.Fatal(err)
		}
		if err := c.Fill(); err != nil {
			t.Fatal(err)
		}
		c.Consume(len(c.Buffered()))
	})
	if got != 0 {
		t.Errorf("%v allocations a message", got)
	}
}

func TestRelayCarriesBothDirectionsAndHalfCloses(t *testing.T) {
	for _, size := range []int{0, 1, 100, buf.Size, 10 << 20} {
		pool := new(buf.Pool)
		left, a := pair(t)
		right, b := pair(t)
		var flow Flow
		done := make(chan error, 1)
		go func() { done <- Relay(New(a, pool), New(b, pool), &flow) }()

		payload := make([]byte, size)
		_, _ = rand.Read(payload)
		go func() {
			_, _ = left.Write(payload)
			_ = left.(*net.TCPConn).CloseWrite()
		}()
		got, err := io.ReadAll(right)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%d bytes: got %d, %v", size, len(got), err)
		}
		// The other direction still works after the first has ended.
		write(t, right, "bye")
		_ = right.(*net.TCPConn).CloseWrite()
		back, err := io.ReadAll(left)
		if err != nil || string(back) != "bye" {
			t.Fatalf("back: %q, %v", back, err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if flow.Sent.Load() != int64(size) || flow.Received.Load() != 3 {
			t.Errorf("flow %d, %d", flow.Sent.Load(), flow.Received.Load())
		}
	}
}

func TestRelayResetsBothWhenOneBreaks(t *testing.T) {
	pool := new(buf.Pool)
	left, a := pair(t)
	right, b := pair(t)
	done := make(chan error, 1)
	go func() { done <- Relay(New(a, pool), New(b, pool), new(Flow)) }()
	_ = left.(*net.TCPConn).SetLinger(0)
	left.Close()
	if err := <-done; err == nil {
		t.Error("Relay() = nil after a reset")
	}
	if _, err := io.ReadAll(right); err == nil {
		t.Error("the other peer saw an orderly end")
	}
}

func TestTLSRecordsSplitAtEveryByte(t *testing.T) {
	client, server := tlsPair(t, func(nc net.Conn) net.Conn { return &slowWriter{Conn: nc} })
	payload := make([]byte, 40000)
	_, _ = rand.Read(payload)
	go func() {
		_, _ = client.Write(payload)
		_ = client.CloseWrite()
	}()
	var got []byte
	for {
		if err := server.Fill(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		got = append(got, server.Buffered()...)
		server.Consume(len(server.Buffered()))
	}
	if !bytes.Equal(got, payload) {
		t.Errorf("got %d bytes, want %d", len(got), len(payload))
	}
}

func TestTLSFillNeverMissesBytesThatArrivedTogether(t *testing.T) {
	client, server := tlsPair(t, nil)
	// Many small records in one write, then one larger than what is free.
	for range 200 {
		for i := range 20 {
			if _, err := client.tls.Write(bytes.Repeat([]byte{byte(i)}, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		want := 20000
		for want > 0 {
			if err := server.Fill(); err != nil {
				t.Fatal(err)
			}
			want -= len(server.Buffered())
			server.Consume(len(server.Buffered()))
		}
	}
}

func TestTLSTruncationIsNoOrderlyEnd(t *testing.T) {
	client, server := tlsPair(t, nil)
	client.sock.nc.Close()
	if err := server.Fill(); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		t.Fatalf("Fill() = %v", err)
	}
}

// slowWriter passes on one byte at a time.
type slowWriter struct{ net.Conn }

func (w *slowWriter) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := w.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

func tlsPair(t *testing.T, wrap func(net.Conn) net.Conn) (client, server *Conn) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pin := sha256.Sum256(der)
	a, b := pair(t)
	if wrap != nil {
		a = wrap(a)
	}
	pool := new(buf.Pool)
	client, server = New(a, pool), New(b, pool)
	st := server.StartTLS(func(nc net.Conn) *stdtls.Conn {
		return stdtls.Server(nc, &stdtls.Config{Certificates: []stdtls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	})
	ct := client.StartTLS(func(nc net.Conn) *stdtls.Conn {
		return stdtls.Client(nc, &stdtls.Config{ServerName: "test", InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			if sha256.Sum256(raw[0]) != pin {
				return errors.New("another certificate")
			}
			return nil
		}})
	})
	done := make(chan error, 1)
	go func() { done <- st.Handshake() }()
	if err := ct.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return client, server
}

func write(t *testing.T, w io.Writer, s string) {
	t.Helper()
	if _, err := io.WriteString(w, s); err != nil {
		t.Fatal(err)
	}
}

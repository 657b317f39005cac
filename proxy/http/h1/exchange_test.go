package h1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

// responding returns a handler that answers with head and body.
func responding(status int, length int64, body string, add ...string) func(http.Stream) {
	return func(s http.Stream) {
		defer s.Close()
		var h http.Head
		if s.ReadHead(&h) != nil {
			return
		}
		h.Reset()
		h.Status, h.Length = status, length
		for i := 0; i < len(add); i += 2 {
			h.AddString(add[i], add[i+1])
		}
		if s.WriteHead(&h, false) == nil {
			_ = s.WriteData([]byte(body), true)
		}
	}
}

func TestResponsesAreFramedAnew(t *testing.T) {
	const v10 = "GET / HTTP/1.0\r\nHost: a\r\n\r\n"
	const v10kept = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		handle        func(http.Stream)
		want          string
	}{
		{"length", get + "\r\n", responding(200, 2, "hi"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"},
		{"chunks", get + "\r\n", responding(200, -1, "hi"), "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"},
		{"no chunks for HTTP/1.0", v10, responding(200, -1, "hi"), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi"},
		{"no chunks for HTTP/1.0 kept", v10kept, responding(200, -1, "hi"), "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhi"},
		{"HTTP/1.0 kept", v10kept, responding(200, 2, "hi"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nhi"},
		{"close", get + "Connection: close\r\n\r\n", responding(200, 2, "hi"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"},
		{"no body for HEAD", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", responding(200, 2, "hi"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"},
		{"HEAD keeps the length", "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", responding(200, 0, "", "content-length", "7"), "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"},
		{"204", get + "\r\n", responding(204, 0, "", "content-length", "7"), "HTTP/1.1 204 No Content\r\n\r\n"},
		{"304", get + "\r\n", responding(304, 0, "", "content-length", "7"), "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n"},
		{"framing fields are ours", get + "\r\n", responding(200, 2, "hi", "content-length", "7", "transfer-encoding", "gzip", "connection", "x", "keep-alive", "1", "upgrade", "h2c"), "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"},
		{"unknown status", get + "\r\n", responding(299, 0, ""), "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"},
		{"expectation refused", post + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n", responding(417, 0, ""), "HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"},
		{"body shorter than its length", get + "\r\n", responding(200, 3, "hi"), ""},
		{"body longer than its length", get + "\r\n", responding(200, 1, "hi"), ""},
		{"CR LF in a value", get + "\r\n", responding(200, 0, "", "a", "b\r\nc: d"), ""},
		{"LF in a value", get + "\r\n", responding(200, 0, "", "location", "b\nc"), ""},
		{"NUL in a value", get + "\r\n", responding(200, 0, "", "a", "\x00"), ""},
		{"space in a name", get + "\r\n", responding(200, 0, "", "a b", "c"), ""},
		{"colon in a name", get + "\r\n", responding(200, 0, "", "a:b", "c"), ""},
		{"capital in a name", get + "\r\n", responding(200, 0, "", "A", "c"), ""},
		{"empty name", get + "\r\n", responding(200, 0, "", "", "c"), ""},
		{"status of four digits", get + "\r\n", responding(2000, 0, ""), ""},
		{"101 out of the blue", get + "\r\n", responding(101, 0, ""), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sc := &script{pieces: pieces(tt.request)}
			NewServer(conn.New(sc, &buf.Pool{}), plain).Serve(tt.handle)
			if got := sc.wrote.String(); got != tt.want {
				t.Errorf("wrote %q\nwant  %q", got, tt.want)
			}
		})
	}
}

func TestRequestsAreFramedAnew(t *testing.T) {
	withField := func(h *http.Head, name, value string) *http.Head {
		h.AddString(name, value)
		return h
	}
	upgrade := newRequest("GET", "/", 0)
	upgrade.Protocol = "websocket"
	upgrade.AddString(keyName, "dGhlIHNhbXBsZSBub25jZQ==")
	evil := newRequest("GET", "/", 0)
	evil.Protocol = "a\r\nb: c"
	tunnel := &http.Head{}
	tunnel.SetMethodString("CONNECT")
	tunnel.SetAuthorityString("example.com:443")
	otherHost := newRequest("GET", "/", 0)
	otherHost.SetAuthorityString("a\r\nb: c")
	expecting := newRequest("PUT", "/", 5)
	expecting.Expect = true
	for _, tt := range []struct {
		name string
		h    *http.Head
		want string
	}{
		{"plain", newRequest("GET", "/a?b", 0), "GET /a?b HTTP/1.1\r\nhost: example.com\r\n\r\n"},
		{"asterisk", newRequest("OPTIONS", "*", 0), "OPTIONS * HTTP/1.1\r\nhost: example.com\r\n\r\n"},
		{"empty POST", newRequest("POST", "/", 0), "POST / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 0\r\n\r\n"},
		{"length", newRequest("POST", "/", 5), "POST / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 5\r\n\r\n"},
		{"chunks", newRequest("POST", "/", -1), "POST / HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n"},
		{"expectation", expecting, "PUT / HTTP/1.1\r\nhost: example.com\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n"},
		{"upgrade", upgrade, "GET / HTTP/1.1\r\nhost: example.com\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"},
		{"CONNECT", tunnel, "CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n"},
		{"TE", withField(newRequest("GET", "/", 0), "te", "trailers"), "GET / HTTP/1.1\r\nhost: example.com\r\nte: trailers\r\nconnection: te\r\n\r\n"},
		{"second host", withField(newRequest("GET", "/", 0), "host", "b"), "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n"},
		{"second framing", withField(withField(newRequest("GET", "/", 0), "content-length", "5"), "transfer-encoding", "chunked"), "GET / HTTP/1.1\r\nhost: example.com\r\n\r\n"},
		{"space in the method", newRequest("GET /x HTTP/1.1\r\n", "/", 0), ""},
		{"empty method", newRequest("", "/", 0), ""},
		{"space in the path", newRequest("GET", "/a b", 0), ""},
		{"CR LF in the path", newRequest("GET", "/ HTTP/1.1\r\na: b", 0), ""},
		{"fragment in the path", newRequest("GET", "/#", 0), ""},
		{"path without a slash", newRequest("GET", "a", 0), ""},
		{"empty path", newRequest("GET", "", 0), ""},
		{"CR LF in the host", otherHost, ""},
		{"CR LF in the protocol", evil, ""},
		{"CR LF in a value", withField(newRequest("GET", "/", 0), "a", "b\r\nc: d"), ""},
		{"CR in a value", withField(newRequest("GET", "/", 0), "cookie", "b\rc"), ""},
		{"space before a value", withField(newRequest("GET", "/", 0), "a", " b"), ""},
		{"CR LF in a name", withField(newRequest("GET", "/", 0), "a\r\nb", "c"), ""},
		{"pseudo-field", withField(newRequest("GET", "/", 0), ":path", "/x"), ""},
		{"too large", withField(newRequest("GET", "/", 0), "a", strings.Repeat("b", 65<<10)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sc := &script{}
			p := NewPool(PoolOptions{Dial: func(int64) (*conn.Conn, error) { return conn.New(sc, &buf.Pool{}), nil }})
			s, err := p.Open(0)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			err = s.WriteHead(tt.h, tt.h.Length == 0)
			_ = s.Flush()
			if got := sc.wrote.String(); got != tt.want {
				t.Errorf("wrote %q\nwant  %q (%v)", got, tt.want, err)
			}
			if e := http.AsError(err, 0); tt.want == "" && (err == nil || e.Side != http.Local || !e.Unsent) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestContinueIsSentWhenTheBodyIsWanted(t *testing.T) {
	bodies := make(chan string, 1)
	client, _, _ := serve(t, plain, func(s http.Stream) {
		defer s.Close()
		var h http.Head
		if s.ReadHead(&h) != nil {
			return
		}
		b, _ := readBody(s)
		bodies <- string(b)
		h.Reset()
		h.Status = 200
		_ = s.WriteHead(&h, true)
	})
	fmt.Fprint(client, post+"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	expect(t, client, "HTTP/1.1 100 Continue\r\n\r\n")
	fmt.Fprint(client, "hello")
	expect(t, client, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
	if body := <-bodies; body != "hello" {
		t.Errorf("body %q", body)
	}
}

// expect reads exactly one of the wanted strings.
func expect(t *testing.T, r io.Reader, want ...string) {
	t.Helper()
	var got []byte
	b := make([]byte, 1)
	for {
		for _, w := range want {
			if string(got) == w {
				return
			}
		}
		if _, err := r.Read(b); err != nil {
			t.Fatalf("read %q and %v, want %q", got, err, want)
		}
		got = append(got, b[0])
		if len(got) > 1000 {
			t.Fatalf("read %q, want %q", got, want)
		}
	}
}

func TestUpgradeCarriesBytesBothWays(t *testing.T) {
	p := poolTo(t, PoolOptions{}, func(s http.Stream) {
		defer s.Close()
		var h http.Head
		if err := s.ReadHead(&h); err != nil {
			return
		}
		protocol := h.Protocol
		connect := string(h.Method()) == "CONNECT"
		h.Reset()
		h.Status, h.Protocol = 101, protocol
		if connect {
			h.Status = 200
		}
		if s.WriteHead(&h, false) != nil || s.WriteData([]byte("welcome "), false) != nil || s.Flush() != nil {
			return
		}
		for {
			b, err := s.ReadData()
			if err == io.EOF {
				_ = s.WriteData([]byte("bye"), true)
				return
			}
			if err != nil || s.WriteData(b, false) != nil || s.Flush() != nil {
				return
			}
		}
	})
	connect := &http.Head{}
	connect.SetMethodString("CONNECT")
	connect.SetAuthorityString("a:1")
	for name, request := range map[string]*http.Head{"upgrade": ask("websocket"), "connect": connect} {
		t.Run(name, func(t *testing.T) {
			s, err := p.Open(0)
			if err != nil {
				t.Fatal(err)
			}
			var h http.Head
			if err := s.WriteHead(request, true); err != nil {
				t.Fatal(err)
			}
			if err := s.ReadHead(&h); err != nil {
				t.Fatal(err)
			}
			if err := s.WriteData([]byte("hello "), true); err != nil {
				t.Fatal(err)
			}
			got, err := readBody(s)
			if string(got) != "welcome hello bye" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			s.Close()
			if n := p.Stats(); n.Open != 0 {
				t.Errorf("the tunnel's connection was kept: %+v", n)
			}
		})
	}
}

func TestEarlyBytesAfterAnUpgradeBelongToTheTunnel(t *testing.T) {
	sc := &script{pieces: pieces(get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n" + get + "\r\n")}
	var early []byte
	n := 0
	NewServer(conn.New(sc, &buf.Pool{}), plain).Serve(func(s http.Stream) {
		n++
		var h http.Head
		_ = s.ReadHead(&h)
		h.Reset()
		h.Status, h.Protocol = 101, "websocket"
		_ = s.WriteHead(&h, false)
		early, _ = readBody(s)
		_ = s.WriteData(nil, true)
		s.Close()
	})
	if n != 1 || string(early) != get+"\r\n" {
		t.Errorf("%d exchanges, tunnel %q", n, early)
	}
}

func TestRefusedTunnelIsNotFollowedByRequests(t *testing.T) {
	for _, raw := range []string{"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"} {
		sc := &script{pieces: pieces(raw + get + "\r\n")}
		n := 0
		answer := responding(403, 0, "")
		NewServer(conn.New(sc, &buf.Pool{}), plain).Serve(func(s http.Stream) { n++; answer(s) })
		if n != 1 || !strings.Contains(sc.wrote.String(), "connection: close") {
			t.Errorf("%d exchanges, wrote %q", n, sc.wrote.String())
		}
	}
}

func TestUnreadBodyIsDrainedOrEndsTheConnection(t *testing.T) {
	for size, exchanges := range map[int]int{10: 2, 60 << 10: 2, 200 << 10: 1} {
		raw := post + fmt.Sprintf("Content-Length: %d\r\n\r\n", size) + strings.Repeat("x", size) + get + "\r\n"
		sc := &script{pieces: pieces(raw)}
		n := 0
		answer := responding(200, 0, "")
		NewServer(conn.New(sc, &buf.Pool{}), plain).Serve(func(s http.Stream) { n++; answer(s) })
		if n != exchanges {
			t.Errorf("%d bytes unread: %d exchanges, want %d", size, n, exchanges)
		}
	}
}

func TestEarlyResponseIsNeverFollowedByReuse(t *testing.T) {
	p := poolTo(t, PoolOptions{}, responding(200, 2, "no"))
	s, err := p.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	var h http.Head
	if err := s.WriteHead(newRequest("POST", "/", 100), false); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadHead(&h); err != nil || h.Status != 200 {
		t.Fatal(h.Status, err)
	}
	if b, err := readBody(s); string(b) != "no" || err != nil {
		t.Fatal(b, err)
	}
	s.Close()
	if got := p.Stats(); got.Open != 0 {
		t.Errorf("the connection was kept: %+v", got)
	}
}

func TestDrainingEndsTheConnectionWithTheNextResponse(t *testing.T) {
	o := plain
	o.Draining = func() bool { return true }
	sc := &script{pieces: pieces(get + "\r\n" + get + "\r\n")}
	NewServer(conn.New(sc, &buf.Pool{}), o).Serve(responding(200, 0, ""))
	if got, want := sc.wrote.String(), "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"; got != want {
		t.Errorf("wrote %q", got)
	}
}

func TestAbortWakesWhoIsBlocked(t *testing.T) {
	reached := make(chan struct{})
	release := make(chan struct{})
	p := poolTo(t, PoolOptions{}, func(s http.Stream) {
		var h http.Head
		_ = s.ReadHead(&h)
		close(reached)
		<-release
		s.Close()
	})
	s, err := p.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	cause := &http.Error{Side: http.Local, Kind: http.KindDraining, Reason: "because"}
	go func() {
		<-reached
		s.Abort(cause)
	}()
	if err := s.WriteHead(newRequest("GET", "/", 0), true); err != nil {
		t.Fatal(err)
	}
	var h http.Head
	if err := s.ReadHead(&h); !errors.Is(err, cause) {
		t.Errorf("read: %v", err)
	}
	s.Close()
	close(release)
	if p.Stats().Open != 0 {
		t.Error("the connection was kept")
	}
}

func TestSweepEndsSilentConnections(t *testing.T) {
	for name, tt := range map[string]struct {
		raw    string
		status string
	}{
		"nothing":        {"", ""},
		"unfinished":     {"GET / HT", "HTTP/1.1 408"},
		"idle":           {get + "\r\n", "HTTP/1.1 200"},
		"body":           {post + "Content-Length: 5\r\n\r\nhel", ""},
		"unwritten body": {post + "Content-Length: 5\r\n\r\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client, s, done := serve(t, plain, func(s http.Stream) {
				defer s.Close()
				var h http.Head
				err := s.ReadHead(&h)
				if err == nil {
					_, err = readBody(s)
				}
				if err != nil {
					refuse(s, err)
					return
				}
				h.Reset()
				h.Status = 200
				_ = s.WriteHead(&h, true)
			})
			fmt.Fprint(client, tt.raw)
			all := make(chan string)
			go func() {
				b, _ := io.ReadAll(client)
				client.Close()
				all <- string(b)
			}()
			now, tick := clock.Now(), time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					now += int64(30 * time.Second)
					s.Sweep(now)
					continue
				case got := <-all:
					if !strings.HasPrefix(got, tt.status) || tt.status == "" && got != "" {
						t.Errorf("read %q", got)
					}
				}
				break
			}
			<-done
		})
	}
}

func TestSweepSparesAnExchangeThatWaitsForUs(t *testing.T) {
	release, ended := make(chan struct{}), make(chan struct{})
	client, s, _ := serve(t, plain, func(s http.Stream) {
		defer s.Close()
		var h http.Head
		_ = s.ReadHead(&h)
		ended <- struct{}{}
		<-release
		h.Reset()
		h.Status = 200
		_ = s.WriteHead(&h, true)
	})
	fmt.Fprint(client, get+"\r\n")
	<-ended
	for now := clock.Now(); now < int64(time.Hour); now += int64(time.Minute) {
		s.Sweep(now)
	}
	close(release)
	expect(t, client, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
}

func TestIdleConnectionsEndOnRequest(t *testing.T) {
	client, s, done := serve(t, plain, responding(200, 0, ""))
	if s.CloseIdle() {
		t.Error("a connection that waits for its first request is not idle")
	}
	fmt.Fprint(client, get+"\r\n")
	expect(t, client, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
	for !s.CloseIdle() {
		runtime.Gosched() // the server is about to wait
	}
	<-done
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("read: %v", err)
	}
}

func TestFullDuplexNeverWaitsForItself(t *testing.T) {
	const size = 8 << 20
	p := poolTo(t, PoolOptions{}, echo)
	for _, length := range []int64{size, -1} {
		s, err := p.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		piece := bytes.Repeat([]byte("x"), 10000)
		wrote, answered := make(chan error, 1), make(chan struct{})
		go func() {
			err := s.WriteHead(newRequest("POST", "/", length), false)
			for left := size; err == nil && left > 0; {
				n := min(left, len(piece))
				if left -= n; left == 0 {
					<-answered // so that the answer comes before the request ends
				}
				err = s.WriteData(piece[:n], left == 0)
			}
			wrote <- err
		}()
		var h http.Head
		if err := s.ReadHead(&h); err != nil {
			t.Fatal(err)
		}
		close(answered)
		b, err := readBody(s)
		if err != nil || len(b) != size {
			t.Fatal(len(b), err)
		}
		if err := <-wrote; err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if got := p.Stats(); got.Open != 0 {
		t.Errorf("a connection was kept after an early response: %+v", got)
	}
}

func TestTunnelBytesWaitForTheAnswer(t *testing.T) {
	for status, want := range map[int]string{101: "hello", 403: ""} {
		got := make(chan string, 1)
		p := poolTo(t, PoolOptions{}, func(s http.Stream) {
			defer s.Close()
			var h http.Head
			_ = s.ReadHead(&h)
			read := make(chan string)
			go func() {
				b, _ := readBody(s) // before anything is decided
				read <- string(b)
			}()
			h.Reset()
			h.Status = status
			if status == 101 {
				h.Protocol = "websocket"
			}
			_ = s.WriteHead(&h, status != 101)
			got <- <-read
			if status == 101 {
				_ = s.WriteData(nil, true)
			}
		})
		s := open(t, p)
		if err := s.WriteHead(ask("websocket"), false); err != nil {
			t.Fatal(err)
		}
		wrote := make(chan error)
		go func() { wrote <- s.WriteData([]byte("hello"), true) }()
		var h http.Head
		if err := s.ReadHead(&h); err != nil || h.Status != status {
			t.Fatal(h.Status, err)
		}
		if err := <-wrote; err != nil {
			t.Error(err)
		}
		if b := <-got; b != want {
			t.Errorf("status %d: the tunnel carried %q", status, b)
		}
		if b, err := readBody(s); len(b) > 0 || err != nil {
			t.Error(b, err)
		}
		s.Close()
	}
}

func TestAbortWakesWhoWaitsForATunnel(t *testing.T) {
	p := poolTo(t, PoolOptions{}, func(s http.Stream) {
		var h http.Head
		_ = s.ReadHead(&h)
		_, _ = s.ReadData()
		s.Close()
	})
	s := open(t, p)
	if err := s.WriteHead(ask("websocket"), false); err != nil {
		t.Fatal(err)
	}
	wrote := make(chan error)
	go func() { wrote <- s.WriteData([]byte("hello"), true) }()
	s.Abort(io.ErrClosedPipe)
	if err := <-wrote; !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("error is %v", err)
	}
	s.Close()
}

func TestAbortAfterACompleteResponseDeliversIt(t *testing.T) {
	client, _, _ := serve(t, plain, func(s http.Stream) {
		var h http.Head
		_ = s.ReadHead(&h)
		h.Reset()
		h.Status = 413
		_ = s.WriteHead(&h, true)
		s.Abort(io.ErrClosedPipe)
		if _, err := s.ReadData(); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("error is %v", err)
		}
		s.Close()
	})
	fmt.Fprint(client, post+"Content-Length: 1000\r\n\r\nhello")
	expect(t, client, "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

func TestWebSocketKeyAndAcceptAreMadeUpWhereHTTP2HasNone(t *testing.T) {
	// The key and the accept value of RFC 6455, section 1.3.
	const key, accept = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
	sc := &script{pieces: pieces(get + "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: " + key + "\r\n\r\n")}
	NewServer(conn.New(sc, &buf.Pool{}), plain).Serve(func(s http.Stream) {
		var h http.Head
		_ = s.ReadHead(&h)
		h.Reset()
		h.Status, h.Protocol = 101, "websocket"
		_ = s.WriteHead(&h, false)
		s.Close()
	})
	want := "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: " + accept + "\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
	if got := sc.wrote.String(); got != want {
		t.Errorf("wrote %q", got)
	}
	b, bad := appendRequest(nil, ask("websocket"), false)
	if bad != nil {
		t.Fatal(bad.reason)
	}
	_, after, ok := strings.Cut(string(b), "\r\nsec-websocket-key: ")
	if made, _, _ := strings.Cut(after, "\r\n"); !ok || len(made) != keyLen {
		t.Errorf("wrote %q", b)
	}
}

package engine

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// impatient is an HTTP/2 endpoint that reads one byte of a request at the most,
// answers it in full and wants no more of it.
func impatient(t *testing.T) (address string) {
	return tcpBackend(t, func(c net.Conn) {
		if _, err := io.ReadFull(c, make([]byte, len(preface))); err != nil {
			return
		}
		f := http2.NewFramer(c, c)
		// The body has no room, so that it is being sent when the answer comes.
		_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		for {
			got, err := f.ReadFrame()
			if err != nil {
				return
			}
			h, ok := got.(*http2.HeadersFrame)
			if !ok {
				continue
			}
			var head bytes.Buffer
			_ = hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "413"})
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: head.Bytes(), EndHeaders: true})
			_ = f.WriteData(h.StreamID, true, []byte("too large"))
			_ = f.WriteRSTStream(h.StreamID, http2.ErrCodeNo)
		}
	})
}

// An HTTP/2 endpoint that has answered in full may say that it wants no more of
// the request by RST_STREAM with NO_ERROR; its answer stands (RFC 9113, section
// 8.1).
func TestAnAnswerStandsThoughTheEndpointWantsNoMoreOfTheRequest(t *testing.T) {
	r := newRig(t, web(to("app"))+clusters(cluster("app", speaksH2, impatient(t))))
	base := "http://" + r.serve("web")
	for _, version := range []int{1, 2} {
		c := client(t, version)
		for range 5 {
			if a := do(t, c, "POST", base+"/", bytes.NewReader(make([]byte, 30<<10))); a.StatusCode != 413 || a.body != "too large" {
				t.Errorf("over HTTP/%d: %s %q", version, a.Status, a.body)
			}
		}
	}
}

// Who answers before the request has ended either says that the connection ends,
// or serves the next request on it. Anything else loses that one.
func TestAnEarlyAnswerAnnouncesThatTheConnectionEnds(t *testing.T) {
	r := newRig(t, web(to("app"))+clusters(cluster("app", speaksH2, impatient(t))))
	address := r.serve("web")
	for name, framing := range map[string]string{"long": "content-length: 300000\r\n\r\n", "chunked": "transfer-encoding: chunked\r\n\r\n493e0\r\n"} {
		t.Run(name, func(t *testing.T) {
			c, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			sent := make(chan error, 1)
			go func() {
				b := append([]byte("POST / HTTP/1.1\r\nhost: x\r\n"+framing), make([]byte, 300000)...)
				if name == "chunked" {
					b = append(b, "\r\n0\r\n\r\n"...)
				}
				_, err := c.Write(b)
				sent <- err
			}()
			in := bufio.NewReader(c)
			a, err := http.ReadResponse(in, &http.Request{Method: "POST"})
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(a.Body); a.StatusCode != 413 || string(body) != "too large" || err != nil {
				t.Fatalf("%s %q %v", a.Status, body, err)
			}
			if a.Close {
				return
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\n\r\n")
			if _, err := http.ReadResponse(in, &http.Request{Method: "GET"}); err != nil {
				t.Errorf("the next request on a connection that was to stay: %v", err)
			}
		})
	}
}

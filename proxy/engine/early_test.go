package engine

import (
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An HTTP/2 endpoint that has answered in full may say that it wants no more of
// the request by RST_STREAM with NO_ERROR; its answer stands (RFC 9113, section
// 8.1).
func TestAnAnswerStandsThoughTheEndpointWantsNoMoreOfTheRequest(t *testing.T) {
	endpoint := tcpBackend(t, func(c net.Conn) {
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
	r := newRig(t, web(to("app"))+clusters(cluster("app", speaksH2, endpoint)))
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

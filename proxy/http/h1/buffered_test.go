package h1

import (
	"testing"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
)

func TestNothingOfATunnelIsBufferedBeforeItIsGranted(t *testing.T) {
	sc := &script{pieces: pieces(get + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\nearly")}
	NewServer(conn.New(sc, &buf.Pool{}), plain).Serve(func(down http.Stream) {
		s := down.(*serverStream)
		var h http.Head
		if err := s.ReadHead(&h); err != nil {
			t.Fatal(err)
		}
		if s.Buffered() {
			t.Error("data is there before the answer, although ReadData waits for it")
		}
		h.Reset()
		h.Status, h.Protocol = 101, "websocket"
		if err := s.WriteHead(&h, false); err != nil {
			t.Fatal(err)
		}
		if !s.Buffered() {
			t.Error("no data is there after the answer")
		}
		s.Close()
	})
}

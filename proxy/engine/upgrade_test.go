package engine

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
)

// An endpoint may end a kept connection just when a request is on its way. A
// request to upgrade is as idempotent as its method, and nothing of the tunnel
// has been sent.
func TestAnUpgradeIsRepeatedWhereTheEndpointHadEndedTheConnection(t *testing.T) {
	endpoint := tcpBackend(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		for first := true; ; first = false {
			q, err := http.ReadRequest(r)
			if err != nil || q.Header.Get("Upgrade") != "" && !first {
				return
			}
			if first && q.Header.Get("Upgrade") != "" {
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
				_, _ = io.Copy(c, r)
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
		}
	})
	r := newRig(t, webWith("upgrade_configs: [{upgrade_type: echo}]", to("app"))+clusters(cluster("app", "", endpoint)))
	address := r.serve("web")
	for range 10 {
		if a := do(t, client(t, 1), "GET", "http://"+address+"/", nil); a.StatusCode != 200 {
			t.Fatal(a.Status)
		}
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
		in := bufio.NewReader(c)
		a, err := http.ReadResponse(in, &http.Request{Method: "GET"})
		if err != nil {
			t.Fatal(err)
		}
		if a.StatusCode != http.StatusSwitchingProtocols {
			body, _ := io.ReadAll(a.Body)
			t.Fatalf("%s %s", a.Status, body)
		}
		_, _ = io.WriteString(c, "hello")
		if got := make([]byte, 5); func() error { _, err := io.ReadFull(in, got); return err }() != nil || string(got) != "hello" {
			t.Fatalf("through the tunnel came %q", got)
		}
	}
}

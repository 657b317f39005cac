package agent

import (
	"net"
	"testing"
)

func TestThePortsOfThisHostAreSeen(t *testing.T) {
	cases := []struct {
		address string
		beyond  bool
	}{{"127.0.0.1:0", false}, {"0.0.0.0:0", true}, {"[::1]:0", false}, {"[::]:0", true}}
	for _, c := range cases {
		ln, err := net.Listen("tcp", c.address)
		if err != nil {
			t.Fatal(err)
		}
		port := port(ln)
		ports, err := listeningPorts()
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := ports[port]; !ok || l.beyondLoopback != c.beyond {
			t.Errorf("%s: seen %v, beyond loopback %v", c.address, ok, l.beyondLoopback)
		}
		ln.Close()
		if ports, err = listeningPorts(); err != nil {
			t.Fatal(err)
		}
		if _, ok := ports[port]; ok {
			t.Errorf("%s: seen after it was closed", c.address)
		}
	}
}

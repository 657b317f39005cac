package conn

import (
	"context"
	"net"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
)

// Listen opens a listening TCP socket, or a unix socket for a path. Multipath
// TCP, Go's default for listeners, is off: it costs CPU for each connection and
// takes splice and sockmap away.
func Listen(network, address string) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), network, address)
}

// Dial opens a connection until deadline (monotonic nanoseconds, 0 for none).
func Dial(network, address string, deadline int64) (net.Conn, error) {
	var d net.Dialer
	d.SetMultipathTCP(false)
	if deadline != 0 {
		d.Timeout = max(time.Duration(deadline-clock.Now()), 1)
	}
	return d.Dial(network, address)
}

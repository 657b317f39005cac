package ledger

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"time"
)

// acceptPause is what a failed accept waits for descriptors.
const acceptPause = 10 * time.Millisecond

func (b *Backend) acceptTCP() {
	for {
		c, err := b.tcp.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors, most likely
			pause := time.NewTimer(acceptPause)
			<-pause.C
			continue
		}
		if b.own(c) {
			go func() {
				defer b.disown(c)
				b.serveTCP(c)
			}()
		}
	}
}

// serveTCP reads a line with the ticket and a body that ends with the
// direction, and answers with a body that does.
func (b *Backend) serveTCP(c net.Conn) {
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil && line == "" {
		return // a connection that was opened in vain
	}
	t, err := b.arrive(strings.TrimSuffix(line, "\n"))
	if err != nil {
		reset(c)
		return
	}
	early := t.Behaviour == Early
	if !early && !b.receive(&t, r) || b.pause(&t, false, nil) != nil {
		return
	}
	if t.Behaviour == Reset {
		reset(c)
		return
	}
	body := b.answer(&t)
	half := len(body) / 2
	if _, err := c.Write(body[:half]); err != nil {
		return
	}
	if t.Behaviour == Half {
		reset(c)
		return
	}
	if b.pause(&t, true, nil) != nil {
		return
	}
	if _, err := c.Write(body[half:]); err != nil {
		return
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if early {
		b.receive(&t, r)
		return
	}
	_, _ = io.Copy(io.Discard, r)
}

package engine

import (
	"bytes"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/plan"
)

// detect tells HTTP from other bytes without ever waiting for one side alone:
// the endpoint is dialed while the client is listened to, and whoever speaks
// first decides. Other bytes it carries to their end and returns nil; for HTTP,
// whose first bytes are buffered then, it returns the chain that takes them.
func (d *downstream) detect(chain *plan.Chain) *plan.Chain {
	d.idle.Store(false)
	client := make(chan error, 1)
	if len(d.c.Buffered()) > 0 {
		client <- nil // it spoke while a handshake was looked for
	} else {
		go func() { client <- d.e.contained(d.c.Fill) }()
	}
	o := d.openTCP(chain.TCP)
	if o == nil {
		<-client // the client was reset
		return nil
	}
	server := make(chan error, 1)
	far := o.far // carryAfter wraps it
	go func() { server <- d.e.contained(far.first) }()
	var idle <-chan time.Time
	if chain.TCP.IdleTimeout > 0 {
		t := time.NewTimer(chain.TCP.IdleTimeout)
		defer t.Stop()
		idle = t.C
	}
	select {
	case <-idle:
		d.c.Expire()
		o.abandon(errIdle, server)
		<-client
	case err := <-client:
		p := protocolOther
		if err == nil {
			p = protocolOf(d.c.Buffered())
		}
		if p != protocolOther {
			d.protocol.Store(p)
			o.abandon(errUnused, server)
			d.bound.Store(nil)
			return d.chain(d.e.Plan.Load())
		}
		filled := make(chan error, 1)
		filled <- err
		o.carryAfter(server, filled)
	case err := <-server:
		server <- err
		o.carryAfter(server, client)
	}
	return nil
}

// carryAfter carries once the goroutine that waits for the endpoint's first
// bytes is done: until then it alone may read from there.
func (o *outbound) carryAfter(server, client <-chan error) {
	o.far = &spoken{farEnd: o.far, done: server}
	o.carry(client)
}

// spoken is a far end that another goroutine is still listening to.
type spoken struct {
	farEnd
	done <-chan error
}

func (f *spoken) in(c *conn.Conn, count *atomic.Int64) error {
	if err := <-f.done; err != nil {
		return err
	}
	return f.farEnd.in(c, count)
}

// protocol is what the first bytes of plaintext look like.
type protocol = uint32

const (
	protocolOther protocol = iota
	protocolHTTP1
	protocolH2C
)

// protocolNames are those of Envoy's http_inspector.
var protocolNames = [...]string{protocolOther: "", protocolHTTP1: "http/1.1", protocolH2C: "h2c"}

// protocolOf looks at the first bytes of a connection.
func protocolOf(b []byte) protocol {
	switch {
	case len(b) >= 4 && bytes.HasPrefix(b, []byte(preface[:min(len(b), len(preface))])):
		return protocolH2C
	case looksHTTP(b):
		return protocolHTTP1
	}
	return protocolOther
}

// looksHTTP reports that b begins like a request line: a method of upper-case
// letters and a space and, once the line is whole, a version at its end. Redis
// and IRC have commands that look like a method.
func looksHTTP(b []byte) bool {
	method := bytes.IndexByte(b, ' ')
	if method < 0 {
		method = len(b)
	} else if method < 3 {
		return false
	}
	for i, c := range b[:method] {
		if c < 'A' || c > 'Z' || i > 20 {
			return false
		}
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	return len(b) > 0 && (!whole || bytes.Contains(line, []byte(" HTTP/")))
}

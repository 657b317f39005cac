package conn

import (
	"errors"
	"io"
	"net"
	"sync/atomic"

	"github.com/leno-mesh/leno/lib/buf"
)

// Flow counts the bytes of a relay while it runs; its fields may be read from
// any goroutine.
type Flow struct {
	Sent     atomic.Int64 // from a to b
	Received atomic.Int64 // from b to a
}

// Relay copies bytes both ways until both directions have ended, each by its
// own end of stream, which is passed on as a half close. An error ends both
// directions and closes both connections with a reset, so that neither peer
// takes the cut for an orderly end. The caller closes a and b afterwards.
func Relay(a, b *Conn, flow *Flow) error {
	back := make(chan error, 1)
	go func() {
		err := Copy(a, b, &flow.Received)
		if err != nil {
			reset(a, b)
		}
		back <- err
	}()
	err := Copy(b, a, &flow.Sent)
	if err != nil {
		reset(a, b)
	}
	if other := <-back; err == nil {
		err = other
	}
	return err
}

func reset(a, b *Conn) {
	_ = a.Reset()
	_ = b.Reset()
}

// spliceAfter is how many full buffers in a row make a direction bulk: from
// then on the kernel moves the bytes. Splicing small messages costs more than
// it saves.
const spliceAfter = 2

// splicePiece bounds one splice call in bytes, so that counters move.
const splicePiece = 16 << 20

// Copy moves bytes from src to dst until the end of the stream, which it passes
// on as a half close.
func Copy(dst, src *Conn, count *atomic.Int64) error {
	full := 0
	for {
		if p := src.Buffered(); len(p) > 0 {
			if len(p) == buf.Size {
				full++
			} else {
				full = 0
			}
			n, err := dst.Write(p)
			count.Add(int64(n))
			src.Consume(n)
			if err != nil {
				return err
			}
		}
		if full >= spliceAfter {
			from, plain := src.TCP()
			to, plainToo := dst.TCP()
			if plain && plainToo {
				src.Release()
				return spliceStream(dst, to, from, count)
			}
		}
		err := src.Fill()
		if errors.Is(err, io.EOF) {
			src.Release()
			return dst.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

// spliceStream moves bytes in the kernel until the end of the stream: Go
// splices where both ends are exactly *net.TCPConn.
func spliceStream(dst *Conn, to, from *net.TCPConn, count *atomic.Int64) error {
	for {
		n, err := io.CopyN(to, from, splicePiece)
		count.Add(n)
		if errors.Is(err, io.EOF) {
			return dst.CloseWrite()
		}
		if err != nil {
			return err
		}
	}
}

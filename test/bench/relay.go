package bench

import (
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Relay moves bytes between its clients and the backend and looks at none of
// them: what any proxy costs at the least.
func Relay(ln *net.TCPListener, to netip.AddrPort) error {
	r := &relay{to: unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}, buffer: make([]byte, 64<<10)}
	l, err := newLoop(ln, r.accepted)
	if err != nil {
		return err
	}
	r.loop = l
	return l.run()
}

type relay struct {
	loop   *loop
	to     unix.SockaddrInet4
	buffer []byte
}

func (r *relay) accepted(client int) {
	server, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		_ = unix.Close(client)
		return
	}
	_ = unix.Connect(server, &r.to)
	var up, down []byte // read from one side and not yet taken by the other
	moveUp := func(uint32) { r.move(client, server, &up) }
	moveDown := func(uint32) { r.move(server, client, &down) }
	r.loop.add(client, func(e uint32) {
		if len(down) > 0 {
			moveDown(e)
		}
		moveUp(e)
	})
	r.loop.add(server, func(e uint32) {
		if len(up) > 0 || e&unix.EPOLLOUT != 0 && e&unix.EPOLLIN == 0 {
			moveUp(e)
		}
		moveDown(e)
	})
}

// move passes on what has arrived, until one side would block or has ended.
func (r *relay) move(from, to int, pending *[]byte) {
	for {
		if len(*pending) > 0 {
			n, errno := write(to, *pending)
			if errno != 0 && errno != syscall.EAGAIN {
				r.loop.drop(from)
				r.loop.drop(to)
				return
			}
			if *pending = (*pending)[n:]; len(*pending) > 0 {
				return
			}
		}
		n, errno := read(from, r.buffer)
		if errno == syscall.EAGAIN {
			return
		}
		if n == 0 || errno != 0 {
			r.loop.drop(from)
			r.loop.drop(to)
			return
		}
		sent, errno := write(to, r.buffer[:n])
		if errno != 0 && errno != syscall.EAGAIN {
			r.loop.drop(from)
			r.loop.drop(to)
			return
		}
		*pending = append((*pending)[:0], r.buffer[sent:n]...)
		if len(*pending) == 0 && n < len(r.buffer) {
			return // a short read has emptied the socket
		}
	}
}

package bench

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// loop is a bare epoll loop for the two parts of a measurement that must cost
// as little as possible: the backend and the blind relay. Its goroutine parks
// in the runtime's poller, by the descriptor of its own epoll instance.
type loop struct {
	fd       int
	raw      syscall.RawConn
	listener int
	files    [2]*os.File // of both; they would be closed if nothing held them
	accepted func(fd int)
	ready    map[int]func(events uint32)
}

// edges is what every connection is registered for.
const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET&0xffffffff

func newLoop(ln *net.TCPListener, accepted func(fd int)) (*loop, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	self := os.NewFile(uintptr(fd), "epoll")
	raw, err := self.SyscallConn()
	if err != nil {
		return nil, err
	}
	f, err := ln.File()
	if err != nil {
		return nil, err
	}
	l := &loop{fd: fd, raw: raw, listener: int(f.Fd()), files: [2]*os.File{self, f}, accepted: accepted, ready: map[int]func(uint32){}}
	if err := unix.SetNonblock(l.listener, true); err != nil {
		return nil, err
	}
	return l, unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, l.listener, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.listener)})
}

// add watches a connection; ready is called on each edge.
func (l *loop) add(fd int, ready func(events uint32)) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	l.ready[fd] = ready
	_ = unix.EpollCtl(l.fd, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: edges, Fd: int32(fd)})
}

// drop closes a connection; epoll forgets it by itself.
func (l *loop) drop(fd int) {
	if _, open := l.ready[fd]; open {
		delete(l.ready, fd)
		_ = unix.Close(fd)
	}
}

func (l *loop) run() error {
	var events [256]unix.EpollEvent
	for {
		n := 0
		err := l.raw.Read(func(uintptr) bool {
			n = poll(l.fd, events[:])
			return n > 0
		})
		if err != nil {
			return err
		}
		for _, e := range events[:n] {
			if int(e.Fd) == l.listener {
				l.accept()
			} else if ready := l.ready[int(e.Fd)]; ready != nil {
				ready(e.Events)
			}
		}
	}
}

func (l *loop) accept() {
	for {
		fd, _, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err != nil {
			return
		}
		l.accepted(fd)
	}
}

// read and write never block.
func read(fd int, p []byte) (int, syscall.Errno) {
	return transfer(syscall.SYS_READ, fd, p)
}

func write(fd int, p []byte) (int, syscall.Errno) {
	return transfer(syscall.SYS_WRITE, fd, p)
}

package bench

import (
	"bytes"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sizes are the bodies that the backend serves, by path.
var sizes = map[string]int{"/100": 100, "/16k": 16 << 10, "/1m": 1 << 20}

// Backend answers requests for the paths of sizes from prepared bytes. It reads
// no more of HTTP than the load needs: whole requests without a body.
func Backend(ln *net.TCPListener) error {
	answers := map[string][]byte{}
	for path, size := range sizes {
		answers[path] = answer(size)
	}
	b := &backend{answers: answers, buffer: make([]byte, 64<<10)}
	l, err := newLoop(ln, b.accepted)
	if err != nil {
		return err
	}
	b.loop = l
	return l.run()
}

func answer(size int) []byte {
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n"+
		"Content-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\nCache-Control: private, max-age=0\r\n"+
		"ETag: \"5d8c72a5edda8d6a\"\r\nVary: Accept-Encoding\r\nX-Served-By: catalogue-7f3b5c1e\r\n\r\n", size)
	return append([]byte(head), bytes.Repeat([]byte("x"), size)...)
}

type backend struct {
	loop    *loop
	answers map[string][]byte
	buffer  []byte
}

func (b *backend) accepted(fd int) {
	var part, rest []byte // of a request, of an answer
	send := func() bool {
		for len(rest) > 0 {
			n, errno := write(fd, rest)
			if errno == syscall.EAGAIN {
				return true
			}
			if errno != 0 {
				b.loop.drop(fd)
				return false
			}
			rest = rest[n:]
		}
		return true
	}
	b.loop.add(fd, func(events uint32) {
		if !send() || events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) == 0 {
			return
		}
		n, errno := read(fd, b.buffer)
		if errno == syscall.EAGAIN {
			return
		}
		if n == 0 || errno != 0 {
			b.loop.drop(fd)
			return
		}
		request := b.buffer[:n]
		if len(part) > 0 || !bytes.HasSuffix(request, []byte("\r\n\r\n")) {
			part = append(part, request...)
			request = part
			if !bytes.HasSuffix(request, []byte("\r\n\r\n")) {
				return
			}
		}
		rest = append(rest, b.answers[target(request)]...)
		if len(rest) == 0 {
			b.loop.drop(fd)
			return
		}
		part = part[:0]
		send()
	})
}

// target returns the path of a request as the key of sizes that it is.
func target(request []byte) string {
	_, after, _ := bytes.Cut(request, []byte(" "))
	path, _, _ := bytes.Cut(after, []byte(" "))
	for known := range sizes {
		if string(path) == known {
			return known
		}
	}
	return ""
}

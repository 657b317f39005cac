package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"
)

// listening is what is known of a port that is listened on.
type listening struct{ beyondLoopback bool }

// listeningPorts returns the TCP ports that are listened on in this network
// namespace. It asks the kernel for listening sockets alone (sock_diag(7)): the
// cost does not grow with the connections of the host, as reading
// /proc/net/tcp's would.
func listeningPorts() (map[uint16]listening, error) {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	defer syscall.Close(fd)
	timeout := syscall.Timeval{Sec: 1}
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &timeout); err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	out := map[uint16]listening{}
	for _, family := range []uint8{syscall.AF_INET, syscall.AF_INET6} {
		err := askListening(fd, family, func(a netip.AddrPort) {
			l := out[a.Port()]
			l.beyondLoopback = l.beyondLoopback || !a.Addr().Unmap().IsLoopback()
			out[a.Port()] = l
		})
		if err != nil {
			return nil, fmt.Errorf("ask sock_diag: %w", err)
		}
	}
	return out, nil
}

// What linux/sock_diag.h and linux/inet_diag.h define.
const (
	netlinkSockDiag   = 4
	sockDiagByFamily  = 20
	diagRequestSize   = 56 // struct inet_diag_req_v2
	diagMessageSize   = 72 // struct inet_diag_msg
	stateListenMask   = 1 << 10
	diagSourcePort    = 4 // offsets in struct inet_diag_msg
	diagSourceAddress = 8
)

func askListening(fd int, family uint8, found func(netip.AddrPort)) error {
	request := make([]byte, syscall.NLMSG_HDRLEN+diagRequestSize)
	header := (*syscall.NlMsghdr)(unsafe.Pointer(&request[0]))
	header.Len = uint32(len(request))
	header.Type = sockDiagByFamily
	header.Flags = syscall.NLM_F_REQUEST | syscall.NLM_F_DUMP
	body := request[syscall.NLMSG_HDRLEN:]
	body[0], body[1] = family, syscall.IPPROTO_TCP
	binary.NativeEndian.PutUint32(body[4:], stateListenMask)
	if err := syscall.Sendto(fd, request, 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return err
	}
	buffer := make([]byte, 32<<10)
	for {
		n, _, err := syscall.Recvfrom(fd, buffer, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			switch m.Header.Type {
			case syscall.NLMSG_DONE:
				return nil
			case syscall.NLMSG_ERROR:
				if len(m.Data) < 4 {
					return errors.New("the kernel answers with an error that cannot be read")
				}
				return syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
			case sockDiagByFamily:
				if a, ok := diagAddress(m.Data); ok {
					found(a)
				}
			}
		}
	}
}

// diagAddress reads the local address of a struct inet_diag_msg.
func diagAddress(m []byte) (netip.AddrPort, bool) {
	if len(m) < diagMessageSize {
		return netip.AddrPort{}, false
	}
	length := 4
	if m[0] == syscall.AF_INET6 {
		length = 16
	}
	a, ok := netip.AddrFromSlice(m[diagSourceAddress : diagSourceAddress+length])
	return netip.AddrPortFrom(a, binary.BigEndian.Uint16(m[diagSourcePort:])), ok
}

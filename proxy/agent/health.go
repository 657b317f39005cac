package agent

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h1"
)

const (
	healthEvery   = 500 * time.Millisecond
	healthTimeout = 2 * time.Second
)

// health is the state of the application.
type health struct {
	reason     string // why it cannot be called, empty if it can
	bypassable bool   // it listens beyond loopback
}

// checkHealth looks whether the application listens, without connecting to it,
// and asks its health page if it has one. Where the proxy cannot look, because
// it is out of descriptors for example, that says nothing of the application:
// before stays.
func (j *joined) checkHealth(before health) health {
	var h health
	if len(j.Ports) == 0 {
		return h
	}
	listening, err := listeningPorts()
	if err != nil {
		j.Log.Debug("the ports that are listened on cannot be seen", "error", err)
		return before
	}
	for _, p := range j.Ports {
		a, ok := listening[p]
		if !ok {
			h.reason = fmt.Sprintf("nothing listens on port %d", p)
			return h
		}
		h.bypassable = h.bypassable || a.beyondLoopback
	}
	if j.Health != "" {
		h.reason = j.askHealth(j.Ports[0])
	}
	return h
}

// askHealth sends GET to the application's health page; "" is healthy.
func (j *joined) askHealth(port uint16) string {
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String()
	deadline := clock.Now() + int64(healthTimeout)
	pool := h1.NewPool(h1.PoolOptions{MaxIdle: -1, Dial: func(int64) (*conn.Conn, error) {
		nc, err := conn.Dial("tcp", address, deadline)
		if err != nil {
			return nil, err
		}
		c := conn.New(nc, &j.proxy.engine.Buffers)
		c.SetDeadline(clock.Time(deadline))
		return c, nil
	}})
	s, err := pool.Open(deadline)
	if err != nil {
		return "its health page cannot be reached: " + err.Error()
	}
	defer s.Close()
	var head http.Head
	head.SetMethodString("GET")
	head.SetSchemeString("http")
	head.SetAuthorityString(address)
	head.SetPathString(j.Health)
	if err := s.WriteHead(&head, true); err != nil {
		return "its health page cannot be asked: " + err.Error()
	}
	if err := s.ReadHead(&head); err != nil {
		return "its health page does not answer: " + err.Error()
	}
	if head.Status/100 != 2 {
		return fmt.Sprintf("its health page %s answers %d", j.Health, head.Status)
	}
	return ""
}

// resident returns the resident memory of this process in bytes, 0 if it is not
// known.
func resident() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	n, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return n * uint64(os.Getpagesize())
}

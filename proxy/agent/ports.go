package agent

import (
	"bytes"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"github.com/leno-mesh/leno/lib/durable"
)

// ports are those that a sidecar had before: where others still look for it
// when it starts again while the control plane is away.
type ports struct {
	mesh      uint16
	plaintext map[uint16]uint16 // by the application's port
}

const (
	portsFile = "ports"
	maxPorts  = 64 << 10 // bytes of the file
)

// savePorts writes a line for each port: "mesh PORT" or "plaintext APP PORT".
func savePorts(dir string, mesh uint16, apps, plaintext []uint16) error {
	b := fmt.Appendf(nil, "mesh %d\n", mesh)
	for i, app := range apps {
		b = fmt.Appendf(b, "plaintext %d %d\n", app, plaintext[i])
	}
	if err := durable.WriteFile(filepath.Join(dir, portsFile), b); err != nil {
		return fmt.Errorf("save ports: %w", err)
	}
	return nil
}

// loadPorts returns what savePorts wrote. What cannot be read is left out: any
// other port does too, once the control plane knows it.
func loadPorts(dir string) ports {
	p := ports{plaintext: map[uint16]uint16{}}
	b, err := durable.ReadPrivate(filepath.Join(dir, portsFile), maxPorts)
	if err != nil {
		return p
	}
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		switch {
		case len(f) == 2 && string(f[0]) == "mesh":
			p.mesh = portNumber(f[1])
		case len(f) == 3 && string(f[0]) == "plaintext":
			p.plaintext[portNumber(f[1])] = portNumber(f[2])
		}
	}
	return p
}

// portNumber is 0 for what is none.
func portNumber(b []byte) uint16 {
	n, err := strconv.ParseUint(string(b), 10, 16)
	if err != nil {
		return 0
	}
	return uint16(n)
}

// bindAgain binds the port that the sidecar had before, or, where that is taken
// or there was none, one that the kernel chooses.
func (j *joined) bindAgain(before uint16) (net.Listener, error) {
	host := j.Address.String()
	if before != 0 {
		if ln, err := j.proxy.bind(net.JoinHostPort(host, strconv.Itoa(int(before)))); err == nil {
			return ln, nil
		}
	}
	return j.proxy.bind(net.JoinHostPort(host, "0"))
}

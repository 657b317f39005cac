package agent

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func TestPortsSurviveARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if p := loadPorts(dir); p.mesh != 0 || len(p.plaintext) != 0 {
		t.Errorf("without a file: %+v", p)
	}
	if err := savePorts(dir, 40001, []uint16{80, 90}, []uint16{40002, 40003}); err != nil {
		t.Fatal(err)
	}
	if p := loadPorts(dir); p.mesh != 40001 || !maps.Equal(p.plaintext, map[uint16]uint16{80: 40002, 90: 40003}) {
		t.Errorf("read back: %+v", p)
	}
	if err := os.WriteFile(filepath.Join(dir, portsFile), []byte("mesh 99999\nplaintext x\n\x00\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := loadPorts(dir); p.mesh != 0 {
		t.Errorf("of garbage: %+v", p)
	}
}

func TestATakenPortIsGivenUp(t *testing.T) {
	j := &joined{Sidecar: Sidecar{Address: netip.MustParseAddr("127.0.0.1")}, proxy: &proxy{}}
	first, err := j.bindAgain(0)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	second, err := j.bindAgain(port(first))
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if port(second) == port(first) {
		t.Error("one port, two listeners")
	}
}

func TestTheAdminSocketReplacesNothingButASocket(t *testing.T) {
	file := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ln, err := listenAdmin("unix", file); err == nil {
		ln.Close()
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "x" {
		t.Errorf("the file is %q, %v", b, err)
	}
}

//go:build real

package real

import (
	"bytes"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/leno-mesh/leno/cli/supervise"
)

// newMarker returns 64 random bits in letters that HPACK writes as they are:
// Huffman's code for X and Z is no shorter than the letters.
func newMarker() string {
	var bits [64]byte
	_, _ = rand.Read(bits[:])
	for i, b := range bits {
		bits[i] = "XZ"[b&1]
	}
	return string(bits[:])
}

// capture records what passes between the client's namespace and the others
// while f runs, and returns the bytes.
func (w *world) capture(f func()) []byte {
	w.Helper()
	file := w.dir + "/capture.pcap"
	said := &log{}
	cmd := exec.Command("nsenter", "--net="+w.hub.file(), "tcpdump", "-i", "client", "-w", file, "-s", "0", "-U", "-n", "-B", "65536", "-Z", "root")
	cmd.Stderr = said
	process, err := supervise.Start(cmd)
	if err != nil {
		w.Fatal(err)
	}
	dump := &program{process, "tcpdump", said}
	defer dump.end(syscall.SIGKILL)
	w.until("tcpdump listens", 10*time.Second, func() bool { return strings.Contains(said.String(), "listening on") })
	f()
	// Packets are written in their order: all are there when the last one is.
	last := newMarker()
	conn, err := w.client.dial("udp", addressHub+":9")
	if err != nil {
		w.Fatal(err)
	}
	if _, err := conn.Write([]byte(last)); err != nil {
		w.Fatal(err)
	}
	conn.Close()
	w.until("tcpdump has written the last packet", 20*time.Second, func() bool { return bytes.Contains(end(file), []byte(last)) })
	dump.end(syscall.SIGINT)
	if !strings.Contains(said.String(), "\n0 packets dropped by kernel") {
		w.Errorf("the capture is not complete: %s", said)
	}
	content, err := os.ReadFile(file)
	if err != nil {
		w.Fatal(err)
	}
	os.Remove(file)
	return content
}

// end is the last part of a file.
func end(file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	if size, err := f.Seek(0, io.SeekEnd); err == nil {
		_, _ = f.Seek(max(0, size-4096), io.SeekStart)
	}
	part, _ := io.ReadAll(f)
	return part
}

// marked runs f with a marker that it sends and gets, with mutual TLS and
// without, and looks for it on the way.
func (w *world) marked(row *row, service string, f func(marker string)) {
	w.Helper()
	look := func() (seen bool) {
		marker := newMarker()
		captured := w.capture(func() { f(marker) })
		if len(captured) < 1024 {
			w.Errorf("only %d bytes of %s were captured", len(captured), service)
		}
		return bytes.Contains(captured, []byte(marker))
	}
	row.seen = look()
	w.withoutTLS(service, func() { row.seenWithout = look() })
	if row.seen {
		w.Errorf("%s: the marker was seen between the namespaces", service)
	}
	if !row.seenWithout {
		w.Errorf("%s: the marker was not seen with mTLS off, so the capture proves nothing", service)
	}
}

package bench

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/proxy/agent"
)

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.(*net.TCPListener)
}

func TestTheBackendAnswersThroughTheBlindRelay(t *testing.T) {
	back, front := listen(t), listen(t)
	go func() { _ = Backend(back) }()
	go func() { _ = Relay(front, back.Addr().(*net.TCPAddr).AddrPort()) }()
	for path, size := range sizes {
		for range 3 {
			answer, err := http.Get("http://" + front.Addr().String() + path)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != 200 || !bytes.Equal(body, bytes.Repeat([]byte("x"), size)) {
				t.Errorf("%s: %d, %d bytes, %v", path, answer.StatusCode, len(body), err)
			}
		}
	}
}

func TestLenoTakesTheSharedBootstrap(t *testing.T) {
	dir := t.TempDir()
	if err := certificate(dir); err != nil {
		t.Fatal(err)
	}
	free, err := freePorts(5)
	if err != nil {
		t.Fatal(err)
	}
	file, err := render(ports{dir, free[0], free[1], free[2], free[3], free[4]}, "bootstrap.yaml", "bootstrap.yaml")
	if err != nil {
		t.Fatal(err)
	}
	many := filepath.Join(dir, "many.yaml")
	if err := os.WriteFile(many, []byte(manyClusters(free[0], free[1], free[2])), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{file, many} {
		b, _, err := agent.LoadBootstrap(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.Check(b); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

func TestReportsOfH2loadAreRead(t *testing.T) {
	l, err := readH2load(`finished in 2.00s, 50000.00 req/s, 14.10MB/s
requests: 100000 total, 100256 started, 100000 done, 99990 succeeded, 10 failed, 0 errored, 0 timeout
                     min         max         mean         sd        +/- sd
time for request:      173us     12.30ms      2.72ms       550us    83.76%
`)
	if want := (load{Done: 99990, Errors: 10, Micros: 99990.0 / 50000 * 1e6, P50: 2720}); err != nil || l != want {
		t.Errorf("got %+v, %v, want %+v", l, err, want)
	}
	if _, err := readH2load("Could not connect"); err == nil {
		t.Error("nonsense was read")
	}
}

func TestPublishReplacesOnlyWhatIsBetweenTheMarkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	const begin, end = "<!-- bench-x: written by make bench-x -->\n", "<!-- end of bench-x -->"
	if err := os.WriteFile(file, []byte("before\n"+begin+"old\n"+end+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Publish(file, "bench-x", "new"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if want := "before\n" + begin + "\nnew\n" + end + "\nafter\n"; err != nil || string(got) != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	if err := Publish(file, "bench-y", "new"); err == nil || !strings.Contains(err.Error(), "no markers of bench-y") {
		t.Errorf("error is %v", err)
	}
}

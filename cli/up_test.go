package cli

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// runUp runs a server verb and returns the lines that it says, until stop.
func runUp(t *testing.T, verb string, args ...string) (dir string, lines *bufio.Scanner, stop func() (code int, rest string)) {
	t.Helper()
	dir, err := os.MkdirTemp("", "leno")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r, w := io.Pipe()
	var rest bytes.Buffer
	env := &Env{
		In: strings.NewReader(""), Out: w, Err: w, Now: time.Now, Version: "v0",
		Getenv: func(name string) string {
			return map[string]string{"XDG_RUNTIME_DIR": filepath.Join(dir, "run"), "XDG_DATA_HOME": filepath.Join(dir, "data")}[name]
		},
	}
	ended := make(chan int, 1)
	go func() {
		code := Main(ctx, env, append([]string{verb, "--listen", "127.0.0.1:0"}, args...))
		w.Close()
		ended <- code
	}()
	lines = bufio.NewScanner(r)
	return dir, lines, func() (int, string) {
		cancel()
		for lines.Scan() {
			rest.WriteString(lines.Text() + "\n")
		}
		return <-ended, rest.String()
	}
}

func TestUpSaysWhereItIsAndWhatToDo(t *testing.T) {
	dir, lines, stop := runUp(t, "up", "--admin", "127.0.0.1:0")
	var said []string
	for len(said) < 4 && lines.Scan() {
		said = append(said, lines.Text())
	}
	for i, want := range []string{
		`^Mesh [a-z0-9]+\.leno\.internal takes proxies on 127\.0\.0\.1:\d+\.$`,
		`^Talk to it:  leno status  \(or http://127\.0\.0\.1:\d+ with the token in ` + regexp.QuoteMeta(dir) + `/data/leno/admin\.token\)$`,
		`^Next:        leno run --service web --port 8080 -- COMMAND$`,
		`^Ready after \d+ ms\. Ctrl-C ends it\.$`,
	} {
		if i >= len(said) || !regexp.MustCompile(want).MatchString(said[i]) {
			t.Errorf("line %d of %q is not %s", i, said, want)
		}
	}
	for path, mode := range map[string]os.FileMode{"run/leno/admin.sock": 0o600, "data/leno/admin.token": 0o600, "data/leno": 0o700} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	if code, rest := stop(); code != 0 || rest != "" {
		t.Errorf("exit %d: %s", code, rest)
	}
}

func TestUpNamesASocketThatCommandsWouldNotLookFor(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	_, lines, stop := runUp(t, "up", "--admin", "", "--socket", socket)
	var said []string
	for len(said) < 4 && lines.Scan() {
		said = append(said, lines.Text())
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{"Talk to it:  LENO_SERVER=" + socket + " leno status\n", "Next:        LENO_SERVER=" + socket + " leno run --service web "} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in:\n%s", want, all)
		}
	}
	if code, rest := stop(); code != 0 || rest != "" {
		t.Errorf("exit %d: %s", code, rest)
	}
}

func TestServerLogsItsLife(t *testing.T) {
	dir, lines, stop := runUp(t, "server", "--data", filepath.Join(t.TempDir(), "data"))
	if !lines.Scan() || !strings.Contains(lines.Text(), "msg=ready") || !strings.Contains(lines.Text(), "socket="+dir) {
		t.Errorf("it said %q", lines.Text())
	}
	if code, rest := stop(); code != 0 || !strings.Contains(rest, "msg=ended") {
		t.Errorf("exit %d: %s", code, rest)
	}
}

func TestUpSaysInASentenceWhyItCannot(t *testing.T) {
	_, _, stop := runUp(t, "up", "--admin", "192.0.2.1:80")
	if code, rest := stop(); code != ExitRefused || strings.Count(rest, "\n") != 1 || !strings.Contains(rest, "give a loopback address") {
		t.Errorf("exit %d: %s", code, rest)
	}
	_, _, stop = runUp(t, "up", "--log-level", "loud")
	if code, rest := stop(); code != ExitUsage || !strings.Contains(rest, `There is no log level "loud"`) {
		t.Errorf("exit %d: %s", code, rest)
	}
}

//go:build real

package real

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/leno-mesh/leno/cli/supervise"
)

// unprivileged is the user nobody, as whom everything runs: no part of Leno
// needs more, and PostgreSQL refuses root.
const unprivileged = 65534

// program runs in a place until the test ends.
type program struct {
	*supervise.Process
	what string
	log  *log
}

// log is what a program says. It has its own lock: the program's output is
// copied on another goroutine.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// command is a command line that runs in this place as nobody.
func (p *place) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + p.file(), "setpriv", "--reuid=" + strconv.Itoa(unprivileged),
		"--regid=" + strconv.Itoa(unprivileged), "--clear-groups", "--pdeathsig=KILL"}, args...)...)
	cmd.Dir = p.world.dir
	cmd.Env = append(os.Environ(), "HOME="+p.world.dir, "LC_ALL=C.UTF-8", "HTTP_PROXY=", "http_proxy=", "NO_PROXY=", "no_proxy=", "LENO_SERVER="+p.world.socket())
	cmd.WaitDelay = time.Second
	return cmd
}

// start starts a program and ends it with the test, in order if it can.
func (p *place) start(what string, args ...string) *program {
	p.world.Helper()
	said := &log{}
	cmd := p.command(context.Background(), args...)
	cmd.Stdout, cmd.Stderr = said, said
	process, err := supervise.Start(cmd)
	if err != nil {
		p.world.Fatalf("start %s: %v", what, err)
	}
	started := &program{process, what + " in " + filepath.Base(p.file()), said}
	p.world.Cleanup(func() {
		started.end(syscall.SIGTERM)
		if p.world.Failed() {
			p.world.Logf("%s said:\n%s", started.what, tail(said.String(), 4000))
		}
	})
	return started
}

func tail(s string, n int) string {
	if len(s) > n {
		return "... " + s[len(s)-n:]
	}
	return s
}

// end signals a program and waits for its end.
func (p *program) end(sig syscall.Signal) {
	_ = p.Signal(sig)
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		_ = p.Signal(syscall.SIGKILL)
		<-p.Done()
	}
}

// killCommand kills the program that leno run started, with all its children, and
// waits until it is gone: a dying process's socket still takes connections for
// some milliseconds, only to reset them, whoever asks.
func (p *program) killCommand() {
	for _, child := range children(p.PID()) {
		if isSidecar(child) {
			continue
		}
		kill(tree(child))
		for end := time.Now().Add(5 * time.Second); syscall.Kill(child, 0) == nil && time.Now().Before(end); {
			runtime.Gosched()
		}
	}
}

// killSidecar kills the sidecar and nothing else.
func (p *program) killSidecar() {
	kill(slices.DeleteFunc(children(p.PID()), func(pid int) bool { return !isSidecar(pid) }))
}

func isSidecar(pid int) bool {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return filepath.Base(name) == "leno-proxy"
}

func kill(pids []int) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// killAll kills leno run, its sidecar and its program, in no order.
func (p *program) killAll() {
	kill(tree(p.PID()))
	<-p.Done()
}

func tree(pid int) []int {
	all := []int{pid}
	for _, child := range children(pid) {
		all = append(all, tree(child)...)
	}
	return all
}

func children(pid int) []int {
	var all []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for field := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(field); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
	took     time.Duration
}

// try runs a command to its end, which must come within the limit.
func (p *place) try(limit time.Duration, environ []string, input string, args ...string) result {
	ctx, stop := context.WithTimeout(context.Background(), limit)
	defer stop()
	cmd := p.command(ctx, args...)
	cmd.Env = append(cmd.Env, environ...)
	cmd.Stdin = strings.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	begun := time.Now()
	err := cmd.Run()
	r := result{out.String(), errOut.String(), 0, time.Since(begun)}
	if err != nil {
		r.code = -1
		if cmd.ProcessState != nil {
			r.code = cmd.ProcessState.ExitCode()
		}
		r.err += err.Error()
	}
	return r
}

// output runs a command that must succeed within two minutes.
func (p *place) output(args ...string) string {
	p.world.Helper()
	return p.outputOf(nil, "", args...)
}

func (p *place) outputOf(environ []string, input string, args ...string) string {
	p.world.Helper()
	r := p.try(2*time.Minute, environ, input, args...)
	if r.code != 0 {
		p.world.Fatalf("%s: exit %d after %s\n%s\n%s", strings.Join(args, " "), r.code, r.took, tail(r.out, 3000), tail(r.err, 3000))
	}
	return r.out
}

// dial opens a connection from inside this place. The thread that enters the
// namespace is never used again: its goroutine ends locked to it.
func (p *place) dial(network, address string) (net.Conn, error) {
	type dialled struct {
		conn net.Conn
		err  error
	}
	done := make(chan dialled)
	go func() {
		runtime.LockOSThread()
		file, err := os.Open(p.file())
		if err != nil {
			done <- dialled{err: err}
			return
		}
		defer file.Close()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- dialled{err: err}
			return
		}
		conn, err := net.DialTimeout(network, address, 5*time.Second)
		done <- dialled{conn, err}
	}()
	d := <-done
	return d.conn, d.err
}

package supervise

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test binary be the sidecar, the command and the supervisor
// of its own tests.
func TestMain(m *testing.M) {
	role := ""
	if len(os.Args) > 1 {
		role = os.Args[1]
	}
	switch role {
	case "sidecar":
		os.Exit(fakeSidecar(os.Args[2:]))
	case "command":
		os.Exit(fakeCommand(os.Args[2:]))
	case "supervisor":
		os.Exit(fakeSupervisor(os.Args[2], os.Args[3]))
	}
	goleak.VerifyTestMain(m)
}

// fakeSidecar keeps the contract of a sidecar and says what it was told.
func fakeSidecar(args []string) int {
	flags := make(map[string]string)
	for i := 0; i+1 < len(args); i += 2 {
		flags[args[i]] = args[i+1]
	}
	out := os.NewFile(3, "ready")
	answer := func(r ready) {
		json.NewEncoder(out).Encode(r)
		out.Close()
	}
	if why := os.Getenv("TEST_SIDECAR_FAILS"); why != "" {
		answer(ready{Error: why})
		return 1
	}
	if os.Getenv("TEST_SIDECAR_HANGS") != "" {
		fmt.Println("sidecar hangs")
		select {}
	}
	terminated := make(chan os.Signal, 1)
	signal.Notify(terminated, syscall.SIGTERM)
	l, err := net.Listen("tcp", flags["--http-proxy"])
	if err != nil {
		answer(ready{Error: err.Error()})
		return 1
	}
	token, _ := os.ReadFile(flags["--token-file"])
	info, _ := os.Stat(filepath.Dir(flags["--admin"]))
	fmt.Printf("sidecar %d %s token=%s private=%04o %s\n", os.Getpid(), l.Addr(), strings.TrimSpace(string(token)), info.Mode().Perm(), strings.Join(args, " "))
	answer(ready{HTTPProxy: l.Addr().String(), Mesh: "127.0.0.1:1", Admin: flags["--admin"], Workload: flags["--workload"]})
	<-terminated
	if os.Getenv("TEST_SIDECAR_STAYS") != "" {
		fmt.Println("sidecar stays")
		select {}
	}
	fmt.Println("sidecar drained")
	return 0
}

// fakeCommand does one thing.
func fakeCommand(args []string) int {
	switch args[0] {
	case "exit":
		code, _ := strconv.Atoi(args[1])
		return code
	case "env":
		for _, name := range args[1:] {
			fmt.Printf("%s=%s\n", name, os.Getenv(name))
		}
	case "cat":
		io.Copy(os.Stdout, os.Stdin)
	case "die":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "count": // says every signal until one to terminate
		signals := make(chan os.Signal, 8)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
		fmt.Println("command", os.Getpid())
		for sig := range signals {
			if fmt.Println("command got", sig); sig == syscall.SIGTERM {
				break
			}
		}
	case "wait": // says which signal came
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1)
		fmt.Println("command", os.Getpid())
		fmt.Println("command got", <-signals)
		return 9
	}
	return 0
}

// fakeSupervisor runs a command.
func fakeSupervisor(dir, command string) int {
	os.Setenv("TMPDIR", dir)
	code, err := Run(configFor([]string{command}, os.Stdout))
	if err != nil {
		fmt.Println("failed:", err)
	}
	return code
}

func configFor(command []string, out *os.File) Config {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Config{
		Sidecar: []string{self}, Server: "127.0.0.1:15012", Token: "leno1.ID.SECRET.ROOT", LogLevel: "warn",
		Workload: Workload{Namespace: "shop", Service: "cart", Account: "cart", Name: "cart-1", Address: "127.0.0.1",
			Ports: []int{8080, 9090}, Labels: []string{"version=v1"}, Upstreams: []string{"stock:25=2525"}, Health: "/healthz"},
		Command: append([]string{self, "command"}, command...), Environ: []string{"NO_PROXY=10.0.0.1,*,localhost", "HTTP_PROXY=http://old", "KEPT=yes"},
		In: nil, Out: out, Err: out, Log: slog.New(slog.NewTextHandler(out, nil)),
	}
}

// talk is what everybody says, line by line. It ends when all have ended.
type talk struct {
	t     *testing.T
	lines *bufio.Scanner
	w     *os.File
	dir   string // TMPDIR
}

func newTalk(t *testing.T) *talk {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	dir := t.TempDir()
	if len(dir) > 64 {
		if dir, err = os.MkdirTemp("/tmp", "supervise"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	t.Setenv("TMPDIR", dir)
	return &talk{t: t, lines: bufio.NewScanner(r), w: w, dir: dir}
}

// until returns the first line that has a prefix.
func (k *talk) until(prefix string) string {
	k.t.Helper()
	for k.lines.Scan() {
		if strings.HasPrefix(k.lines.Text(), prefix) {
			return k.lines.Text()
		}
	}
	k.t.Fatalf("nobody said %q", prefix)
	return ""
}

// rest returns all that is said until everybody has ended.
func (k *talk) rest() []string {
	k.w.Close()
	var all []string
	for k.lines.Scan() {
		all = append(all, k.lines.Text())
	}
	return all
}

// clean fails the test when a file is left.
func (k *talk) clean() {
	k.t.Helper()
	if left, _ := filepath.Glob(filepath.Join(k.dir, "*")); len(left) > 0 {
		k.t.Errorf("left behind: %v", left)
	}
}

func TestRunGivesTheCommandsExitCode(t *testing.T) {
	for _, c := range []struct {
		command []string
		want    int
	}{
		{[]string{"exit", "0"}, 0},
		{[]string{"exit", "7"}, 7},
		{[]string{"die"}, 137},
	} {
		t.Run(strings.Join(c.command, " "), func(t *testing.T) {
			k := newTalk(t)
			code, err := Run(configFor(c.command, k.w))
			if err != nil || code != c.want {
				t.Errorf("code %d, %v; want %d", code, err, c.want)
			}
			said := k.rest()
			if len(said) != 2 || said[1] != "sidecar drained" {
				t.Errorf("said %q", said)
			}
			k.clean()
		})
	}
}

func TestTheSidecarIsToldWhatTheWorkloadIs(t *testing.T) {
	k := newTalk(t)
	if _, err := Run(configFor([]string{"exit", "0"}, k.w)); err != nil {
		t.Fatal(err)
	}
	line := k.until("sidecar ")
	for _, want := range []string{
		"token=leno1.ID.SECRET.ROOT ", "private=0700", " --server 127.0.0.1:15012 ", " --namespace shop --service cart --account cart --workload cart-1 --address 127.0.0.1 ",
		" --http-proxy 127.0.0.1:0 ", "/admin.sock --ready-fd 3 --drain-timeout 10s --log-level warn --token-file ", " --health /healthz --port 8080 --port 9090 --label version=v1 --upstream stock:25=2525",
	} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is missing in %q", want, line)
		}
	}
	if _, args, _ := strings.Cut(line, "sidecar "); strings.Count(args, "SECRET") != 1 {
		t.Error("the token is on the command line")
	}
}

func TestTheCommandIsLedThroughTheSidecar(t *testing.T) {
	k := newTalk(t)
	if _, err := Run(configFor([]string{"env", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "LENO_WORKLOAD", "LENO_NAMESPACE", "KEPT"}, k.w)); err != nil {
		t.Fatal(err)
	}
	address := strings.Fields(k.until("sidecar "))[2]
	want := []string{
		"HTTP_PROXY=http://" + address, "http_proxy=http://" + address,
		"NO_PROXY=localhost,127.0.0.1,::1,10.0.0.1", "no_proxy=localhost,127.0.0.1,::1,10.0.0.1",
		"LENO_WORKLOAD=cart-1", "LENO_NAMESPACE=shop", "KEPT=yes", "sidecar drained",
	}
	if got := k.rest(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestStandardInputReachesTheCommand(t *testing.T) {
	k := newTalk(t)
	cfg := configFor([]string{"cat"}, k.w)
	cfg.In = strings.NewReader("hello\n")
	if _, err := Run(cfg); err != nil {
		t.Fatal(err)
	}
	k.until("hello")
}

func TestASidecarThatCannotJoinEndsTheRun(t *testing.T) {
	k := newTalk(t)
	t.Setenv("TEST_SIDECAR_FAILS", "the join token was used already")
	_, err := Run(configFor([]string{"env", "X"}, k.w))
	if err == nil || err.Error() != "the join token was used already" {
		t.Errorf("err %v", err)
	}
	if said := k.rest(); len(said) != 0 {
		t.Errorf("said %q", said)
	}
	k.clean()
}

func TestACommandThatCannotBeRunHasTheCodeOfAShell(t *testing.T) {
	k := newTalk(t)
	files := t.TempDir()
	plain, spoiled := filepath.Join(files, "plain"), filepath.Join(files, "spoiled")
	if err := errors.Join(os.WriteFile(plain, nil, 0o600), os.WriteFile(spoiled, []byte("\x7fELF"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		command string
		want    int
	}{
		{"/nowhere/program", 127}, {"no-such-program", 127}, {plain, 126}, {files, 126},
		{spoiled, 126}, // found only when it is started, after the sidecar
	} {
		cfg := configFor(nil, k.w)
		cfg.Command = []string{c.command}
		if code, err := Run(cfg); code != c.want || err == nil || !strings.HasPrefix(err.Error(), "cannot run the command: ") {
			t.Errorf("%s: code %d, %v; want %d", c.command, code, err, c.want)
		}
	}
	if said := k.rest(); len(said) != 2 || said[1] != "sidecar drained" {
		t.Errorf("said %q; one sidecar was to run", said)
	}
	k.clean()
}

func TestASidecarThatDiesIsStartedAgainInItsPlace(t *testing.T) {
	k := newTalk(t)
	done := make(chan int, 1)
	go func() {
		code, _ := Run(configFor([]string{"wait"}, k.w))
		done <- code
	}()
	first := strings.Fields(k.until("sidecar "))
	command := strings.Fields(k.until("command "))
	kill(t, first[1], syscall.SIGKILL)
	second := k.until("sidecar ")
	if words := strings.Fields(second); words[1] == first[1] || words[2] != first[2] || strings.Contains(second, "--token-file") || words[3] != "token=" {
		t.Errorf("the second sidecar is %q, the first was %q", second, first)
	}
	kill(t, command[1], syscall.SIGUSR1)
	if code := <-done; code != 9 {
		t.Errorf("code %d", code)
	}
	said := k.rest()
	if !slices.Equal(said, []string{"command got user defined signal 1", "sidecar drained"}) {
		t.Errorf("said %q", said)
	}
	k.clean()
}

func kill(t *testing.T, pid string, sig syscall.Signal) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n, sig); err != nil {
		t.Fatal(err)
	}
}

// startSupervisor runs a supervisor in a process and session of its own.
func startSupervisor(t *testing.T, k *talk) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "supervisor", k.dir, "wait")
	cmd.Stdout, cmd.Stderr = k.w, k.w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestSignalsAreForwarded(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			k := newTalk(t)
			cmd := startSupervisor(t, k)
			k.until("command ")
			cmd.Process.Signal(sig)
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 9 {
				t.Errorf("exit code %d", code)
			}
			if said := k.rest(); !slices.Equal(said, []string{"command got " + sig.String(), "sidecar drained"}) {
				t.Errorf("said %q", said)
			}
			k.clean()
		})
	}
}

func TestASignalEndsTheWaitForTheSidecar(t *testing.T) {
	k := newTalk(t)
	t.Setenv("TEST_SIDECAR_HANGS", "yes")
	cmd := startSupervisor(t, k)
	k.until("sidecar hangs")
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 143 {
		t.Errorf("exit code %d", code)
	}
	if said := k.rest(); len(said) != 0 {
		t.Errorf("said %q", said)
	}
	k.clean()
}

func TestTheSecondSignalEndsTheDraining(t *testing.T) {
	k := newTalk(t)
	t.Setenv("TEST_SIDECAR_STAYS", "yes")
	cmd := startSupervisor(t, k)
	k.until("command ")
	cmd.Process.Signal(syscall.SIGTERM)
	k.until("sidecar stays")
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 {
		t.Errorf("exit code %d", code)
	}
	k.rest()
	k.clean()
}

func TestNothingOutlivesAKilledSupervisor(t *testing.T) {
	k := newTalk(t)
	cmd := startSupervisor(t, k)
	k.until("command ")
	cmd.Process.Kill()
	cmd.Wait()
	// The pipe ends when the last process that holds it has ended.
	if said := k.rest(); len(said) != 0 {
		t.Errorf("said %q", said)
	}
}

func TestWhatAKilledSupervisorLeftIsRemovedByTheNext(t *testing.T) {
	k := newTalk(t)
	cmd := startSupervisor(t, k)
	k.until("command ")
	cmd.Process.Kill()
	cmd.Wait()
	k.rest()
	if left, _ := filepath.Glob(filepath.Join(k.dir, "leno-run-*", "state")); len(left) != 1 {
		t.Errorf("it has left %v", left)
	}
	if _, err := Run(configFor([]string{"exit", "0"}, os.Stderr)); err != nil {
		t.Fatal(err)
	}
	k.clean()
}

func TestFindPrefersTheSmallBinary(t *testing.T) {
	dir := t.TempDir()
	leno := filepath.Join(dir, "leno")
	if got := Find(leno); !slices.Equal(got, []string{leno, "proxy"}) {
		t.Errorf("alone: %q", got)
	}
	beside := filepath.Join(dir, "leno-proxy")
	if err := os.WriteFile(beside, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got := Find(leno); !slices.Equal(got, []string{beside}) {
		t.Errorf("with a neighbour: %q", got)
	}
}

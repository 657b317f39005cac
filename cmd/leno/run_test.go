package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// get is a program that asks for one page and has the exit code 17.
func get(url string) int {
	answer, err := (&http.Client{Timeout: 10 * time.Second}).Get(url)
	if err != nil {
		fmt.Println("failed:", err)
		return 1
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	fmt.Printf("%d %s", answer.StatusCode, body)
	return 17
}

// plane is leno up in a directory of its own.
type plane struct {
	t         *testing.T
	cmd       *exec.Cmd
	temporary string
	server    string // for proxies
}

func startPlane(t *testing.T) *plane {
	t.Helper()
	cmd, temporary := leno(t, "up", "--data", "", "--listen", "127.0.0.1:0", "--admin", "")
	cmd.Args[3] = filepath.Join(temporary, "data")
	p := &plane{t: t, cmd: cmd, temporary: temporary}
	cmd.Env = append(cmd.Env, "XDG_RUNTIME_DIR="+temporary)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ready") {
		if m := regexp.MustCompile(`takes proxies on (\S+)\.$`).FindStringSubmatch(lines.Text()); m != nil {
			p.server = m[1]
		}
	}
	if p.server == "" {
		t.Fatal("it did not say where proxies connect to")
	}
	return p
}

// command is leno towards this plane, in its session's directories.
func (p *plane) command(args ...string) *exec.Cmd {
	cmd := exec.Command(p.cmd.Path, args...)
	cmd.Env = append(p.cmd.Env, "LENO_TEST_GET=")
	return cmd
}

// say runs a command to its end.
func (p *plane) say(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("leno %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// await asks until the answer has a text.
func (p *plane) await(want string, args ...string) {
	p.t.Helper()
	said := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		out, _ := p.command(args...).CombinedOutput()
		if said = string(out); strings.Contains(said, want) {
			return
		}
	}
	p.t.Fatalf("leno %s never said %q: %s", strings.Join(args, " "), want, said)
}

func TestAProgramIsAWorkloadWhileItRuns(t *testing.T) {
	p := startPlane(t)
	port := freePort(t)
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	program := p.command("run", "--server", p.server, "--service", "cart", "--port", fmt.Sprintf("%d/http", port), "--name", "cart-1",
		"--", p.cmd.Path, "shop", "cart", "--listen", listen)
	program.Stderr = os.Stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Process.Kill() })
	p.await(`"healthy": true`, "get", "workloads", "-o", "json")
	if said := p.say("get", "service", "cart"); !strings.Contains(said, fmt.Sprintf("%d/http", port)) {
		t.Errorf("the service does not say what it speaks: %s", said)
	}

	url := fmt.Sprintf("http://cart:%d/cart/alice", port)
	// It asks the control plane where its proxies connect.
	job := p.command("run", "--service", "job", "--upstream", fmt.Sprintf("cart:%d=%d", port, freePort(t)), "--", p.cmd.Path)
	job.Env = append(job.Env, "LENO_TEST_GET="+url)
	out, err := job.Output()
	if job.ProcessState.ExitCode() != 17 || !strings.HasPrefix(string(out), `200 {"customer":"alice"`) {
		t.Errorf("the job said %q, %v", out, err)
	}

	program.Process.Signal(syscall.SIGTERM)
	if err := program.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
	if said := p.say("get", "workloads", "-o", "name"); strings.TrimSpace(said) != "" && !strings.Contains(said, "No ") {
		t.Errorf("workloads are left: %s", said)
	}
	p.cmd.Process.Signal(os.Interrupt)
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("up ended with %v", err)
	}
	for _, left := range []string{"leno-run-*", "leno/admin.sock"} {
		if files, _ := filepath.Glob(filepath.Join(p.temporary, left)); len(files) > 0 {
			t.Errorf("these files are left: %v", files)
		}
	}
}

func TestAnIdentityIsKeptFromRunToRun(t *testing.T) {
	p := startPlane(t)
	state := filepath.Join(p.temporary, "state")
	token := filepath.Join(p.temporary, "token")
	if err := os.WriteFile(token, []byte(p.say("token", "create", "--service", "job")), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the token can be used once
		out, err := p.command("run", "--server", p.server, "--service", "job", "--state", state, "--token-file", token, "--", "echo", "done").CombinedOutput()
		if err != nil || string(out) != "done\n" {
			t.Errorf("%v: %s", err, out)
		}
	}
	out, err := p.command("run", "--server", p.server, "--service", "job", "--token-file", token, "--", "echo", "done").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "the join token was used already") {
		t.Errorf("without the state: %v: %s", err, out)
	}
}

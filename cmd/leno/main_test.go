package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be leno, and so be everything that the demo
// starts.
func TestMain(m *testing.M) {
	if url := os.Getenv("LENO_TEST_GET"); url != "" && len(os.Args) == 1 {
		os.Exit(get(url))
	}
	if os.Getenv("LENO_TEST_IS_LENO") != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

// leno is a command in a session of its own, whose temporary files go to a
// directory of its own.
func leno(t *testing.T, args ...string) (cmd *exec.Cmd, temporary string) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes seconds and starts 28 processes")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	temporary, err = os.MkdirTemp("/tmp", "lt") // short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(temporary) })
	cmd = exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "LENO_TEST_IS_LENO=yes", "TMPDIR="+temporary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, temporary
}

// nothingLeft fails the test for every process of the command's session and
// every file that outlived it.
func nothingLeft(t *testing.T, session int, temporary string) {
	t.Helper()
	if files, _ := filepath.Glob(filepath.Join(temporary, "*")); len(files) > 0 {
		t.Errorf("these files are left: %v", files)
	}
	for pid, line := range sessionOf(t, session) {
		t.Errorf("this process is left: %d %s", pid, line)
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// sessionOf returns the processes of a session that have not ended.
func sessionOf(t *testing.T, session int) map[int]string {
	t.Helper()
	all := make(map[int]string)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended meanwhile
		}
		// PID (NAME) STATE PARENT GROUP SESSION ...
		words := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if words[3] == strconv.Itoa(session) && words[0] != "Z" {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			line, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
			all[pid] = strings.ReplaceAll(string(line), "\x00", " ")
		}
	}
	return all
}

func TestTheDemoRunsUnattendedAndLeavesNothing(t *testing.T) {
	cmd, temporary := leno(t, "demo", "--for", "4s", "-o", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("it ended with %v: %s", err, out)
	}
	nothingLeft(t, cmd.Process.Pid, temporary)
	var report struct {
		Edges []struct {
			Source, Destination, Protocol string
			MTLS                          bool
			Requests, Failures            int
		}
		Proxies []struct{ Name string }
		Sidecar string
		OK      bool
		Errors  []string
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if !report.OK || len(report.Errors) > 0 || len(report.Proxies) != 9 || !strings.HasSuffix(report.Sidecar, " proxy") {
		t.Errorf("the report is %+v", report)
	}
	got := make(map[string]string)
	for _, e := range report.Edges {
		got[e.Source+" "+e.Destination] = e.Protocol
		if !e.MTLS || e.Failures > 0 || e.Requests == 0 && e.Protocol != "tcp" {
			t.Errorf("edge %+v", e)
		}
	}
	want := map[string]string{
		"shopper web": "http/1.1", "web catalogue-v1": "http/1.1", "web catalogue-v2": "http/1.1", "web cart": "http/1.1",
		"web checkout": "grpc", "checkout payment": "grpc", "checkout stock": "tcp",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the edges are %v, want %v", got, want)
	}
}

// demoRun is a demo that goes on until it is interrupted.
type demoRun struct {
	t        *testing.T
	cmd      *exec.Cmd
	lines    *bufio.Scanner
	prepare  string            // before those
	commands map[string]string // to try
}

func startDemo(t *testing.T) (*demoRun, string) {
	cmd, temporary := leno(t, "demo")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	d := &demoRun{t: t, cmd: cmd, lines: bufio.NewScanner(out), commands: make(map[string]string)}
	for d.lines.Scan() && d.lines.Text() != "" {
		switch what, _, ok := strings.Cut(d.lines.Text(), " ("); {
		case ok && d.lines.Scan():
			d.commands[what] = d.lines.Text()
		case strings.HasPrefix(what, "Try ") && d.lines.Scan():
			d.prepare = d.lines.Text()
		}
	}
	return d, temporary
}

// try runs a suggested command as it was said, in another terminal.
func (d *demoRun) try(what string, instead ...string) {
	d.t.Helper()
	line := d.commands[what]
	if line == "" {
		d.t.Fatalf("%s was not suggested; %v were", what, d.commands)
	}
	if len(instead) == 2 {
		line = strings.Replace(line, instead[0], instead[1], 1)
	}
	cmd := exec.Command("/bin/sh", "-ec", d.prepare+"\n"+line)
	cmd.Env = append(os.Environ(), "LENO_TEST_IS_LENO=yes")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// await reads tables, which come every few seconds, until one has a line that
// matches.
func (d *demoRun) await(pattern string) {
	d.t.Helper()
	wanted := regexp.MustCompile(pattern)
	timeout := time.AfterFunc(time.Minute, func() { d.cmd.Process.Kill() })
	defer timeout.Stop()
	var said []string
	for d.lines.Scan() {
		if said = append(said, d.lines.Text()); wanted.MatchString(d.lines.Text()) {
			return
		}
	}
	d.t.Fatalf("no line matched %s:\n%s", pattern, strings.Join(said, "\n"))
}

func TestWhatTheDemoSuggestsWorksAndIsSeen(t *testing.T) {
	d, temporary := startDemo(t)
	d.await(`^web → catalogue-v2 .*100.0%.* yes +1?\d%`)
	d.try("Shift traffic")
	d.try("Kill an instance")
	d.await(`^web → catalogue-v2 .*100.0%.* yes +[45]\d%`)
	d.await(`cart 1 of 2`)
	d.await(`^shopper → web .* 100.0%`)
	d.try("Deny a caller")
	d.await(`^shopper → web +[0-9.]+ +\d?\d\.\d% `)
	d.try("Deny a caller", " apply ", " delete ")
	d.cmd.Process.Signal(os.Interrupt)
	for d.lines.Scan() {
	}
	if err := d.cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	nothingLeft(t, d.cmd.Process.Pid, temporary)
}

func TestNothingOutlivesAKilledDemo(t *testing.T) {
	d, temporary := startDemo(t)
	before := sessionOf(t, d.cmd.Process.Pid)
	if len(before) < 28 { // the demo, and 9 times leno run, proxy and program
		t.Errorf("only %d processes run: %v", len(before), before)
	}
	d.cmd.Process.Kill()
	d.cmd.Wait()
	deadline := time.Now().Add(20 * time.Second)
	for len(sessionOf(t, d.cmd.Process.Pid)) > 0 {
		if time.Now().After(deadline) {
			nothingLeft(t, d.cmd.Process.Pid, "/nonexistent")
			return
		}
	}
	// The next one removes its files, even if it cannot begin itself.
	next, _ := leno(t, "demo", "--data", "/dev/null")
	next.Env = append(next.Env, "TMPDIR="+temporary)
	if out, err := next.CombinedOutput(); err == nil {
		t.Errorf("the next began: %s", out)
	}
	nothingLeft(t, next.Process.Pid, temporary)
}

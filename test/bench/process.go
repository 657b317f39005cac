package bench

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a program that the measurement started.
type process struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

// start runs a program on one CPU, or on all for -1. What it says goes to a file
// in dir. It dies with the thread that started it, so callers stay on theirs.
func start(dir, name string, cpu int, argv ...string) (*process, error) {
	out, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = out, out, dir
	if err := pinned(cpu, cmd.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd, out.Name(), make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// pinned calls f on a thread that may only run on one CPU; what f starts
// inherits that.
func pinned(cpu int, f func() error) error {
	if cpu < 0 {
		return f()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	return f()
}

// stop ends the program, and kills it if it does not listen.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(3 * time.Second):
		for _, pid := range p.pids() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		<-p.done
	}
}

// said returns the end of what the program said.
func (p *process) said() string {
	b, _ := os.ReadFile(p.log)
	return strings.TrimSpace(string(b[max(0, len(b)-2000):]))
}

// pids returns the program's process and all below it.
func (p *process) pids() []int { return descendants(p.cmd.Process.Pid) }

func descendants(pid int) []int {
	all := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for _, word := range strings.Fields(string(b)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, descendants(child)...)
			}
		}
	}
	return all
}

// cpuTime returns the CPU time that processes used, all threads, user and system.
func cpuTime(pids []int) time.Duration {
	var sum int64
	for _, pid := range pids {
		var t unix.Timespec
		// The clock of a process by its id, as in clock_getcpuclockid(3).
		if unix.ClockGettime(^int32(pid)<<3|2, &t) == nil {
			sum += t.Nano()
		}
	}
	return time.Duration(sum)
}

// kib sums a field of a file in /proc/PID, in KiB.
func kib(pids []int, file, field string) int {
	sum := 0
	for _, pid := range pids {
		f, err := os.Open(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			continue
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			if rest, ok := strings.CutPrefix(s.Text(), field+":"); ok {
				n, _ := strconv.Atoi(strings.Fields(rest)[0])
				sum += n
			}
		}
		f.Close()
	}
	return sum
}

// busy returns the CPU time that the whole machine spent.
func busy() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	ticks := 0
	for i, word := range strings.Fields(line) {
		if i == 4 || i == 5 || i == 0 || i > 8 {
			continue // the name, idle, iowait, guests
		}
		n, _ := strconv.Atoi(word)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

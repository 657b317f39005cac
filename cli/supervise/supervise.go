// Package supervise runs a program beside its sidecar: the sidecar first, then
// the program with an environment that leads its calls through it, and when the
// program ends, the sidecar in order. Neither outlives the supervisor.
package supervise

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/leno-mesh/leno/cli/scratch"
	"github.com/leno-mesh/leno/lib/backoff"
	"github.com/leno-mesh/leno/lib/durable"
)

const (
	readyTimeout = 30 * time.Second
	drainTimeout = 10 * time.Second // that the sidecar gives running requests
	endTimeout   = drainTimeout + 5*time.Second
	// settled is how long a sidecar runs before its end counts as the first of
	// a series.
	settled = 30 * time.Second
)

// Config says what to run.
type Config struct {
	// Sidecar is the program that becomes the sidecar, with its first arguments.
	Sidecar  []string
	Server   string // HOST:PORT that proxies connect to
	Token    string // join token, empty when State holds an identity
	State    string // directory of the sidecar; empty for a temporary one
	LogLevel string // of the sidecar
	Workload Workload

	Command  []string
	Environ  []string // of the command, before the mesh's variables
	In       io.Reader
	Out, Err io.Writer
	Log      *slog.Logger
}

// Workload is what the program is to the mesh.
type Workload struct {
	Namespace, Service, Account string
	Name                        string
	Address                     string // IP that others reach the sidecar at
	Ports                       []int
	Labels                      []string // KEY=VALUE
	Upstreams                   []string // NAME:PORT=LOCALPORT
	Health                      string   // path; empty for none
	Metrics                     string   // HOST:PORT of the sidecar's metrics; empty for none
}

// supervisor is one Run. All its fields belong to that goroutine.
type supervisor struct {
	cfg     Config
	private *scratch.Directory
	token   string // file, "" once it is used up
	ready   ready  // what the first sidecar said

	sidecar  *sidecar
	started  time.Time // of the sidecar
	failures int       // sidecars in a row that ended early
	received int       // signals

	signals chan os.Signal
}

// Exit codes of shells for a command that they cannot run.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// Look says whether there is such a program, and if not, why and the exit code
// that a shell gives then.
func Look(program string) (code int, err error) {
	_, err = exec.LookPath(program)
	return cannotRun(err)
}

func cannotRun(err error) (code int, _ error) {
	switch {
	case err == nil:
		return 0, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		code = codeNotFound
	default:
		code = codeNotExecutable
	}
	return code, fmt.Errorf("cannot run the command: %w", err)
}

// Run returns the exit code of the command, 128 and more when a signal ended
// it. An error means that the command was not run; the code is then 0 unless the
// command is why.
func Run(cfg Config) (code int, err error) {
	if code, err := Look(cfg.Command[0]); err != nil {
		return code, err
	}
	s := &supervisor{cfg: cfg, signals: make(chan os.Signal, 8)}
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(s.signals)
	defer func() {
		if s.private != nil {
			err = errors.Join(err, s.private.Remove())
		}
	}()
	if err := s.prepare(); err != nil {
		return 0, err
	}
	if sig, err := s.join(); err != nil || sig != nil {
		return codeOf(sig), err
	}
	command, err := s.command()
	if err != nil {
		s.endSidecar()
		return cannotRun(err)
	}
	code = s.watch(command)
	s.endSidecar()
	return code, nil
}

// prepare makes the private directory with the token, which is never on a
// command line, and removes those of killed supervisors.
func (s *supervisor) prepare() error {
	scratch.Sweep()
	var err error
	if s.private, err = scratch.Make(scratch.Run); err != nil {
		return err
	}
	if s.cfg.State == "" {
		s.cfg.State = filepath.Join(s.private.Path, "state")
	}
	if err := durable.Directory(s.cfg.State); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if s.cfg.Token != "" {
		s.token = filepath.Join(s.private.Path, "token")
		if err := os.WriteFile(s.token, []byte(s.cfg.Token+"\n"), 0o600); err != nil {
			return fmt.Errorf("write join token: %w", err)
		}
	}
	return nil
}

// join starts the first sidecar and waits until it can carry calls. A signal
// ends the waiting, and then everything.
func (s *supervisor) join() (os.Signal, error) {
	if err := s.startSidecar(); err != nil {
		return nil, err
	}
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	var err error
	select {
	case first := <-s.sidecar.ready:
		if err = first.problem(); err == nil {
			s.ready = first
			s.dropToken()
			return nil, nil
		}
	case <-timeout.C:
		err = fmt.Errorf("the sidecar was not ready within %s; is %s the control plane?", readyTimeout, s.cfg.Server)
	case sig := <-s.signals:
		s.endSidecar()
		return sig, nil
	}
	s.endSidecar()
	return nil, err
}

// dropToken removes the token: the sidecar has its identity.
func (s *supervisor) dropToken() {
	if s.token != "" {
		_ = os.Remove(s.token)
		s.token = ""
	}
}

func (s *supervisor) command() (*Process, error) {
	cmd := exec.Command(s.cfg.Command[0], s.cfg.Command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.cfg.In, s.cfg.Out, s.cfg.Err
	cmd.WaitDelay = time.Second
	cmd.Env = environ(s.cfg.Environ, s.ready.HTTPProxy, s.cfg.Workload)
	return Start(cmd)
}

// watch waits for the command, forwards signals to it and keeps a sidecar
// beside it.
func (s *supervisor) watch(command *Process) int {
	again := time.NewTimer(0)
	<-again.C
	defer again.Stop()
	gone := s.sidecar.done
	for {
		select {
		case <-command.done:
			return command.Code()
		case sig := <-s.signals:
			s.received++
			// Ctrl-C reaches the command by itself.
			if sig != syscall.SIGINT || !foreground() {
				_ = command.Signal(sig)
			}
		case <-gone:
			gone = nil
			again.Reset(s.pause())
		case <-again.C:
			if err := s.startSidecar(); err != nil {
				s.cfg.Log.Error("cannot start the sidecar again", "error", err)
				s.failures++
				again.Reset(s.pause())
				continue
			}
			gone = s.sidecar.done
		}
	}
}

// pause is how long to wait before the next sidecar.
func (s *supervisor) pause() time.Duration {
	if time.Since(s.started) > settled {
		s.failures = 0
	}
	wait := backoff.Policy{Base: 200 * time.Millisecond, Max: 10 * time.Second}.Next(s.failures, rand.Float64())
	s.failures++
	why := s.sidecar.How()
	select {
	case said := <-s.sidecar.ready:
		if said.Error != "" {
			why = said.Error
		}
	default:
	}
	s.cfg.Log.Warn("the sidecar ended; it is started again", "why", why, "in", wait.Round(time.Millisecond))
	return wait
}

// endSidecar lets the sidecar drain and leave the mesh. The second signal of
// the user, or one too many seconds, end it at once.
func (s *supervisor) endSidecar() {
	if s.sidecar == nil {
		return
	}
	_ = s.sidecar.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(endTimeout)
	defer timeout.Stop()
	for {
		select {
		case <-s.sidecar.done:
			return
		case <-timeout.C:
			s.cfg.Log.Warn("the sidecar did not end in time and was killed", "time", endTimeout)
			_ = s.sidecar.Signal(syscall.SIGKILL)
		case <-s.signals:
			if s.received++; s.received > 1 {
				_ = s.sidecar.Signal(syscall.SIGKILL)
			}
		}
	}
}

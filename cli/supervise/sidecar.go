package supervise

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxReady bounds the line that a sidecar says when it is ready.
const maxReady = 64 << 10

// ready is what a sidecar writes to its --ready-fd, once: as soon as it has an
// identity and listens for calls of the application, or that it cannot.
type ready struct {
	HTTPProxy string `json:"http_proxy"`
	Mesh      string `json:"mesh"`
	Admin     string `json:"admin"`
	Workload  string `json:"workload"`
	Error     string `json:"error"`
}

func (r ready) problem() error {
	switch {
	case r.Error != "":
		return errors.New(r.Error)
	case r.HTTPProxy == "":
		return errors.New("the sidecar ended before it was ready")
	}
	return nil
}

// sidecar is a running proxy.
type sidecar struct {
	*Process
	ready chan ready // has one value, the zero ready when it said nothing
}

// startSidecar starts the first sidecar or the next one, which takes its
// predecessor's place: its identity from the state directory, and the address
// that the command knows.
func (s *supervisor) startSidecar() error {
	r, w, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe to sidecar: %w", err)
	}
	args := append(s.cfg.Sidecar[1:len(s.cfg.Sidecar):len(s.cfg.Sidecar)], s.arguments()...)
	cmd := exec.Command(s.cfg.Sidecar[0], args...)
	cmd.Stdout, cmd.Stderr = s.cfg.Err, s.cfg.Err
	cmd.WaitDelay = time.Second
	cmd.ExtraFiles = []*os.File{w} // file descriptor 3
	// In a process group of its own it does not get the terminal's Ctrl-C: it
	// ends after the command.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.started = time.Now()
	p, err := Start(cmd)
	w.Close()
	if err != nil {
		r.Close()
		return fmt.Errorf("start sidecar %s: %w", s.cfg.Sidecar[0], err)
	}
	s.sidecar = &sidecar{Process: p, ready: make(chan ready, 1)}
	go s.sidecar.listen(r)
	return nil
}

// listen reads what the sidecar says, and ends with it at the latest.
func (s *sidecar) listen(r *os.File) {
	defer r.Close()
	var said ready
	line, err := bufio.NewReader(io.LimitReader(r, maxReady)).ReadBytes('\n')
	if err == nil || len(line) > 0 {
		if err := json.Unmarshal(line, &said); err != nil {
			said = ready{Error: "the sidecar said something that is not JSON when it was ready"}
		}
	}
	s.ready <- said
}

// arguments is the command line of the sidecar.
func (s *supervisor) arguments() []string {
	w := s.cfg.Workload
	proxy := "127.0.0.1:0"
	if s.ready.HTTPProxy != "" {
		proxy = s.ready.HTTPProxy
	}
	args := []string{
		"sidecar", "--server", s.cfg.Server, "--state", s.cfg.State,
		"--namespace", w.Namespace, "--service", w.Service, "--account", w.Account, "--workload", w.Name,
		"--address", w.Address, "--http-proxy", proxy, "--admin", filepath.Join(s.private.Path, "admin.sock"),
		"--ready-fd", "3", "--drain-timeout", drainTimeout.String(), "--log-level", s.cfg.LogLevel,
	}
	if s.token != "" {
		args = append(args, "--token-file", s.token)
	}
	if w.Health != "" {
		args = append(args, "--health", w.Health)
	}
	if w.Metrics != "" {
		args = append(args, "--metrics", w.Metrics)
	}
	for _, port := range w.Ports {
		args = append(args, "--port", strconv.Itoa(port))
	}
	for _, label := range w.Labels {
		args = append(args, "--label", label)
	}
	for _, upstream := range w.Upstreams {
		args = append(args, "--upstream", upstream)
	}
	return args
}

// environ adds what leads a program's calls through the sidecar.
func environ(base []string, proxy string, w Workload) []string {
	url := "http://" + proxy
	direct := "localhost,127.0.0.1,::1"
	var out []string
	for _, entry := range base {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "HTTP_PROXY", "http_proxy", "LENO_WORKLOAD", "LENO_NAMESPACE":
			continue
		case "NO_PROXY", "no_proxy":
			for host := range strings.SplitSeq(value, ",") {
				// "*" would lead every call past the sidecar.
				if host = strings.TrimSpace(host); host != "" && host != "*" && !strings.Contains(","+direct+",", ","+host+",") {
					direct += "," + host
				}
			}
			continue
		}
		out = append(out, entry)
	}
	return append(out, "HTTP_PROXY="+url, "http_proxy="+url, "NO_PROXY="+direct, "no_proxy="+direct,
		"LENO_WORKLOAD="+w.Name, "LENO_NAMESPACE="+w.Namespace)
}

// Find returns the sidecar's program: a leno-proxy beside the executable that
// runs, else that executable itself.
func Find(executable string) []string {
	beside := filepath.Join(filepath.Dir(executable), "leno-proxy")
	if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
		return []string{beside}
	}
	return []string{executable, "proxy"}
}

package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Options says what to measure.
type Options struct {
	Lenos    map[string]string // leno-proxy binaries by the name of their row
	Order    []string          // of Lenos
	Self     string            // this program, for backend and relay
	Rounds   int
	Duration time.Duration
	Only     *regexp.Regexp // of cases; nil for all
	Peers    *regexp.Regexp // of peers; nil for all
	Out      io.Writer
	Stop     <-chan os.Signal // ends the measurement early
}

// sample is one peer under one load.
type sample struct {
	load
	cpu     time.Duration // of the proxy
	rss     int           // KiB, proportional set size after the load
	foreign float64       // CPUs that others used meanwhile
}

func (s sample) cpuMicros() float64 {
	return float64(s.cpu.Nanoseconds()) / 1e3 / float64(max(s.Done, 1))
}
func (s sample) rate() float64 { return float64(s.Done) / s.Micros * 1e6 }

// Result is a whole measurement.
type Result struct {
	peers   []*peer
	cases   []Case
	samples map[string]map[string][]sample // by case, by peer
	skipped []string
	options Options
	loads   [2]string // load averages before and after
}

// The proxy has one CPU, all else another.
const (
	proxyCPU = 0
	otherCPU = 1
)

// Proxy measures a hop through each proxy.
func Proxy(o Options) (*Result, error) {
	dir, err := os.MkdirTemp("", "leno-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	h := &harness{dir: dir, options: o}
	defer h.stop()
	if err := h.start(); err != nil {
		return nil, err
	}
	r := &Result{peers: h.peers, skipped: h.skipped, options: o, samples: map[string]map[string][]sample{}}
	r.loads[0] = loadAverage()
	for _, c := range cases {
		if o.Only == nil || o.Only.MatchString(c.Name) {
			r.cases = append(r.cases, c)
			r.samples[c.Name] = map[string][]sample{}
		}
	}
	for round := range o.Rounds {
		for _, c := range r.cases {
			order := slices.Clone(h.peers)
			if round%2 == 1 {
				slices.Reverse(order)
			}
			for _, p := range order {
				select {
				case <-o.Stop:
					return nil, errors.New("interrupted")
				default:
				}
				if err := h.measure(r, c, p, round == 0); err != nil {
					return nil, err
				}
			}
			fmt.Fprintf(o.Out, "round %d of %d: %s\n", round+1, o.Rounds, c.Name)
		}
	}
	r.loads[1] = loadAverage()
	return r, nil
}

// harness holds what runs beside the loads.
type harness struct {
	dir     string
	options Options
	load    generators
	started []*process
	backend string
	peers   []*peer
	skipped []string
}

func (h *harness) stop() {
	for _, p := range slices.Backward(h.started) {
		p.stop()
	}
}

func (h *harness) run(name string, cpu int, argv ...string) (*process, error) {
	p, err := start(h.dir, name, cpu, argv...)
	if err == nil {
		h.started = append(h.started, p)
	}
	return p, err
}

func (h *harness) start() error {
	if err := h.generators(); err != nil {
		return err
	}
	if err := certificate(h.dir); err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	free, err := freePorts(2)
	if err != nil {
		return err
	}
	h.backend = free[0]
	backend, err := h.run("backend", otherCPU, h.options.Self, "backend", h.backend)
	if err != nil {
		return err
	}
	if err := awaitPort(h.backend, backend); err != nil {
		return err
	}
	relay := map[front]string{plain: free[1]}
	if err := h.add("blind relay", "", relay, h.options.Self, "relay", free[1], h.backend); err != nil {
		return err
	}
	for _, name := range []string{"nginx", "haproxy"} {
		path, err := find(name)
		if err != nil {
			return err
		}
		if err := h.configured(name, name, version(path, "-v"), path); err != nil {
			return err
		}
	}
	if h.wanted("envoy") {
		if path, err := Envoy(); err != nil {
			h.skipped = append(h.skipped, "envoy is skipped: "+err.Error())
		} else if err := h.configured("envoy", "envoy", version(path, "--version"), path); err != nil {
			return err
		}
	}
	for _, name := range h.options.Order {
		path, err := filepath.Abs(h.options.Lenos[name])
		if err != nil {
			return err
		}
		if err := h.configured(name, "leno", strings.TrimSpace(strings.TrimPrefix(said(path, "-version"), "leno-proxy")), path); err != nil {
			return err
		}
	}
	return nil
}

func (h *harness) generators() error {
	h.load.cpu = otherCPU
	var err error
	if h.load.wrk, err = find("wrk"); err != nil {
		return err
	}
	if h.load.h2load, err = find("h2load"); err != nil {
		return err
	}
	script, err := files.ReadFile("files/wrk.lua")
	if err != nil {
		return err
	}
	h.load.script = filepath.Join(h.dir, "wrk.lua")
	return os.WriteFile(h.load.script, script, 0o600)
}

func (h *harness) wanted(name string) bool {
	return h.options.Peers == nil || h.options.Peers.MatchString(name)
}

// configured starts a peer on its configuration file.
func (h *harness) configured(name, kind, version, path string) error {
	if !h.wanted(name) {
		return nil
	}
	free, err := freePorts(4)
	if err != nil {
		return err
	}
	p := ports{h.dir, h.backend, free[0], free[1], free[2], free[3]}
	template := map[string]string{"nginx": "nginx.conf", "haproxy": "haproxy.cfg", "envoy": "bootstrap.yaml", "leno": "bootstrap.yaml"}[kind]
	file, err := render(p, template, name+"-"+template)
	if err != nil {
		return err
	}
	argv := map[string][]string{
		"nginx":   {path, "-p", h.dir, "-c", file, "-e", filepath.Join(h.dir, "nginx.err")},
		"haproxy": {path, "-f", file},
		"envoy":   {path, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"},
		"leno":    {path, "-c", file},
	}[kind]
	return h.add(name, version, p.addresses(), argv...)
}

// add starts a peer and waits until it listens.
func (h *harness) add(name, version string, addresses map[front]string, argv ...string) error {
	if !h.wanted(name) {
		return nil
	}
	process, err := h.run(strings.ReplaceAll(name, " ", "-"), proxyCPU, argv...)
	if err != nil {
		return err
	}
	for _, address := range addresses {
		if err := awaitPort(address, process); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	h.peers = append(h.peers, &peer{name, version, addresses, process})
	return nil
}

// awaitPort waits until a program listens.
func awaitPort(address string, p *process) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.done:
			return fmt.Errorf("ended at once: %s", p.said())
		default:
		}
		if c, err := net.Dial("tcp", address); err == nil {
			return c.Close()
		}
	}
	return fmt.Errorf("does not listen on %s: %s", address, p.said())
}

// measure loads one peer once, after a first load that fills its pools.
func (h *harness) measure(r *Result, c Case, p *peer, first bool) error {
	address, ok := p.addresses[c.front]
	if !ok {
		return nil
	}
	if first {
		if _, err := h.load.run(c, address, time.Second); err != nil {
			return fmt.Errorf("%s, %s: %w", p.name, c.Name, err)
		}
	}
	pids := p.process.pids()
	began, before, others := time.Now(), cpuTime(pids), busy()-h.ours()
	l, err := h.load.run(c, address, h.options.Duration)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", p.name, c.Name, err)
	}
	s := sample{load: l, cpu: cpuTime(pids) - before, rss: kib(pids, "smaps_rollup", "Pss")}
	s.foreign = max(0, (busy()-h.ours()-others).Seconds()/time.Since(began).Seconds())
	r.samples[c.Name][p.name] = append(r.samples[c.Name][p.name], s)
	return nil
}

// ours returns the CPU time of all that this measurement started.
func (h *harness) ours() time.Duration {
	sum := cpuTime([]int{os.Getpid()}) + ended()
	for _, p := range h.started {
		sum += cpuTime(p.pids())
	}
	return sum
}

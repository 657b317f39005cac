package bench

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Case is one row of work.
type Case struct {
	Name        string
	front       front
	path        string
	connections int
	streams     int // of each connection, HTTP/2
}

// Cases is all work that is measured.
var cases = []Case{
	{"HTTP/1.1, 100 B, 1 connection", plain, "/100", 1, 0},
	{"HTTP/1.1, 100 B, 16 connections", plain, "/100", 16, 0},
	{"HTTP/1.1, 100 B, 64 connections", plain, "/100", 64, 0},
	{"HTTP/1.1, 100 B, 256 connections", plain, "/100", 256, 0},
	{"HTTP/1.1, 16 KiB, 1 connection", plain, "/16k", 1, 0},
	{"HTTP/1.1, 16 KiB, 16 connections", plain, "/16k", 16, 0},
	{"HTTP/1.1, 16 KiB, 64 connections", plain, "/16k", 64, 0},
	{"HTTP/1.1, 16 KiB, 256 connections", plain, "/16k", 256, 0},
	{"HTTP/2, 100 B, 4 connections of 64 streams", two, "/100", 4, 64},
	{"TLS 1.3, HTTP/1.1, 100 B, 64 connections", encrypted, "/100", 64, 0},
}

// speaks says what a front is in a URL.
func (f front) scheme() string {
	if f == encrypted {
		return "https"
	}
	return "http"
}

// load is what a load generator reports.
type load struct {
	Done   int     `json:"done"`
	Micros float64 `json:"us"`
	Errors int     `json:"errors"`
	P50    float64 `json:"p50"` // µs
	P99    float64 `json:"p99"`
}

// generators are the programs that make load, on one CPU.
type generators struct {
	wrk, h2load string
	script      string // of wrk
	cpu         int
}

// run loads one address for a whole number of seconds.
func (g *generators) run(c Case, address string, d time.Duration) (load, error) {
	url := c.front.scheme() + "://" + address + c.path
	seconds := strconv.Itoa(max(1, int(d.Seconds())))
	connections := strconv.Itoa(c.connections)
	if c.front == two {
		args := append([]string{"-t1", "-c", connections, "-m", strconv.Itoa(c.streams), "-D", seconds}, h2Fields()...)
		out, err := g.output(g.h2load, append(args, url)...)
		if err != nil {
			return load{}, err
		}
		return readH2load(out)
	}
	out, err := g.output(g.wrk, "-t1", "-c", connections, "-d", seconds+"s", "--latency", "-s", g.script, url)
	if err != nil {
		return load{}, err
	}
	_, line, ok := strings.Cut(out, "RESULT ")
	if !ok {
		return load{}, fmt.Errorf("wrk reported nothing: %s", lastLine([]byte(out)))
	}
	var l load
	err = json.NewDecoder(strings.NewReader(line)).Decode(&l)
	return l, err
}

func (g *generators) output(program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := pinned(g.cpu, cmd.Start); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, lastLine([]byte(out.String())))
	}
	return out.String(), nil
}

// h2Fields gives h2load the request of wrk.lua.
func h2Fields() []string {
	script, _ := files.ReadFile("files/wrk.lua")
	var args []string
	for _, m := range luaField.FindAllStringSubmatch(string(script), -1) {
		name := strings.ToLower(m[1])
		if name == "host" {
			name = ":authority"
		}
		args = append(args, "-H", name+": "+m[2])
	}
	return args
}

var (
	luaField  = regexp.MustCompile(`wrk\.headers\["([^"]+)"\] = "([^"]+)"`)
	h2Done    = regexp.MustCompile(`requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored`)
	h2Rate    = regexp.MustCompile(`finished in [\d.]+\w+, ([\d.]+) req/s`)
	h2Request = regexp.MustCompile(`time for request:\s+\S+\s+\S+\s+(\S+)`)
)

// readH2load reads the report of h2load, which has no percentiles: P50 is the
// mean and P99 unknown.
func readH2load(out string) (load, error) {
	done, rate, mean := h2Done.FindStringSubmatch(out), h2Rate.FindStringSubmatch(out), h2Request.FindStringSubmatch(out)
	if done == nil || rate == nil || mean == nil {
		return load{}, fmt.Errorf("h2load reported nothing: %s", lastLine([]byte(out)))
	}
	var l load
	succeeded, _ := strconv.Atoi(done[2])
	failed, _ := strconv.Atoi(done[3])
	l.Done, l.Errors = succeeded, failed
	if r, _ := strconv.ParseFloat(rate[1], 64); r > 0 {
		l.Micros = float64(succeeded) / r * 1e6
	}
	if d, err := time.ParseDuration(mean[1]); err == nil {
		l.P50 = float64(d.Nanoseconds()) / 1e3
	}
	return l, nil
}

package bench

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// FootprintOptions says what to measure.
type FootprintOptions struct {
	Proxy string // the leno-proxy binary
	Leno  string // the leno binary; empty to leave its start out
	Runs  int
}

const (
	clusters  = 100
	endpoints = 5
	idleConns = 1000
	settle    = 2 * time.Second
)

// footprintRun is one start of a proxy.
type footprintRun struct {
	ready     time.Duration
	rss, anon int // KiB, idle
	perConn   int // bytes for each idle connection
}

// Footprint measures what an idle proxy takes: with many clusters, and with many
// connections that wait for a next request.
func Footprint(o FootprintOptions) (string, error) {
	dir, err := os.MkdirTemp("", "leno-bench-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path, err := filepath.Abs(o.Proxy)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%w: build it with `make build`", err)
	}
	answering, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer answering.Close()
	go func() {
		_ = http.Serve(answering, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	}()

	before := loadAverage()
	var all []footprintRun
	for range o.Runs {
		r, err := footprintOnce(dir, path, answering.Addr().String())
		if err != nil {
			return "", err
		}
		all = append(all, r)
	}
	middle := func(value func(footprintRun) float64) float64 {
		var v []float64
		for _, r := range all {
			v = append(v, value(r))
		}
		slices.Sort(v)
		return median(v)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Measured %s on %s. leno-proxy %s with %d clusters of %d endpoints, idle; medians of %d starts; load average %s before, %s after.\n\n",
		time.Now().UTC().Format("2006-01-02"), machine(), strings.TrimSpace(strings.TrimPrefix(said(path, "-version"), "leno-proxy")), clusters, endpoints, o.Runs, before, loadAverage())
	fmt.Fprintf(&b, "| | measured | goal |\n|---|---|---|\n")
	fmt.Fprintf(&b, "| resident memory | %.1f MiB | ≤ 10 MiB |\n", middle(func(r footprintRun) float64 { return float64(r.rss) / 1024 }))
	fmt.Fprintf(&b, "| of it anonymous | %.1f MiB | ≤ 3 MiB |\n", middle(func(r footprintRun) float64 { return float64(r.anon) / 1024 }))
	fmt.Fprintf(&b, "| binary, stripped | %d bytes | ≤ 8,000,000 bytes |\n", info.Size())
	fmt.Fprintf(&b, "| exec to ready | %.1f ms | ≤ 50 ms |\n", middle(func(r footprintRun) float64 { return float64(r.ready.Microseconds()) / 1e3 }))
	fmt.Fprintf(&b, "| an idle plaintext connection (of %d) | %.1f KiB | ≤ 6 KiB |\n", idleConns, middle(func(r footprintRun) float64 { return float64(r.perConn) / 1024 }))
	if o.Leno != "" {
		rows, err := starts(o.Leno, o.Runs)
		if err != nil {
			return "", err
		}
		b.WriteString(rows)
	}
	return b.String(), nil
}

func footprintOnce(dir, path, backend string) (r footprintRun, err error) {
	free, err := freePorts(2)
	if err != nil {
		return r, err
	}
	file := filepath.Join(dir, "clusters.yaml")
	if err := os.WriteFile(file, []byte(manyClusters(free[0], free[1], backend)), 0o600); err != nil {
		return r, err
	}
	began := time.Now()
	p, err := start(dir, "leno", -1, path, "-c", file)
	if err != nil {
		return r, err
	}
	defer p.stop()
	if err := awaitReady(free[1], p); err != nil {
		return r, err
	}
	r.ready = time.Since(began)
	time.Sleep(settle)
	pids := p.pids()
	r.rss, r.anon = kib(pids, "status", "VmRSS"), kib(pids, "status", "RssAnon")
	fresh := kib(pids, "smaps_rollup", "Pss")
	conns, err := idle(free[0])
	for _, c := range conns {
		defer c.Close()
	}
	if err != nil {
		return r, err
	}
	time.Sleep(settle)
	r.perConn = (kib(pids, "smaps_rollup", "Pss") - fresh) * 1024 / idleConns
	return r, nil
}

// awaitReady polls the admin interface every half a millisecond.
func awaitReady(admin string, p *process) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Microsecond) {
		select {
		case <-p.done:
			return fmt.Errorf("leno-proxy ended at once: %s", p.said())
		default:
		}
		if answer, err := get(admin, "/ready"); err == nil && strings.Contains(answer, " 200 ") {
			return nil
		}
	}
	return fmt.Errorf("leno-proxy does not become ready: %s", p.said())
}

func get(address, path string) (string, error) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", path)
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	b := make([]byte, 256)
	n, err := c.Read(b)
	return string(b[:n]), err
}

// idle opens connections that have had one answer each and wait.
func idle(address string) (conns []net.Conn, err error) {
	b := make([]byte, 4096)
	for range idleConns {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		fmt.Fprint(c, "GET /0/ HTTP/1.1\r\nHost: bench\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := c.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 200") {
			return conns, fmt.Errorf("an idle connection was not served: %q, %w", b[:n], err)
		}
	}
	return conns, nil
}

// manyClusters is a bootstrap with a route to each of many clusters; the first
// endpoint of the first one answers.
func manyClusters(listen, admin, backend string) string {
	address := func(hostPort string) string {
		host, port, _ := net.SplitHostPort(hostPort)
		return fmt.Sprintf("{socket_address: {address: %s, port_value: %s}}", host, port)
	}
	var routes, all strings.Builder
	for i := range clusters {
		fmt.Fprintf(&routes, "              - {name: r%d, match: {prefix: /%d/}, route: {cluster: shop/service-%d/8080}}\n", i, i, i)
		fmt.Fprintf(&all, "  - name: shop/service-%d/8080\n    type: STATIC\n    load_assignment:\n      cluster_name: shop/service-%d/8080\n      endpoints:\n      - lb_endpoints:\n", i, i)
		for j := range endpoints {
			to := fmt.Sprintf("10.%d.%d.%d:8080", i/200, i%200, j+1)
			if i == 0 {
				if to = backend; j > 0 {
					break
				}
			}
			fmt.Fprintf(&all, "        - endpoint: {address: %s}\n", address(to))
		}
	}
	return "admin: {address: " + address(admin) + "}\nstatic_resources:\n  listeners:\n  - name: main\n    address: " + address(listen) + `
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: main
          route_config:
            name: main
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
` + routes.String() + `          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
` + all.String()
}

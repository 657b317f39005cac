package ledger

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/proxy/agent"
)

// TestOneProxyLosesNothing sends the mix through one proxy on a static
// bootstrap, in which HTTP and gRPC of all kinds share a listener.
func TestOneProxyLosesNothing(t *testing.T) {
	n, rate := volume(t, 1500, 250)
	l := New()
	all := backends(t, l)
	w, admin := static(t, all)
	requests := Mix(n, 2, deadline, "one", "two")
	clean(t, l, requests, run(t, l, w, requests, rate))
	counted(t, requests, admin)
}

// static runs a proxy before the backends and returns its doors and its admin
// socket.
func static(t testing.TB, all []*Backend) (w World, admin string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "leno") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "bootstrap.yaml")
	admin = filepath.Join(dir, "admin.sock")
	if err := os.WriteFile(file, []byte(bootstrap(all, admin)), 0o600); err != nil {
		t.Fatal(err)
	}
	b, _, err := agent.LoadBootstrap(file)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	bound, ended := make(chan map[string]net.Addr, 1), make(chan error, 1)
	go func() {
		ended <- agent.RunStatic(ctx, b, agent.Options{Log: log.Discard(), Version: "test", Drain: time.Second}, func(a map[string]net.Addr) { bound <- a })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	var at map[string]net.Addr
	select {
	case at = <-bound:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	w = World{}
	for _, b := range all {
		for _, way := range Ways {
			w[Door{b.Name, way}] = at["web"].String()
		}
		w[Door{b.Name, OverTCP}] = at["tcp-"+b.Name].String()
	}
	return w, admin
}

func bootstrap(all []*Backend, admin string) string {
	var listeners, routes, clusters strings.Builder
	for _, b := range all {
		for _, way := range Ways {
			name := b.Name + "-" + string(way)
			prefix := "/" + b.Name + "/" + string(way) + "/"
			if way == OverGRPC {
				prefix = "/" + serviceOf(b.Name) + "/"
			}
			if way == OverTCP {
				fmt.Fprintf(&listeners, `
  - name: tcp-%s
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: %s}
`, b.Name, name)
			} else {
				fmt.Fprintf(&routes, "              - {match: {prefix: %q}, route: {cluster: %s, timeout: 0s}}\n", prefix, name)
			}
			fmt.Fprintf(&clusters, `
  - name: %s
    connect_timeout: 10s
    load_assignment:
      cluster_name: %s
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]
`, name, name, b.Ports[way])
			if way == OverHTTP2 || way == OverGRPC {
				clusters.WriteString(`    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`)
			}
		}
	}
	return fmt.Sprintf(`
admin: {address: {pipe: {path: %s}}}
static_resources:
  listeners:
  - name: web
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          upgrade_configs: [{upgrade_type: websocket}]
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
%s          http_filters:
          - {name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
%s
  clusters:%s`, admin, &routes, &listeners, &clusters)
}

// counted holds that the proxy whose admin interface is at this unix socket has
// counted each request and each connection once.
func counted(t testing.TB, requests []Request, admin string) {
	t.Helper()
	var want, got struct{ requests, connections int }
	for i := range requests {
		if requests[i].Protocol == TCP {
			want.connections++
		} else {
			want.requests++
		}
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", admin)
	}}
	defer transport.CloseIdleConnections()
	// The last requests are counted after their clients have seen the end.
	for limit := time.Now().Add(30 * time.Second); ; {
		got.requests, got.connections = 0, 0
		a, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Get("http://localhost/stats/prometheus")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		got.requests, got.connections = total(t, string(text), "leno_requests_total"), total(t, string(text), "leno_connections_opened_total")
		if got == want {
			return
		}
		if time.Now().After(limit) {
			t.Errorf("the proxy counts %+v, sent were %+v", got, want)
			return
		}
		tick := time.NewTimer(20 * time.Millisecond)
		<-tick.C
	}
}

// total adds up the samples of a counter.
func total(t testing.TB, text, name string) int {
	t.Helper()
	sum := 0
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), name+"{")
		if !ok {
			continue
		}
		value := rest[strings.LastIndexByte(rest, ' ')+1:]
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatalf("%s has the value %q", name, value)
		}
		sum += n
	}
	return sum
}

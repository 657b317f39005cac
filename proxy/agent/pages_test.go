package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/log"
	"github.com/leno-mesh/leno/xds/wire"
)

func TestAdminPagesAreThoseOfEnvoy(t *testing.T) {
	echo, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		c, err := echo.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(c, c)
		c.Close()
	}()
	defer func() { echo.Close(); <-served }()
	host, port, _ := net.SplitHostPort(echo.Addr().String())
	socket := filepath.Join(t.TempDir(), "admin.sock")
	b := new(wire.Bootstrap)
	if _, err := wire.ReadYAML([]byte(strings.Replace(goodBootstrap, "load_assignment: {cluster_name: app}",
		"load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: "+host+", port_value: "+port+"}}}}]}]}", 1)+
		"  secrets: [{name: s, tls_certificate: {certificate_chain: {inline_string: public}, private_key: {inline_string: very-secret}}}]\n"+
		"admin: {address: {pipe: {path: "+socket+"}}}\n"), b); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ready, done := make(chan map[string]net.Addr, 1), make(chan error, 1)
	go func() {
		done <- RunStatic(ctx, b, Options{Log: log.Discard(), Version: "v1", Drain: time.Second}, func(a map[string]net.Addr) { ready <- a })
	}()
	var addresses map[string]net.Addr
	select {
	case addresses = <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	defer tr.CloseIdleConnections()
	ask := func(method, path string) (int, string) {
		req, _ := http.NewRequest(method, "http://admin"+path, nil)
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(path, err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}

	c, err := net.Dial("tcp", addresses["bytes"].String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(c, "ping")
	if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	<-served

	if status, text := ask("GET", "/ready"); status != 200 || text != "LIVE\n" {
		t.Errorf("/ready: %d %q", status, text)
	}
	for _, path := range []string{"/server_info", "/config_dump", "/clusters?format=json", "/certs"} {
		status, text := ask("GET", path)
		if status != 200 || !json.Valid([]byte(text)) || strings.Contains(text, "very-secret") {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	if _, text := ask("GET", "/clusters"); !strings.Contains(text, "app::"+echo.Addr().String()+"::rq_total::1\n") {
		t.Errorf("/clusters: %s", text)
	}
	if _, text := ask("GET", "/config_dump"); !strings.Contains(text, `"name":"bytes"`) || !strings.Contains(text, `"name":"app"`) {
		t.Errorf("/config_dump: %s", text)
	}
	until(t, "the connection to be counted", func() bool {
		_, text := ask("GET", "/stats/prometheus")
		return strings.Contains(text, `destination="app"`)
	})
	_, text := ask("GET", "/stats/prometheus")
	if err := validMetrics(text); err != nil {
		t.Errorf("%v in\n%s", err, text)
	}
	for _, path := range []string{"/logging?level=debug", "/drain_listeners"} {
		if status, _ := ask("GET", path); status != 405 {
			t.Errorf("GET %s: %d", path, status)
		}
	}
	if status, text := ask("POST", "/logging?level=debug"); status != 200 || text != "level: debug\n" {
		t.Errorf("/logging: %d %q", status, text)
	}
	if status, _ := ask("POST", "/logging?level=loud"); status != 400 {
		t.Errorf("/logging of no level: %d", status)
	}
	if status, _ := ask("POST", "/drain_listeners"); status != 200 {
		t.Errorf("/drain_listeners: %d", status)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", addresses["bytes"].String()); err == nil {
		c.Close()
		t.Error("a drained proxy accepts")
	}
}

// validMetrics holds a page to the text format: each sample belongs to a family
// that was declared, and occurs once.
func validMetrics(text string) error {
	families, samples := map[string]bool{}, map[string]bool{}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if words := strings.Fields(line); strings.HasPrefix(line, "#") {
			if len(words) > 2 && words[1] == "TYPE" {
				if families[words[2]] {
					return fmt.Errorf("%s is declared twice", words[2])
				}
				families[words[2]] = true
			}
			continue
		}
		series, value, ok := strings.Cut(line, " ")
		if i := strings.LastIndex(line, "} "); i >= 0 {
			series, value, ok = line[:i+1], line[i+2:], true
		}
		var number float64
		if _, err := fmt.Sscan(value, &number); !ok || err != nil {
			return fmt.Errorf("%q is no sample", line)
		}
		if samples[series] {
			return fmt.Errorf("%s is there twice", series)
		}
		samples[series] = true
		name, _, _ := strings.Cut(series, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count", ""} {
			if family, found := strings.CutSuffix(name, suffix); found && families[family] {
				name = ""
				break
			}
		}
		if name != "" {
			return fmt.Errorf("%s belongs to no family", name)
		}
	}
	return nil
}

package agent

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const goodBootstrap = `static_resources:
  listeners:
  - name: bytes
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: x, cluster: app}
  clusters:
  - {name: app, load_assignment: {cluster_name: app}}
`

func TestBootstrapsAreCheckedWithoutRunningThem(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"good", goodBootstrap, ""},
		{"JSON", `{"static_resources": {}}`, ""},
		{"no YAML", "static_resources: [\n", "parse YAML: yaml: line 1"},
		{"an unknown field", strings.Replace(goodBootstrap, "- name: bytes", "- name: bytes\n    no_such_field: 1", 1), "line 4: static_resources.listeners[0].no_such_field"},
		{"a field that Leno lacks", strings.Replace(goodBootstrap, "- name: bytes", "- name: bytes\n    transparent: true", 1), "line 4: static_resources.listeners[0].transparent"},
		{"a wrong type", strings.Replace(goodBootstrap, "port_value: 0", "port_value: http", 1), "port_value: want a whole number"},
		{"a dangling cluster", strings.Replace(goodBootstrap, "{name: app,", "{name: other,", 1), `listener/bytes: names the cluster "app", which is not in static_resources.clusters`},
		{"two of one name", goodBootstrap + "  - {name: app, load_assignment: {cluster_name: app}}\n", `static_resources.clusters[1].name: "app" is there twice`},
		{"no name", goodBootstrap + "  - {load_assignment: {cluster_name: app}}\n", "static_resources.clusters[1].name: is missing"},
		{"EDS without a server", goodBootstrap + "  - {name: eds, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}\n", "cluster/eds: is of type EDS, which needs dynamic_resources.ads_config"},
		{"what cannot be compiled", strings.Replace(goodBootstrap, "cluster: app}}", "", 1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "what cannot be compiled" {
				test.text = strings.Replace(goodBootstrap, ", cluster: app", "", 1)
				test.want = "listener/bytes: filter_chains[0].filters[0].cluster"
			}
			file := filepath.Join(t.TempDir(), "envoy.yaml")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var out, errOut bytes.Buffer
			code := Run(context.Background(), []string{"-c", file, "-check"}, "1", &out, &errOut)
			if test.want == "" && (code != 0 || out.String() != file+": OK\n") {
				t.Errorf("exit %d, %q %q", code, out.String(), errOut.String())
			}
			if test.want != "" && (code != 1 || !strings.Contains(errOut.String(), test.want)) {
				t.Errorf("exit %d, %q, want %q", code, errOut.String(), test.want)
			}
		})
	}
}

func TestWrongUseIsExplained(t *testing.T) {
	sidecar := func(more ...string) []string {
		return append([]string{"sidecar", "-server", "127.0.0.1:1", "-state", "/nonexistent/state", "-workload", "w"}, more...)
	}
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{nil, 2, "-c FILE is missing"},
		{[]string{"-version"}, 0, ""},
		{[]string{"-h"}, 0, ""},
		{[]string{"-nonsense"}, 2, "flag provided but not defined: -nonsense"},
		{[]string{"-c", "x", "more"}, 2, `unexpected argument "more"`},
		{[]string{"-c", "x", "-log-level", "loud"}, 2, "-log-level is debug, info, warn or error"},
		{[]string{"-c", "/nonexistent/file"}, 1, "no such file"},
		{[]string{"sidecar"}, 2, "-server is missing"},
		{[]string{"sidecar", "-server", "a:1"}, 2, "-state is missing"},
		{[]string{"sidecar", "-server", "a:1", "-state", "s"}, 2, "-workload is missing"},
		{sidecar("-address", "here"), 2, `-address "here" is no IP address`},
		{sidecar("-port", "0"), 2, `-port "0" is no port`},
		{sidecar("-port", "65536"), 2, `-port "65536" is no port`},
		{sidecar("-label", "alone"), 2, `-label "alone" is not KEY=VALUE`},
		{sidecar("-upstream", "db"), 2, `-upstream "db" is not NAME:PORT=LOCALPORT`},
		{sidecar("-upstream", "db:0=1"), 2, `-upstream "db:0=1" is not NAME:PORT=LOCALPORT`},
		{sidecar("-token-file", "/nonexistent/token"), 1, "read the join token"},
	} {
		var out, errOut bytes.Buffer
		code := Run(context.Background(), test.args, "1", &out, &errOut)
		if code != test.code || !strings.Contains(errOut.String(), test.want) {
			t.Errorf("%q: exit %d, %q, want %d with %q", test.args, code, errOut.String(), test.code, test.want)
		}
	}
}

func TestUpstreamsAreRead(t *testing.T) {
	for text, want := range map[string]Upstream{
		"db:5432=15432":           {"db", 5432, "127.0.0.1:15432"},
		"db.shop:5432=0.0.0.0:99": {"db.shop", 5432, "0.0.0.0:99"},
		"db:5432=[::1]:1":         {"db", 5432, "[::1]:1"},
	} {
		if have, err := ParseUpstream(text); err != nil || have != want {
			t.Errorf("%s: %+v %v", text, have, err)
		}
	}
	for _, text := range []string{"", "db", "db:1", "db=1", ":1=1", "db:x=1", "db:1=", "db:65536=1"} {
		if have, err := ParseUpstream(text); err == nil {
			t.Errorf("%s: %+v", text, have)
		}
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const wireDir = "../../xds/wire"

func TestTheCommittedFilesAreFresh(t *testing.T) {
	list, err := os.ReadFile(filepath.Join(wireDir, "fields.txt"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(list)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(wireDir, name))
		if err != nil || !bytes.Equal(want, have) {
			t.Errorf("xds/wire/%s is stale (%v): run go run ./tools/wiregen", name, err)
		}
	}
	have, err := filepath.Glob(filepath.Join(wireDir, "*_gen.go"))
	if err != nil {
		t.Fatal(err)
	}
	if len(have) != len(files) {
		t.Errorf("xds/wire has %d generated files, want %d: run go run ./tools/wiregen", len(have), len(files))
	}
}

func TestMistakesInTheListAreRefused(t *testing.T) {
	const listener = "message envoy.config.listener.v3.Listener any\n"
	tests := []struct{ name, list, want string }{
		{"no such message", "message envoy.config.listener.v3.Nothing any\n", "line 1: find envoy.config.listener.v3.Nothing"},
		{"an enum", "message envoy.config.core.v3.TrafficDirection\n", "is not a message"},
		{"no such field", listener + "    foo\n", "there is no field foo"},
		{"no such harmless field", listener + "    name\n    - foo\n", "there is no field foo"},
		{"both read and harmless", listener + "    name\n    - name\n", "name is both read and ignored"},
		{"a type that is not listed", listener + "    address\n", "address: its type envoy.config.core.v3.Address is not listed"},
		{"a message that nothing reads", "message envoy.config.core.v3.Pipe\n    path\n", "no listed field is a envoy.config.core.v3.Pipe"},
		{"listed twice", listener + listener, "line 2: envoy.config.listener.v3.Listener is listed twice"},
		{"names that clash", listener + "message envoy.config.cluster.v3.Cluster as Listener any\n", "rename one"},
		{"a field before a message", "    name\n", "line 1: a field before the first message"},
		{"an unknown word", "messages x\n", "line 1: want message NAME"},
		{"an unknown option", "message x of y\n", `unknown word "of"`},
		{"a declared field without a type", "declare a.B any\n    x 1\n", "want FIELD NUMBER TYPE"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := generate([]byte(test.list))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestNamesAreThoseOfProtoc(t *testing.T) {
	for name, want := range map[string]string{
		"consecutive_5xx":                   "Consecutive_5Xx",
		"enforcing_consecutive_5xx":         "EnforcingConsecutive_5Xx",
		"http2_protocol_options":            "Http2ProtocolOptions",
		"accept_http_10":                    "AcceptHttp_10",
		"Cluster.RingHashLbConfig":          "Cluster_RingHashLbConfig",
		"CircuitBreakers.Thresholds":        "CircuitBreakers_Thresholds",
		"uri":                               "Uri",
		"_hidden":                           "XHidden",
		"spiffe_id":                         "SpiffeId",
		"RouteAction.HashPolicy.QueryParam": "RouteAction_HashPolicy_QueryParam",
	} {
		if have := goCamel(name); have != want {
			t.Errorf("%s: want %s, have %s", name, want, have)
		}
	}
}

// What decides whom a peer is taken for, or what it may do, is never harmless.
func TestNothingOfSecurityIsHarmless(t *testing.T) {
	list, err := os.ReadFile(filepath.Join(wireDir, "fields.txt"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := parse(string(list))
	if err != nil {
		t.Fatal(err)
	}
	strict := map[string]bool{
		"envoy.extensions.transport_sockets.tls.v3.CommonTlsContext":             true,
		"envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext": true,
		"envoy.extensions.transport_sockets.tls.v3.SubjectAltNameMatcher":        true,
		"envoy.extensions.transport_sockets.tls.v3.TlsParameters":                true,
		"envoy.extensions.transport_sockets.tls.v3.TlsCertificate":               true,
		"envoy.config.core.v3.DataSource":                                        true,
		"envoy.config.rbac.v3.RBAC":                                              true,
		"envoy.config.rbac.v3.Policy":                                            true,
		"envoy.config.rbac.v3.Permission":                                        true,
		"envoy.config.rbac.v3.Principal":                                         true,
		"envoy.config.rbac.v3.Principal.Authenticated":                           true,
		"envoy.config.listener.v3.FilterChainMatch":                              true,
		"envoy.config.route.v3.RouteMatch":                                       true,
		"envoy.config.route.v3.HeaderMatcher":                                    true,
		"envoy.config.route.v3.QueryParameterMatcher":                            true,
		"envoy.type.matcher.v3.StringMatcher":                                    true,
	}
	for _, e := range entries {
		if strict[e.name] && len(e.harmless) > 0 {
			t.Errorf("%s: %v must not be harmless", e.name, e.harmless)
		}
		delete(strict, e.name)
	}
	for name := range strict {
		t.Errorf("%s is not listed", name)
	}
}

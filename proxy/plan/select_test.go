package plan

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/tls"
)

// TestTheMostSpecificChainIsChosen follows the order of Envoy's
// FilterChainMatch: destination port, destination address, server name,
// transport, application protocols, source address; each criterion narrows the
// choice and is not revisited.
func TestTheMostSpecificChainIsChosen(t *testing.T) {
	prefix := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	server := new(tls.Server)
	l := &Listener{
		Chains: []*Chain{
			{Name: "any"},
			{Name: "port", Port: 443},
			{Name: "narrow", Destination: prefix("10.1.0.0/16")},
			{Name: "wide", Destination: prefix("10.0.0.0/8")},
			{Name: "exact", TLS: server, ServerNames: []string{"a.example"}},
			{Name: "wild", TLS: server, ServerNames: []string{"*.example"}},
			{Name: "wilder", TLS: server, ServerNames: []string{"*.b.example"}},
			{Name: "tls", TLS: server, Transport: "tls"},
			{Name: "wild h2", TLS: server, ServerNames: []string{"*.example"}, ALPN: []string{"h2"}},
			{Name: "plain http", ALPN: []string{"http/1.1"}},
			{Name: "source", Sources: prefix("192.168.0.0/16")},
		},
		Default: &Chain{Name: "default"},
	}
	ask := func(transport, name, alpn, protocol, local, remote string) string {
		info := &conn.Info{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote)}
		client := Client{Transport: transport, ServerName: name, Protocol: protocol, Info: info}
		if alpn != "" {
			client.ALPN = strings.Split(alpn, ",")
		}
		c := l.Select(client)
		if c == nil {
			return "refused"
		}
		return c.Name
	}
	const here, there = "127.0.0.1:80", "127.0.0.1:999"
	for _, test := range []struct{ transport, name, alpn, protocol, local, remote, want string }{
		{"raw_buffer", "", "", "", here, there, "any"},
		{"raw_buffer", "", "", "", here, "192.168.1.1:9", "source"},
		{"raw_buffer", "", "", "http/1.1", here, there, "plain http"},
		{"raw_buffer", "", "", "http/1.1", here, "192.168.1.1:9", "plain http"}, // protocols come before sources
		{"raw_buffer", "", "", "", "127.0.0.1:443", there, "port"},
		{"raw_buffer", "", "", "", "10.1.2.3:80", there, "narrow"},
		{"raw_buffer", "", "", "", "10.2.2.3:80", there, "wide"},
		{"raw_buffer", "", "", "", "10.1.2.3:443", there, "port"}, // the port comes before the address
		{"tls", "a.example", "", "", here, there, "exact"},
		{"tls", "A.EXAMPLE", "", "", here, there, "exact"},
		{"tls", "a.example", "h2", "", here, there, "exact"}, // the exact name shuts out the wildcard with the protocol
		{"tls", "c.example", "", "", here, there, "wild"},
		{"tls", "c.example", "h2,http/1.1", "", here, there, "wild h2"},
		{"tls", "c.example", "http/1.1", "", here, there, "wild"},
		{"tls", "c.b.example", "", "", here, there, "wilder"},
		{"tls", "b.example", "", "", here, there, "wild"},
		{"tls", "example", "", "", here, there, "tls"}, // *.example is no name of example itself
		{"tls", "other.test", "", "", here, there, "tls"},
		{"tls", "", "", "", here, there, "tls"},
	} {
		if have := ask(test.transport, test.name, test.alpn, test.protocol, test.local, test.remote); have != test.want {
			t.Errorf("%+v: %s", test, have)
		}
	}
	l.Chains = l.Chains[4:6]
	if have := ask("tls", "other.test", "", "", here, there); have != "default" {
		t.Errorf("nothing fits: %s", have)
	}
	if have := ask("raw_buffer", "a.example", "", "", here, there); have != "refused" {
		t.Errorf("plaintext for a chain with TLS: %s", have)
	}
	l.Default = nil
	if have := ask("tls", "other.test", "", "", here, there); have != "refused" {
		t.Errorf("nothing fits and there is no default: %s", have)
	}
}

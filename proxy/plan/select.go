package plan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/leno-mesh/leno/proxy/conn"
)

// Client is what a connection shows of itself before a chain is chosen.
type Client struct {
	// Transport is "tls" or "raw_buffer".
	Transport  string
	ServerName string
	// ALPN is what the client offers.
	ALPN []string
	// Protocol is what plaintext looks like: "http/1.1", "h2c" or empty.
	Protocol string
	Info     *conn.Info
}

// Select returns the chain for a client, nil if the connection is refused. As
// in Envoy each criterion narrows the choice to the chains that name it most
// specifically, without turning back: a chain for this very server name shuts
// out the others even if its ALPN does not fit.
func (l *Listener) Select(client Client) *Chain {
	if len(l.Chains) == 1 && l.Chains[0].any() {
		return l.Chains[0].forClient(client)
	}
	var room [16]*Chain
	left := append(room[:0], l.Chains...)
	for _, specificity := range criteria {
		best := 0
		kept := left[:0]
		for _, c := range left {
			s := specificity(c, &client)
			if s > best {
				best, kept = s, kept[:0]
			}
			if s == best && s > 0 {
				kept = append(kept, c)
			}
		}
		left = kept
	}
	if len(left) == 0 {
		if l.Default == nil {
			return nil
		}
		return l.Default.forClient(client)
	}
	return left[0].forClient(client)
}

// any reports that the chain matches every client.
func (c *Chain) any() bool {
	return c.Port == 0 && len(c.Destination) == 0 && len(c.Sources) == 0 && len(c.ServerNames) == 0 && len(c.ALPN) == 0 && c.Transport == ""
}

// forClient refuses plaintext where the chain demands TLS.
func (c *Chain) forClient(client Client) *Chain {
	if c.TLS != nil && client.Transport != "tls" {
		return nil
	}
	return c
}

// criteria say how specifically a chain names the client: 0 is a mismatch, 1
// any client. Their order is Envoy's (FilterChainMatch).
var criteria = [...]func(*Chain, *Client) int{
	func(c *Chain, client *Client) int {
		switch c.Port {
		case 0:
			return 1
		case destination(client.Info).Port():
			return 2
		}
		return 0
	},
	func(c *Chain, client *Client) int { return prefixes(c.Destination, destination(client.Info).Addr()) },
	func(c *Chain, client *Client) int { return serverName(c.ServerNames, client.ServerName) },
	func(c *Chain, client *Client) int {
		switch c.Transport {
		case "":
			return 1
		case client.Transport:
			return 2
		}
		return 0
	},
	func(c *Chain, client *Client) int {
		if len(c.ALPN) == 0 {
			return 1
		}
		for _, p := range c.ALPN {
			if slices.Contains(client.ALPN, p) || client.Protocol != "" && p == client.Protocol {
				return 2
			}
		}
		return 0
	},
	func(c *Chain, client *Client) int { return prefixes(c.Sources, client.Info.Remote.Addr()) },
}

func destination(i *conn.Info) netip.AddrPort {
	if i.OriginalDst.IsValid() {
		return i.OriginalDst
	}
	return i.Local
}

func prefixes(list []netip.Prefix, a netip.Addr) int {
	if len(list) == 0 {
		return 1
	}
	best := 0
	for _, p := range list {
		if p.Contains(a) {
			best = max(best, 2+p.Bits())
		}
	}
	return best
}

// serverName prefers the exact name, then the longest *.suffix.
func serverName(list []string, name string) int {
	if len(list) == 0 {
		return 1
	}
	name = strings.ToLower(name)
	best := 0
	for _, n := range list {
		if n == name {
			return 1 << 20
		}
		if suffix, ok := strings.CutPrefix(n, "*"); ok && strings.HasSuffix(name, suffix) && len(name) > len(suffix) {
			best = max(best, 1+len(suffix))
		}
	}
	return best
}

package cli

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
)

// DefaultSocket is where a control plane that this user runs on this machine
// listens, and where the command line looks for it.
func DefaultSocket(getenv func(string) string) string {
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "leno", "admin.sock")
	}
	home := getenv("HOME")
	if home == "" {
		home = "/"
	}
	return filepath.Join(home, ".leno", "admin.sock")
}

// address is the server that the user named, or the default.
func (e *Env) address() string {
	if e.flags.server != "" {
		return e.flags.server
	}
	if server := e.Getenv("LENO_SERVER"); server != "" {
		return server
	}
	return "unix://" + DefaultSocket(e.Getenv)
}

// Client returns a client of the admin API of the server that the user named.
func (e *Env) Client() (adminv1connect.AdminClient, error) {
	address := e.address()
	u, err := url.Parse(address)
	if err != nil {
		return nil, usage("the server %q is not an address; give unix:///PATH, PATH or http://HOST:PORT", address)
	}
	switch u.Scheme {
	case "", "unix":
		path := u.Path
		if u.Scheme == "" {
			path = address
		}
		if path == "" || u.Host != "" && u.Scheme == "unix" {
			return nil, usage("the server %q names no socket; give unix:///PATH", address)
		}
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		return adminv1connect.NewAdminClient(&http.Client{Transport: transport}, "http://localhost"), nil
	case "http", "https":
		token, err := e.adminToken()
		if err != nil {
			return nil, err
		}
		if u.Scheme == "http" && token != "" && !loopbackHost(u.Hostname()) {
			return nil, usage("the admin token is not sent in the clear to %s; use https, or a tunnel to its loopback address", u.Host)
		}
		client := &http.Client{Transport: &bearer{token: token, next: http.DefaultTransport}}
		return adminv1connect.NewAdminClient(client, strings.TrimSuffix(address, "/")), nil
	}
	return nil, usage("the server %q has an unknown scheme; give unix:///PATH, PATH or http://HOST:PORT", address)
}

func loopbackHost(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (e *Env) adminToken() (string, error) {
	if e.flags.token != "" && e.flags.tokenFile != "" {
		return "", usage("choose either --token or --token-file")
	}
	if e.flags.token != "" {
		return e.flags.token, nil
	}
	if e.flags.tokenFile != "" {
		b, err := os.ReadFile(e.flags.tokenFile)
		if err != nil {
			return "", unreadable(e.flags.tokenFile, err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	return e.Getenv("LENO_TOKEN"), nil
}

// bearer adds the admin token to requests.
type bearer struct {
	token string
	next  http.RoundTripper
}

func (b *bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+b.token)
	}
	return b.next.RoundTrip(r)
}

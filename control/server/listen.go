package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/leno-mesh/leno/control/adminapi"
)

// listen opens all listeners, so that nothing runs when one is refused.
func (s *Server) listen() error {
	host, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return fmt.Errorf("%q is no address to listen on for proxies: give HOST:PORT", s.cfg.Listen)
	}
	certificate, err := s.authority.ServerCertificate(serverNames(host)...)
	if err != nil {
		return err
	}
	if s.listener, err = net.Listen("tcp", s.cfg.Listen); err != nil {
		return cannotListen("proxies", s.cfg.Listen, err)
	}
	if s.socket, err = adminapi.ListenUnix(s.cfg.AdminSocket); err != nil {
		return fmt.Errorf("cannot listen for commands: %w", err)
	}
	if s.cfg.AdminTCP != "" {
		if err := s.listenConsole(); err != nil {
			return err
		}
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(credentials.NewTLS(certificate.TLS())),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.MaxConcurrentStreams(16),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 15 * time.Second, Timeout: 5 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	s.proxies.Register(s.grpc)
	return nil
}

func (s *Server) listenConsole() error {
	address, err := netip.ParseAddrPort(s.cfg.AdminTCP)
	if err != nil || !address.Addr().IsLoopback() {
		return fmt.Errorf("the admin API cannot listen on %q: give a loopback address, such as 127.0.0.1:15080", s.cfg.AdminTCP)
	}
	if s.adminToken, err = adminapi.LoadToken(s.AdminTokenFile()); err != nil {
		return err
	}
	if s.console, err = net.Listen("tcp", s.cfg.AdminTCP); err != nil {
		return cannotListen("the admin API", s.cfg.AdminTCP, err)
	}
	return nil
}

// serverNames are what the server's certificate carries for clients that check
// names; Leno's own check the identity.
func serverNames(host string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if address, err := netip.ParseAddr(host); host != "" && host != "localhost" && (err != nil || !address.IsUnspecified() && !address.IsLoopback()) {
		names = append(names, host)
	}
	if name, err := os.Hostname(); err == nil && name != "localhost" {
		names = append(names, name)
	}
	return names
}

func cannotListen(who, address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("cannot listen for %s on %s: the port is in use; is another control plane running?", who, address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("cannot listen for %s on %s: this user may not use the port", who, address)
	}
	return fmt.Errorf("cannot listen for %s on %s: %w", who, address, err)
}

// loopback turns a wildcard address that is listened on into one that this
// machine can dial.
func loopback(address string) string {
	a, err := netip.ParseAddrPort(address)
	if err != nil || !a.Addr().IsUnspecified() {
		return address
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), a.Port()).String()
}

// Package server makes a control plane of its parts: a store, an authority,
// what turns one into resources for proxies, and the listeners for proxies and
// for people.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/control/adminapi"
	"github.com/leno-mesh/leno/control/assemble"
	"github.com/leno-mesh/leno/control/ca"
	"github.com/leno-mesh/leno/control/generate"
	"github.com/leno-mesh/leno/control/serve"
	"github.com/leno-mesh/leno/control/serve/traffic"
	"github.com/leno-mesh/leno/control/source"
	"github.com/leno-mesh/leno/control/store/bolt"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/durable"
)

// Names in the data directory.
const (
	storeFile      = "leno.db"
	authorityDir   = "ca"
	adminTokenFile = "admin.token"
)

// closeTimeout is how long running calls of proxies may take to end.
const closeTimeout = 2 * time.Second

// Config says where a control plane lives and listens.
type Config struct {
	// Data is the directory of all that it keeps. It is made if it is missing,
	// for its owner alone.
	Data string
	// TrustDomain is of the first start; empty makes a random one.
	TrustDomain string
	// RootCertificate and RootKey are PEM files of a root made elsewhere; both
	// or none. AlsoTrust holds further roots.
	RootCertificate, RootKey, AlsoTrust string
	// Listen is HOST:PORT for proxies. Port 0 lets the kernel choose.
	Listen string
	// AdminSocket is a path. AdminTCP is a loopback HOST:PORT, empty for none.
	AdminSocket, AdminTCP string
	Version               string
	Log                   *slog.Logger
}

// Server is a running control plane.
type Server struct {
	cfg     Config
	started time.Time

	store     *bolt.Store
	authority *ca.Authority
	enrolment *ca.Enrolment
	tokens    *tokens

	assembler *assemble.Assembler
	sets      cell.Cell[generate.Set]
	traffic   *traffic.Traffic
	proxies   *serve.Server

	grpc            *grpc.Server
	listener        net.Listener // for proxies
	socket, console net.Listener // for people; console is nil without AdminTCP
	adminToken      string

	cancel context.CancelFunc
	done   chan struct{} // closed when all has ended
	err    error         // why, set before done is closed
}

// Start returns when the control plane answers, or says in one sentence why it
// cannot. It runs until ctx ends or Close is called.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, started: time.Now(), traffic: traffic.New(nil), done: make(chan struct{})}
	if err := s.open(ctx); err != nil {
		s.release()
		return nil, err
	}
	ctx, s.cancel = context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	s.run(ctx, group)
	go func() {
		err := group.Wait()
		s.cancel()
		if !errors.Is(err, context.Canceled) {
			s.err = err
		}
		s.err = errors.Join(s.err, s.release())
		close(s.done)
	}()
	if err := s.awaitResources(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open takes everything that can be refused, in the order in which it is
// released backwards.
func (s *Server) open(ctx context.Context) (err error) {
	if err := durable.Directory(s.cfg.Data); err != nil {
		return fmt.Errorf("the data directory %s cannot be used: %w", s.cfg.Data, err)
	}
	if s.store, err = bolt.Open(filepath.Join(s.cfg.Data, storeFile)); err != nil {
		return err
	}
	if err := s.openAuthority(); err != nil {
		return err
	}
	if err := establish(s.store, s.authority.TrustDomain()); err != nil {
		return err
	}
	s.assembler = assemble.New(source.NewStore(s.store))
	s.proxies, err = serve.New(ctx, serve.Config{
		Sets: &s.sets, Verify: s.authority.VerifyPeer, Enroller: &enroller{s.enrolment, s.cfg.Log},
		Objects: objects{s.store}, Traffic: s.traffic, Log: s.cfg.Log,
	})
	if err != nil {
		return fmt.Errorf("start serving proxies: %w", err)
	}
	return s.listen()
}

func (s *Server) openAuthority() error {
	domain, err := trustDomain(s.store, s.cfg.TrustDomain)
	if err != nil {
		return err
	}
	s.authority, err = ca.Open(ca.Config{
		Directory: filepath.Join(s.cfg.Data, authorityDir), TrustDomain: domain,
		RootCertFile: s.cfg.RootCertificate, RootKeyFile: s.cfg.RootKey, AlsoTrustFile: s.cfg.AlsoTrust,
	})
	if err != nil {
		return err
	}
	s.tokens = &tokens{section: s.store.Section("jointokens"), now: time.Now}
	s.enrolment = ca.NewEnrolment(ca.EnrolmentConfig{Authority: s.authority, Tokens: s.tokens})
	return nil
}

// run starts everything that goes on until ctx ends.
func (s *Server) run(ctx context.Context, group *errgroup.Group) {
	group.Go(func() error { return s.assembler.Run(ctx) })
	group.Go(func() error { return s.generate(ctx) })
	group.Go(func() error {
		if err := s.grpc.Serve(s.listener); err != nil && ctx.Err() == nil {
			return fmt.Errorf("serve proxies: %w", err)
		}
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		s.stopServing()
		return nil
	})
	admin := adminapi.New(adminapi.Config{
		Version: s.cfg.Version, StartedAt: s.started, Store: s.store, StoreInfo: s.storeInfo, ProxyAddress: loopback(s.XDSAddress()),
		Snapshots: s.assembler.Snapshots(), Trust: s.trust, Proxies: s.proxies, Traffic: s.traffic,
		Tokens: adminTokens{s.enrolment, s.tokens},
	}).Handler()
	group.Go(func() error { return adminapi.Serve(ctx, s.socket, admin) })
	if s.console != nil {
		group.Go(func() error { return adminapi.Serve(ctx, s.console, adminapi.Guard(s.adminToken, admin)) })
	}
}

// generate turns each snapshot into resources. It owns the generator.
func (s *Server) generate(ctx context.Context) error {
	generator := generate.New()
	for {
		snapshot, changed := s.assembler.Snapshots().Next()
		if snapshot != nil {
			set := generator.Generate(snapshot)
			for _, err := range set.Errors() {
				s.cfg.Log.Error("cannot generate a resource", "error", err)
			}
			s.sets.Store(set)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitResources waits until proxies that come have something to get.
func (s *Server) awaitResources(ctx context.Context) error {
	for {
		set, changed := s.sets.Next()
		if set != nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stopServing ends the streams of proxies, which go on with what they have.
func (s *Server) stopServing() {
	s.proxies.Close()
	timer := time.AfterFunc(closeTimeout, s.grpc.Stop)
	defer timer.Stop()
	s.grpc.GracefulStop()
}

// release gives back what open took.
func (s *Server) release() error {
	var errs []error
	for _, l := range []net.Listener{s.listener, s.socket, s.console} {
		if l != nil {
			_ = l.Close() // closed already where it was served
		}
	}
	if s.proxies != nil {
		s.proxies.Close()
	}
	if s.authority != nil {
		errs = append(errs, s.authority.Close())
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}

// XDSAddress is where proxies connect to.
func (s *Server) XDSAddress() string { return s.listener.Addr().String() }

// AdminSocket is where people's commands connect to.
func (s *Server) AdminSocket() string { return s.socket.Addr().String() }

// AdminTCP is where they connect to with the token in AdminTokenFile; empty
// without one.
func (s *Server) AdminTCP() string {
	if s.console == nil {
		return ""
	}
	return s.console.Addr().String()
}

// AdminTokenFile holds the token for AdminTCP.
func (s *Server) AdminTokenFile() string { return filepath.Join(s.cfg.Data, adminTokenFile) }

// TrustDomain is the mesh's.
func (s *Server) TrustDomain() string { return s.authority.TrustDomain() }

// Wait returns when the control plane has ended, and why if it was not asked to.
func (s *Server) Wait() error {
	<-s.done
	return s.err
}

// Close ends the control plane in order and waits for it.
func (s *Server) Close() error {
	s.cancel()
	return s.Wait()
}

func (s *Server) storeInfo() (path string, size int64) {
	path = filepath.Join(s.cfg.Data, storeFile)
	if info, err := os.Stat(path); err == nil {
		size = info.Size()
	}
	return path, size
}

func (s *Server) trust() *adminv1.Trust {
	hash := s.authority.RootHash()
	return &adminv1.Trust{
		Domain: s.authority.TrustDomain(), RootSha256: fmt.Sprintf("%x", hash),
		RootExpiresAt:   s.authority.Roots()[0].NotAfter.UnixMilli(),
		IssuerExpiresAt: s.authority.IssuerExpiry().UnixMilli(),
	}
}

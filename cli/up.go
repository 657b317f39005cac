package cli

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/leno-mesh/leno/control/server"
)

// serverOptions are the flags of up and server.
type serverOptions struct {
	data, listen, socket, admin         string
	trustDomain                         string
	rootCertificate, rootKey, alsoTrust string
	logLevel                            string
}

func (o *serverOptions) flags(cmd *cobra.Command, data, listen, admin, level string, env *Env) {
	f := cmd.Flags()
	f.StringVar(&o.data, "data", data, "directory of all that the control plane keeps")
	f.StringVar(&o.listen, "listen", listen, "HOST:PORT for proxies")
	f.StringVar(&o.socket, "socket", DefaultSocket(env.Getenv), "socket for commands")
	f.StringVar(&o.admin, "admin", admin, "loopback HOST:PORT for commands and programs that have the admin token; empty for none")
	f.StringVar(&o.trustDomain, "trust-domain", "", "of a new mesh (default: a random one)")
	f.StringVar(&o.rootCertificate, "root-cert", "", "PEM file of a root certificate made elsewhere")
	f.StringVar(&o.rootKey, "root-key", "", "PEM file of its key")
	f.StringVar(&o.alsoTrust, "also-trust", "", "PEM file of further roots, while one replaces another")
	f.StringVar(&o.logLevel, "log-level", level, "debug, info, warn or error")
}

func (o *serverOptions) config(env *Env) (server.Config, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return server.Config{}, usage("there is no log level %q; choose debug, info, warn or error", o.logLevel)
	}
	return server.Config{
		Data: o.data, Listen: o.listen, AdminSocket: o.socket, AdminTCP: o.admin, TrustDomain: o.trustDomain,
		RootCertificate: o.rootCertificate, RootKey: o.rootKey, AlsoTrust: o.alsoTrust, Version: env.Version,
		Log: slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: level})),
	}, nil
}

func upCommand(env *Env) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the control plane of a mesh on this machine",
		Long: `Up runs a control plane for this user until Ctrl-C. What it knows stays in its
data directory for the next time; the proxies of the mesh go on without it.`,
		Example: `  leno up
  leno up --data ./mesh --listen 0.0.0.0:15012`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			begun := time.Now()
			cfg, err := o.config(env)
			if err != nil {
				return err
			}
			s, err := server.Start(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			env.greet(s, time.Since(begun))
			return s.Wait()
		},
	}
	o.flags(cmd, dataDirectory(env.Getenv), defaultProxyServer, "127.0.0.1:15080", "warn", env)
	return cmd
}

// greet says where the control plane is and what to do with it.
func (e *Env) greet(s *server.Server, took time.Duration) {
	leno := "leno"
	if s.AdminSocket() != DefaultSocket(e.Getenv) {
		leno = "LENO_SERVER=" + s.AdminSocket() + " leno"
	}
	also := ""
	if s.AdminTCP() != "" {
		also = fmt.Sprintf("  (or http://%s with the token in %s)", s.AdminTCP(), s.AdminTokenFile())
	}
	fmt.Fprintf(e.Out, "Mesh %s takes proxies on %s.\n", e.paint(good, s.TrustDomain()), s.XDSAddress())
	fmt.Fprintf(e.Out, "Talk to it:  %s status%s\n", leno, also)
	fmt.Fprintf(e.Out, "Next:        %s run --service web --port 8080 -- COMMAND\n", leno)
	fmt.Fprintf(e.Out, "Ready after %d ms. Ctrl-C ends it.\n", took.Milliseconds())
}

// dataDirectory is where this user's control plane keeps what it knows.
func dataDirectory(getenv func(string) string) string {
	if dir := getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "leno")
	}
	home := getenv("HOME")
	if home == "" {
		home = "/"
	}
	return filepath.Join(home, ".local", "share", "leno")
}

// serveUntil runs a control plane and logs its life.
func serveUntil(ctx context.Context, cfg server.Config) error {
	begun := time.Now()
	s, err := server.Start(ctx, cfg)
	if err != nil {
		return err
	}
	cfg.Log.Info("ready", "mesh", s.TrustDomain(), "proxies", s.XDSAddress(), "socket", s.AdminSocket(), "admin", s.AdminTCP(), "after", time.Since(begun).Round(time.Millisecond))
	err = s.Wait()
	cfg.Log.Info("ended")
	return err
}

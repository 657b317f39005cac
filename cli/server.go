package cli

import "github.com/spf13/cobra"

func serverCommand(env *Env) *cobra.Command {
	var o serverOptions
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a control plane as a service of a machine",
		Long: `Server runs a control plane for proxies of other machines, under an init system:
it logs to standard error and ends in order on SIGTERM.`,
		Example: `  leno server --data /var/lib/leno --listen 0.0.0.0:15012
  leno server --root-cert root.pem --root-key root.key --trust-domain example.org`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.config(env)
			if err != nil {
				return err
			}
			return serveUntil(cmd.Context(), cfg)
		},
	}
	o.flags(cmd, "/var/lib/leno", "0.0.0.0:15012", "", "info", env)
	return cmd
}

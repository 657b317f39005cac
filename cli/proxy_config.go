package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func proxyConfigCommand(env *Env) *cobra.Command {
	var what string
	cmd := &cobra.Command{
		Use:   "config NAME",
		Short: "Show what a proxy runs, as the proxy itself tells it",
		Long: `Config asks a connected proxy what it runs: its configuration, the state of its
clusters and endpoints, or its certificates (never a key).`,
		Example: `  leno proxy config cart-1
  leno proxy config cart-1 --what clusters
  leno proxy config cart-1 -o json`,
		Args: exactly(1, "the proxy's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := env.Client()
			if err != nil {
				return err
			}
			answer, err := client.ProxyDump(cmd.Context(), &adminv1.ProxyDumpRequest{Proxy: args[0], What: what})
			if err != nil {
				return err
			}
			dump := json.RawMessage(answer.GetJson())
			if !json.Valid(dump) {
				return fmt.Errorf("proxy %s answered with what is not JSON", args[0])
			}
			if done, err := env.printData(dump); done {
				return err
			}
			return env.printDump(dump)
		},
	}
	cmd.Flags().StringVar(&what, "what", "config", "config, clusters or certs")
	cmd.RegisterFlagCompletionFunc("what", cobra.FixedCompletions([]string{"config", "clusters", "certs"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

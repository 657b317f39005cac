package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func tokenCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make and end the tokens that proxies join with",
		Example: `  leno token create --service cart
  leno token list
  leno token revoke ID`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(tokenCreateCommand(env), tokenListCommand(env), tokenRevokeCommand(env))
	return cmd
}

// tokenView is a token in -o json.
type tokenView struct {
	Token     string     `json:"token,omitempty"` // when it is made
	ID        string     `json:"id"`
	Namespace string     `json:"namespace"`
	Service   string     `json:"service"`
	Account   string     `json:"account"`
	CreatedAt *time.Time `json:"createdAt,omitempty"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	UsesLeft  uint32     `json:"usesLeft"`
}

func viewToken(t *adminv1.Token, secret string) tokenView {
	return tokenView{
		Token: secret, ID: t.GetId(), Namespace: t.GetNamespace(), Service: t.GetService(), Account: t.GetAccount(),
		CreatedAt: timeOf(t.GetCreatedAt()), ExpiresAt: timeOf(t.GetExpiresAt()), UsesLeft: t.GetUsesLeft(),
	}
}

func tokenCreateCommand(env *Env) *cobra.Command {
	var service, account string
	var ttl time.Duration
	var uses uint32
	cmd := &cobra.Command{
		Use:   "create --service NAME",
		Short: "Make a token with which a proxy joins as a workload of a service",
		Long:  "Create prints the token, this once: the control plane keeps only its hash.",
		Example: `  leno token create --service cart
  leno token create --service cart -n shop --ttl 10m --uses 3`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case service == "":
				return usage("the service is missing: give --service NAME")
			case ttl < time.Second:
				return usage("--ttl must be a second or more")
			case uses == 0:
				return usage("--uses must be 1 or more")
			}
			client, err := env.Client()
			if err != nil {
				return err
			}
			created, err := client.CreateToken(cmd.Context(), &adminv1.CreateTokenRequest{
				Namespace: env.Namespace(), Service: service, Account: account, TtlSeconds: int64(ttl / time.Second), Uses: uses,
			})
			if err != nil {
				return err
			}
			if done, err := env.printData(viewToken(created.GetInfo(), created.GetToken())); done {
				return err
			}
			fmt.Fprintln(env.Out, printable(created.GetToken()))
			return nil
		},
	}
	cmd.Flags().StringVar(&service, "service", "", "service that the workload is of")
	cmd.Flags().StringVar(&account, "account", "", "account of its identity (default: the service's name)")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long the token may be used")
	cmd.Flags().Uint32Var(&uses, "uses", 1, "how many proxies may join with it")
	return cmd
}

func tokenListCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the tokens that can still be used",
		Example: "  leno token list -o json",
		Args:    none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := env.Client()
			if err != nil {
				return err
			}
			listed, err := client.ListTokens(cmd.Context(), &adminv1.ListTokensRequest{})
			if err != nil {
				return err
			}
			views := []tokenView{}
			t := &table{header: []string{"ID", "NAMESPACE", "SERVICE", "ACCOUNT", "USES LEFT", "EXPIRES"}, empty: "No token can be used."}
			for _, token := range listed.GetTokens() {
				views = append(views, viewToken(token, ""))
				t.add(text(token.GetId()), cell{token.GetNamespace(), dim}, text(token.GetService()), text(token.GetAccount()),
					number(token.GetUsesLeft()), env.until(token.GetExpiresAt()))
			}
			if done, err := env.printData(views); done {
				return err
			}
			if env.flags.output == "name" {
				for _, v := range views {
					fmt.Fprintln(env.Out, printable(v.ID))
				}
				return nil
			}
			env.print(t)
			return nil
		},
	}
}

func tokenRevokeCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID...",
		Short: "End tokens; proxies that have joined stay",
		Example: `  leno token revoke 3kq9x2
  leno token list -o name | xargs leno token revoke`,
		Args: atLeast(1, "the token's ID"),
		RunE: func(cmd *cobra.Command, ids []string) error {
			client, err := env.Client()
			if err != nil {
				return err
			}
			for _, id := range ids {
				if _, err := client.RevokeToken(cmd.Context(), &adminv1.RevokeTokenRequest{Id: id}); err != nil {
					return err
				}
				fmt.Fprintln(env.Out, "token", printable(id), "revoked")
			}
			return nil
		},
	}
}

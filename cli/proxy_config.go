package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
)

func proxyConfigCommand(env *Env) *cobra.Command {
	var what string
	cmd := &cobra.Command{
		Use:   "config NAME|SERVICE",
		Short: "Show what a proxy runs, as the proxy itself tells it",
		Long: `Config asks a connected proxy what it runs: its configuration, the state of its
clusters and endpoints, or its certificates (never a key). A service stands for
its proxy when it has a single one.`,
		Example: `  leno proxy config cart-1
  leno proxy config cart-1 --what clusters
  leno proxy config cart-1 -o json`,
		Args: exactly(1, "the proxy's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := env.Client()
			if err != nil {
				return err
			}
			dump, err := env.dump(cmd.Context(), client, args[0], what)
			if err != nil {
				return err
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

// dump asks a proxy, which its service may stand for.
func (e *Env) dump(ctx context.Context, client adminv1connect.AdminClient, name, what string) (json.RawMessage, error) {
	ask := func() (*adminv1.ProxyDumpResponse, error) {
		return client.ProxyDump(ctx, &adminv1.ProxyDumpRequest{Proxy: name, What: what})
	}
	answer, err := ask()
	if connect.CodeOf(err) == connect.CodeNotFound {
		listed, failed := client.ListProxies(ctx, &adminv1.ListProxiesRequest{Namespace: e.flags.namespace})
		if failed != nil {
			return nil, failed
		}
		if name, err = meant(name, listed.GetProxies(), err); err == nil {
			answer, err = ask()
		}
	}
	if err != nil {
		return nil, err
	}
	dump := json.RawMessage(answer.GetJson())
	if !json.Valid(dump) {
		return nil, fmt.Errorf("proxy %s answered with what is not JSON", name)
	}
	return dump, nil
}

// meant is the connected proxy that a user means by a word that is no proxy's
// name: the only one of that service. Else it says which there are, or what is
// known already to be missing.
func meant(word string, proxies []*adminv1.Proxy, missing error) (string, error) {
	var ofService, alike []string
	for _, p := range proxies {
		switch {
		case !p.GetConnected():
		case p.GetService() == word:
			ofService = append(ofService, p.GetName())
		case strings.HasPrefix(p.GetName(), word):
			alike = append(alike, p.GetName())
		}
	}
	switch {
	case len(ofService) == 1:
		return ofService[0], nil
	case len(ofService) > 1:
		return "", &ExitError{ExitRefused, fmt.Errorf("service %s has %d proxies: name one of %s", word, len(ofService), someOf(ofService))}
	case len(alike) > 0:
		return "", &ExitError{ExitRefused, fmt.Errorf("no proxy named %s is connected; did you mean %s?", word, someOf(alike))}
	}
	return "", missing
}

// someOf lists names, of many only the first.
func someOf(names []string) string {
	if more := len(names) - 5; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), more)
	}
	if last := len(names) - 1; last > 0 {
		return strings.Join(names[:last], ", ") + " or " + names[last]
	}
	return names[0]
}

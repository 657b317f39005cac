package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/leno-mesh/leno/api"
)

// Main runs the command that args name and returns its exit code.
func Main(ctx context.Context, env *Env, args []string, extra ...*cobra.Command) int {
	if code, ran := env.dataPlane(args); ran {
		return code
	}
	root := Root(env, extra...)
	root.SetArgs(args)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd(args...)
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") && !strings.HasPrefix(args[0], "__") {
		if found, _, err := root.Find(args); err == nil && found == root {
			root.SetArgs(args[:1]) // an unknown verb, whose flags mean nothing
		}
	}
	err := root.ExecuteContext(ctx)
	var exit *ExitError
	if err == nil || errors.As(err, &exit) && exit.Err == nil {
		return exitCode(err)
	}
	code := exitCode(err)
	fmt.Fprintln(env.Err, env.explain(err))
	if code == ExitUsage {
		fmt.Fprintln(env.Err, "Add --help to the command for its usage.")
	}
	return code
}

// Root returns the leno command with the verbs of this package and extra ones.
// Verbs take their flags' values from env. An extra command may have the name of
// one of this package, and then keeps its subcommands.
func Root(env *Env, extra ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:   "leno",
		Short: "The lightest service mesh",
		Long: `leno runs and operates a service mesh.

Exit codes: 0 done, 1 different or not as wanted, 2 wrong usage, 3 refused,
4 no control plane reached, 5 out of time or interrupted.`,
		Example: `  leno apply -f shop.yaml --wait
  leno status
  leno get httproutes -A`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		RunE:              group,
		PersistentPreRunE: func(*cobra.Command, []string) error { return env.checkFlags() },
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &ExitError{ExitUsage, err} })
	f := root.PersistentFlags()
	f.StringVar(&env.flags.server, "server", "", "control plane: unix:///PATH, PATH or http(s)://HOST:PORT (LENO_SERVER; default: the socket of this user's leno up)")
	f.StringVar(&env.flags.token, "token", "", "admin token for a server over TCP (LENO_TOKEN)")
	f.StringVar(&env.flags.tokenFile, "token-file", "", "file that holds the admin token")
	f.StringVarP(&env.flags.namespace, "namespace", "n", "", "namespace (default \"default\")")
	f.BoolVarP(&env.flags.allNamespaces, "all-namespaces", "A", false, "all namespaces")
	f.StringVarP(&env.flags.output, "output", "o", "table", "table, json, yaml or name")
	f.StringVar(&env.flags.color, "color", "auto", "auto, always or never (NO_COLOR)")
	for flag, values := range map[string][]string{"output": outputs, "color": colors} {
		root.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	root.AddCommand(
		applyCommand(env), getCommand(env), describeCommand(env), deleteCommand(env), diffCommand(env),
		statusCommand(env), proxyCommand(env), tokenCommand(env), versionCommand(env),
		upCommand(env), serverCommand(env), runCommand(env), demoCommand(env), shopCommand(env),
	)
	for _, cmd := range extra {
		replace(root, cmd)
	}
	return root
}

// replace adds a command; one that was there before under its name leaves it
// its subcommands.
func replace(root, cmd *cobra.Command) {
	for _, old := range root.Commands() {
		if old.Name() == cmd.Name() {
			subcommands := old.Commands()
			root.RemoveCommand(old)
			old.RemoveCommand(subcommands...)
			cmd.AddCommand(subcommands...)
		}
	}
	root.AddCommand(cmd)
}

// Fixed sets of flag values, never written.
var (
	outputs = []string{"table", "json", "yaml", "name"}
	colors  = []string{"auto", "always", "never"}
)

func (e *Env) checkFlags() error {
	if !slices.Contains(outputs, e.flags.output) {
		return usage("there is no output %q; choose table, json, yaml or name", e.flags.output)
	}
	if !slices.Contains(colors, e.flags.color) {
		return usage("there is no colour mode %q; choose auto, always or never", e.flags.color)
	}
	if e.flags.allNamespaces && e.flags.namespace != "" {
		return usage("choose either a namespace or all of them: --namespace and --all-namespaces exclude each other")
	}
	return nil
}

// group is the action of a command that only holds others.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	if near := api.Nearest(args[0], names); near != "" {
		return usage("there is no command %q; did you mean `%s %s`?", args[0], cmd.CommandPath(), near)
	}
	return usage("there is no command %q; `%s --help` lists them", args[0], cmd.CommandPath())
}

// atLeast and exactly are cobra's argument checks with our exit code.
func atLeast(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) < n {
			return usage("%s is missing", what)
		}
		return nil
	}
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) < n && n == 1:
			return usage("%s is missing", what)
		case len(args) != n:
			return usage("%d arguments were given where %s was expected", len(args), what)
		}
		return nil
	}
}

func none(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("no argument was expected, but %q was given", args[0])
	}
	return nil
}

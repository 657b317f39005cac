package cli

import (
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func deleteCommand(env *Env) *cobra.Command {
	var files []string
	var dryRun, ignoreMissing bool
	cmd := &cobra.Command{
		Use:   "delete (-f FILE | KIND NAME...)",
		Short: "Delete objects",
		Long:  "Delete removes objects, all of them or none.",
		Example: `  leno delete httproute cart
  leno delete svc/cart httproute/cart -n shop
  leno delete -f shop.yaml --ignore-missing`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if (len(files) == 0) == (len(args) == 0) {
				return usage("give either -f FILE or KIND NAME")
			}
			docs, err := env.readDocuments(files)
			if err != nil {
				return err
			}
			references, err := env.references(args)
			if err != nil {
				return err
			}
			client, err := env.Client()
			if err != nil {
				return err
			}
			deleted, err := client.Delete(cmd.Context(), &adminv1.DeleteRequest{
				References: references, Documents: docs, Namespace: env.flags.namespace, DryRun: dryRun, IgnoreMissing: ignoreMissing,
			})
			if err != nil {
				return err
			}
			return env.printResults(deleted.GetResults(), deleted.GetWarnings(), deleted.GetRevision(), dryRun)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, directory or - for standard input; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check and say what would happen, change nothing")
	cmd.Flags().BoolVar(&ignoreMissing, "ignore-missing", false, "do not fail for objects that do not exist")
	return cmd
}

// references reads KIND NAME... or KIND/NAME...
func (e *Env) references(args []string) ([]*adminv1.Reference, error) {
	if len(args) == 0 {
		return nil, nil
	}
	var references []*adminv1.Reference
	if !strings.Contains(args[0], "/") {
		if len(args) == 1 {
			return nil, usage("the name of the %s is missing", args[0])
		}
		for _, name := range args[1:] {
			if strings.Contains(name, "/") {
				return nil, usage("give either KIND NAME... or KIND/NAME..., not both")
			}
			references = append(references, &adminv1.Reference{Kind: args[0], Namespace: e.flags.namespace, Name: name})
		}
		return references, nil
	}
	for _, arg := range args {
		kind, name, ok := strings.Cut(arg, "/")
		if !ok || kind == "" || name == "" || strings.Contains(name, "/") {
			return nil, usage("%q does not name an object; give KIND/NAME", arg)
		}
		references = append(references, &adminv1.Reference{Kind: kind, Namespace: e.flags.namespace, Name: name})
	}
	return references, nil
}

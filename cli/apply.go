package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func applyCommand(env *Env) *cobra.Command {
	var files []string
	var dryRun, wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make the mesh be what files say",
		Long: `Apply creates and changes objects, all of them or none. Objects that are
already as the files say are not touched.`,
		Example: `  leno apply -f shop.yaml
  leno apply -f mesh/ --wait --timeout 30s
  cat route.yaml | leno apply -f - --dry-run`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return usage("the files are missing: give -f FILE")
			}
			docs, err := env.readDocuments(files)
			if err != nil {
				return err
			}
			client, err := env.Client()
			if err != nil {
				return err
			}
			applied, err := client.Apply(cmd.Context(), &adminv1.ApplyRequest{Documents: docs, Namespace: env.flags.namespace, DryRun: dryRun})
			if err != nil {
				return err
			}
			if err := env.printResults(applied.GetResults(), applied.GetWarnings(), applied.GetRevision(), dryRun); err != nil {
				return err
			}
			if !wait || dryRun {
				return nil
			}
			return env.wait(cmd.Context(), client, applied.GetRevision(), timeout)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, directory or - for standard input; may be repeated")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "check and say what would happen, change nothing")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until every concerned proxy runs the change")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "with --wait, give up after this time")
	return cmd
}

type resultView struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Action    string `json:"action"`
}

type resultsView struct {
	Results  []resultView `json:"results"`
	Warnings []string     `json:"warnings,omitempty"`
	Revision uint64       `json:"revision"`
	DryRun   bool         `json:"dryRun,omitempty"`
}

func (e *Env) printResults(results []*adminv1.Result, warnings []*adminv1.Problem, revision uint64, dryRun bool) error {
	view := resultsView{Results: []resultView{}, Revision: revision, DryRun: dryRun}
	for _, r := range results {
		view.Results = append(view.Results, resultView{r.GetObject().GetKind(), r.GetObject().GetNamespace(), r.GetObject().GetName(), r.GetAction()})
	}
	for _, w := range warnings {
		view.Warnings = append(view.Warnings, problemLine(w))
	}
	if done, err := e.printData(view); done {
		return err
	}
	for _, w := range view.Warnings {
		fmt.Fprintln(e.Err, e.paint(warn, "warning:"), w)
	}
	for _, r := range results {
		e.printResult(e.Out, r, dryRun)
	}
	return nil
}

func (e *Env) printResult(w io.Writer, r *adminv1.Result, dryRun bool) {
	name := nameString(r.GetObject())
	if e.flags.output == "name" {
		fmt.Fprintln(w, name)
		return
	}
	if ns := r.GetObject().GetNamespace(); ns != "" && ns != e.Namespace() {
		name += " in " + ns
	}
	action := r.GetAction()
	switch action {
	case "created", "configured":
		action = e.paint(good, action)
	case "deleted":
		action = e.paint(warn, action)
	}
	if dryRun {
		action += " (dry run)"
	}
	fmt.Fprintln(w, printable(name), action)
}

// nameString is kind/name, as kubectl writes it.
func nameString(r *adminv1.Reference) string {
	return strings.ToLower(r.GetKind()) + "/" + r.GetName()
}

// refString is Kind/namespace/name.
func refString(r *adminv1.Reference) string {
	if r.GetNamespace() == "" {
		return r.GetKind() + "/" + r.GetName()
	}
	return r.GetKind() + "/" + r.GetNamespace() + "/" + r.GetName()
}

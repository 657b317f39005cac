package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func diffCommand(env *Env) *cobra.Command {
	var files []string
	cmd := &cobra.Command{
		Use:   "diff -f FILE",
		Short: "Show what apply would change",
		Long:  "Diff shows what apply would change. Its exit code is 1 when it shows anything.",
		Example: `  leno diff -f shop.yaml
  leno diff -f mesh/ && echo nothing to do`,
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
			diff, err := client.Diff(cmd.Context(), &adminv1.DiffRequest{Documents: docs, Namespace: env.flags.namespace})
			if err != nil {
				return err
			}
			if err := env.printDifferences(diff.GetDifferences()); err != nil {
				return err
			}
			if len(diff.GetDifferences()) > 0 {
				return &ExitError{Code: ExitDifferent}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVarP(&files, "filename", "f", nil, "file, directory or - for standard input; may be repeated")
	return cmd
}

type differenceView struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Action    string `json:"action"`
	Unified   string `json:"unified"`
}

func (e *Env) printDifferences(differences []*adminv1.Difference) error {
	views := []differenceView{}
	for _, d := range differences {
		views = append(views, differenceView{d.GetObject().GetKind(), d.GetObject().GetNamespace(), d.GetObject().GetName(), d.GetAction(), d.GetUnified()})
	}
	if done, err := e.printData(views); done {
		return err
	}
	for _, d := range differences {
		if e.flags.output == "name" {
			fmt.Fprintln(e.Out, nameString(d.GetObject()))
			continue
		}
		for line := range strings.Lines(d.GetUnified()) {
			fmt.Fprintln(e.Out, e.paint(diffTone(line), diffText(line)))
		}
	}
	return nil
}

// diffText keeps tabs, which printable does not.
func diffText(line string) string {
	parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
	for i := range parts {
		parts[i] = printable(parts[i])
	}
	return strings.Join(parts, "\t")
}

func diffTone(line string) tone {
	switch {
	case strings.HasPrefix(line, "---"), strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "@@"):
		return dim
	case strings.HasPrefix(line, "+"):
		return good
	case strings.HasPrefix(line, "-"):
		return bad
	}
	return plain
}

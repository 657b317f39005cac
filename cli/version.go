package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// versionOutput is version -o json.
type versionOutput struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func versionCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version of this command",
		Example: `  leno version
  leno version -o json`,
		Args: none,
		RunE: func(*cobra.Command, []string) error {
			out := versionOutput{env.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH}
			if done, err := env.printData(out); done {
				return err
			}
			_, err := fmt.Fprintf(env.Out, "leno %s (%s, %s/%s)\n", out.Version, out.Go, out.OS, out.Arch)
			return err
		},
	}
}

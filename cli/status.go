package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func statusCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the state of the mesh",
		Long: `Status shows the control plane, its proxies and what is wrong. Its exit code is
1 when something is.`,
		Example: `  leno status
  leno status -o json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := env.Client()
			if err != nil {
				return err
			}
			status, err := client.Status(cmd.Context(), &adminv1.StatusRequest{})
			if err != nil {
				return err
			}
			view := env.viewStatus(status)
			done, err := env.printData(view)
			if err != nil {
				return err
			}
			if !done {
				env.printStatus(status, view)
			}
			if len(view.Wrong) > 0 {
				return &ExitError{Code: ExitDifferent}
			}
			return nil
		},
	}
}

// statusView is status -o json.
type statusView struct {
	Version   string      `json:"version"`
	StartedAt *time.Time  `json:"startedAt"`
	Store     storeView   `json:"store"`
	Trust     trustView   `json:"trust"`
	Services  uint32      `json:"services"`
	Workloads uint32      `json:"workloads"`
	Proxies   []proxyView `json:"proxies"`
	// ProxyAddress is HOST:PORT where proxies of this machine connect.
	ProxyAddress string `json:"proxyAddress,omitempty"`
	// Wrong has a sentence for everything that is not as it should be.
	Wrong []string `json:"wrong"`
}

type storeView struct {
	Path             string `json:"path,omitempty"`
	Revision         uint64 `json:"revision"`
	SnapshotRevision uint64 `json:"snapshotRevision"`
	Size             uint64 `json:"size"`
	Objects          uint64 `json:"objects"`
}

type trustView struct {
	Domain          string     `json:"domain"`
	RootSHA256      string     `json:"rootSHA256,omitempty"`
	RootExpiresAt   *time.Time `json:"rootExpiresAt,omitempty"`
	IssuerExpiresAt *time.Time `json:"issuerExpiresAt,omitempty"`
}

// timeOf is a time of the API, nil for none.
func timeOf(milliseconds int64) *time.Time {
	if milliseconds == 0 {
		return nil
	}
	t := time.UnixMilli(milliseconds).UTC()
	return &t
}

func (e *Env) viewStatus(s *adminv1.StatusResponse) statusView {
	view := statusView{
		Version:   s.GetVersion(),
		StartedAt: timeOf(s.GetStartedAt()),
		Store: storeView{
			Path: s.GetStore().GetPath(), Revision: s.GetStore().GetRevision(), SnapshotRevision: s.GetSnapshotRevision(),
			Size: s.GetStore().GetSize(), Objects: s.GetStore().GetObjects(),
		},
		Trust: trustView{
			Domain: s.GetTrust().GetDomain(), RootSHA256: s.GetTrust().GetRootSha256(),
			RootExpiresAt: timeOf(s.GetTrust().GetRootExpiresAt()), IssuerExpiresAt: timeOf(s.GetTrust().GetIssuerExpiresAt()),
		},
		Services: s.GetServices(), Workloads: s.GetWorkloads(),
		Proxies: viewProxies(s.GetProxies()), ProxyAddress: s.GetProxyAddress(),
		Wrong: []string{},
	}
	if e.expired(s.GetTrust().GetRootExpiresAt()) {
		view.Wrong = append(view.Wrong, "the root certificate has expired")
	}
	if e.expired(s.GetTrust().GetIssuerExpiresAt()) {
		view.Wrong = append(view.Wrong, "the issuer's certificate has expired")
	}
	for _, p := range s.GetProxies() {
		view.Wrong = append(view.Wrong, e.wrongWith(p)...)
	}
	for _, p := range s.GetProblems() {
		view.Wrong = append(view.Wrong, problemLine(p))
	}
	return view
}

// wrongWith has a sentence for everything that is not as it should be at a
// proxy.
func (e *Env) wrongWith(p *adminv1.Proxy) []string {
	var wrong []string
	say := func(format string, args ...any) {
		wrong = append(wrong, printable(p.GetName()+" "+fmt.Sprintf(format, args...)))
	}
	if !p.GetConnected() {
		say("is not connected; it runs on with what it has")
	}
	for _, r := range p.GetRejected() {
		say("refused %s %s: %s", r.GetType(), r.GetResource(), r.GetReason())
	}
	if p.GetConnected() && reports(p) && !p.GetHealthy() {
		say("serves an application that is not healthy: %s", p.GetReason())
	}
	if e.expired(p.GetCertificateExpiresAt()) {
		say("has a certificate that has expired")
	}
	if p.GetBypassable() {
		say("can be bypassed: its application listens where clients reach it without the proxy")
	}
	return wrong
}

func (e *Env) printStatus(s *adminv1.StatusResponse, view statusView) {
	e.fact("Version", fmt.Sprintf("%s, up %s", s.GetVersion(), e.age(s.GetStartedAt())))
	e.fact("Store", fmt.Sprintf("%s, %d objects, revision %d, %s", orDash(s.GetStore().GetPath()), s.GetStore().GetObjects(), s.GetStore().GetRevision(), bytesText(s.GetStore().GetSize())))
	e.fact("Trust", fmt.Sprintf("%s, root expires in %s, issuer in %s", s.GetTrust().GetDomain(), shown(e.until(s.GetTrust().GetRootExpiresAt())), shown(e.until(s.GetTrust().GetIssuerExpiresAt()))))
	e.fact("Mesh", fmt.Sprintf("%s, %s, %s", count(int(s.GetServices()), "service"), count(int(s.GetWorkloads()), "workload"), count(len(s.GetProxies()), "proxy")))
	if s.GetProxyAddress() != "" {
		e.fact("Proxies", "connect to "+s.GetProxyAddress())
	}
	fmt.Fprintln(e.Out)
	e.print(e.proxyTable(s.GetProxies()))
	if len(view.Wrong) == 0 {
		fmt.Fprintf(e.Out, "\n%s\n", e.paint(good, "All is well."))
		return
	}
	e.heading("Wrong")
	for _, line := range view.Wrong {
		fmt.Fprintln(e.Out, "  "+e.paint(bad, line))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// count is a number with its noun.
func count(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case noun == "proxy":
		return fmt.Sprintf("%d proxies", n)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func bytesText(n uint64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

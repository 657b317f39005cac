package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

func proxyCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Look at the proxies of the mesh",
		Example: `  leno proxy list
  leno proxy config cart-1`,
		Args: cobra.ArbitraryArgs,
		RunE: group,
	}
	cmd.AddCommand(proxyListCommand(env), proxyConfigCommand(env))
	return cmd
}

func proxyListCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the proxies, of all namespaces or one, and how far each has come",
		Example: `  leno proxy list
  leno proxy list -n shop -o json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := env.Client()
			if err != nil {
				return err
			}
			listed, err := client.ListProxies(cmd.Context(), &adminv1.ListProxiesRequest{Namespace: env.flags.namespace})
			if err != nil {
				return err
			}
			if done, err := env.printData(viewProxies(listed.GetProxies())); done {
				return err
			}
			if env.flags.output == "name" {
				for _, p := range listed.GetProxies() {
					fmt.Fprintln(env.Out, printable(p.GetName()))
				}
				return nil
			}
			env.print(env.proxyTable(listed.GetProxies()))
			return nil
		},
	}
}

func (e *Env) proxyTable(proxies []*adminv1.Proxy) *table {
	t := &table{
		header: []string{"PROXY", "NAMESPACE", "SERVICE", "MODE", "VERSION", "STATE", "CONFIG", "CERTIFICATE", "MEMORY", "CONNECTIONS"},
		empty:  "No proxy has connected.",
	}
	for _, p := range proxies {
		memory := cell{}
		if p.GetResidentBytes() > 0 {
			memory = text(bytesText(p.GetResidentBytes()))
		}
		t.add(text(p.GetName()), cell{p.GetNamespace(), dim}, text(p.GetService()), text(p.GetMode()), text(p.GetVersion()),
			proxyState(p), proxySync(p), e.until(p.GetCertificateExpiresAt()), memory, number(p.GetConnections()))
	}
	return t
}

func proxyState(p *adminv1.Proxy) cell {
	switch {
	case !p.GetConnected():
		return cell{"disconnected", bad}
	case p.GetDraining():
		return cell{"draining", warn}
	case !reports(p):
		return cell{"connected", good}
	case !p.GetHealthy():
		return cell{"not healthy", bad}
	case p.GetBypassable():
		return cell{"bypassable", warn}
	}
	return cell{"healthy", good}
}

// reports says that a proxy is one of Leno's, which tell how they are; others,
// such as Envoy and gRPC programs, only ask for configuration.
func reports(p *adminv1.Proxy) bool { return p.GetMode() != "" }

func proxySync(p *adminv1.Proxy) cell {
	switch {
	case len(p.GetRejected()) > 0:
		return cell{"refused", bad}
	case p.GetSynced():
		return cell{"synced", good}
	}
	return cell{"behind", warn}
}

// proxyView is an item of proxy list -o json.
type proxyView struct {
	Name                 string          `json:"name"`
	Identity             string          `json:"identity,omitempty"`
	Namespace            string          `json:"namespace"`
	Service              string          `json:"service"`
	Workload             string          `json:"workload,omitempty"`
	Mode                 string          `json:"mode"`
	Version              string          `json:"version"`
	Host                 string          `json:"host,omitempty"`
	PID                  int64           `json:"pid,omitempty"`
	Address              string          `json:"address,omitempty"`
	Connected            bool            `json:"connected"`
	ConnectedAt          *time.Time      `json:"connectedAt,omitempty"`
	StartedAt            *time.Time      `json:"startedAt,omitempty"`
	CertificateExpiresAt *time.Time      `json:"certificateExpiresAt,omitempty"`
	Synced               bool            `json:"synced"`
	Versions             []versionView   `json:"versions"`
	Rejected             []rejectionView `json:"rejected"`
	Healthy              bool            `json:"healthy"`
	Reason               string          `json:"reason,omitempty"`
	Bypassable           bool            `json:"bypassable"`
	Draining             bool            `json:"draining"`
	ResidentBytes        uint64          `json:"residentBytes"`
	Connections          uint64          `json:"connections"`
}

type versionView struct {
	Type   string `json:"type"`
	Wanted string `json:"wanted"`
	Acked  string `json:"acked"`
}

type rejectionView struct {
	Type     string `json:"type"`
	Resource string `json:"resource"`
	Reason   string `json:"reason"`
}

func viewProxies(proxies []*adminv1.Proxy) []proxyView {
	views := []proxyView{}
	for _, p := range proxies {
		view := proxyView{
			Name: p.GetName(), Identity: p.GetIdentity(), Namespace: p.GetNamespace(), Service: p.GetService(), Workload: p.GetWorkload(),
			Mode: p.GetMode(), Version: p.GetVersion(), Host: p.GetHost(), PID: p.GetPid(), Address: p.GetAddress(),
			Connected: p.GetConnected(), ConnectedAt: timeOf(p.GetConnectedAt()), StartedAt: timeOf(p.GetStartedAt()),
			CertificateExpiresAt: timeOf(p.GetCertificateExpiresAt()),
			Synced:               p.GetSynced(), Versions: []versionView{}, Rejected: []rejectionView{},
			Healthy: p.GetHealthy(), Reason: p.GetReason(), Bypassable: p.GetBypassable(), Draining: p.GetDraining(),
			ResidentBytes: p.GetResidentBytes(), Connections: p.GetConnections(),
		}
		for _, v := range p.GetVersions() {
			view.Versions = append(view.Versions, versionView{v.GetType(), v.GetWanted(), v.GetAcked()})
		}
		for _, r := range p.GetRejected() {
			view.Rejected = append(view.Rejected, rejectionView{r.GetType(), r.GetResource(), r.GetReason()})
		}
		views = append(views, view)
	}
	return views
}

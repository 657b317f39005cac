// Package contract_test holds the two planes together: whatever the control
// plane generates, the data plane reads in full and compiles.
package contract_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/generate"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds"
	"github.com/leno-mesh/leno/xds/wire"
)

// generated returns the resources of one of control/generate's cases, as the
// proxy reads them.
func generated(t *testing.T, file string) *plan.Resources {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	input, _, _ := strings.Cut(string(data), "-- resources --\n")
	objects, err := api.Decode([]byte(input), file)
	if err != nil {
		t.Fatal(err)
	}
	edit := model.Empty().Edit()
	for _, o := range objects {
		edit.Apply(api.Put(o))
	}
	set := generate.New().Generate(edit.Commit(1))
	if errs := set.Errors(); len(errs) > 0 {
		t.Fatal(errs)
	}
	resources := plan.NewResources()
	for r := range set.All {
		m := wire.New(r.TypeURL)
		if m == nil {
			t.Fatalf("%s: the proxy does not know %s", r.Name, r.TypeURL)
		}
		report, err := wire.Unmarshal(r.Body, m)
		if err != nil || len(report.Unsupported) > 0 {
			t.Errorf("%s: unsupported %v, %v", r.Name, report.Unsupported, err)
		}
		switch r.TypeURL {
		case xds.ListenerType:
			resources.Listeners[r.Name] = m.(*wire.Listener)
		case xds.RouteType:
			resources.Routes[r.Name] = m.(*wire.RouteConfiguration)
		case xds.ClusterType:
			resources.Clusters[r.Name] = m.(*wire.Cluster)
		case xds.EndpointType:
			resources.Assignments[r.Name] = m.(*wire.ClusterLoadAssignment)
		}
	}
	return resources
}

// idle is a transport that nothing is sent over.
type idle struct{ http.Transport }

func (idle) Drain() {}

func environment() *plan.Environment {
	return &plan.Environment{
		Identity:  &cell.Cell[tls.Identity]{},
		Transport: func(*plan.Cluster, *balance.Endpoint) http.Transport { return idle{} },
		ReadFile:  func(name string) ([]byte, error) { return nil, os.ErrNotExist },
	}
}

func TestTheProxyCompilesWhateverIsGenerated(t *testing.T) {
	files, err := filepath.Glob("../../control/generate/testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			resources := generated(t, file)
			p, rejected := environment().Build(plan.Empty(), resources)
			for _, r := range rejected {
				t.Errorf("%s %s: %s", r.Kind, r.Name, r.Reason)
			}
			if len(p.Listeners) == 0 || len(p.Clusters) == 0 {
				t.Error("nothing was generated")
			}
		})
	}
}

// TestWhatIsGeneratedRefersToWhatIsGenerated leaves out the clusters that stand
// for a backend that does not exist: they must not be found.
func TestWhatIsGeneratedRefersToWhatIsGenerated(t *testing.T) {
	files, err := filepath.Glob("../../control/generate/testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		p, _ := environment().Build(plan.Empty(), generated(t, file))
		find := func(from, cluster string) {
			if p.Clusters[cluster] == nil && !strings.HasPrefix(cluster, "invalid/") {
				t.Errorf("%s: %s names the cluster %s, which is not generated", file, from, cluster)
			}
		}
		for name, l := range p.Listeners {
			routes, clusters := l.References()
			for _, r := range routes {
				if p.Routes[r] == nil {
					t.Errorf("%s: listener %s names the routes %s, which are not generated", file, name, r)
				}
			}
			for _, c := range clusters {
				find("listener "+name, c)
			}
		}
		for name, r := range p.Routes {
			for _, c := range r.Clusters {
				find("route "+name, c)
			}
		}
	}
}

package mesh_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/leno-mesh/leno/test/mesh/meshtest"
)

// TestFiftySidecarsInOneProcess is a budget too: the whole of it within 5 s,
// and goleak holds that nothing is left.
func TestFiftySidecarsInOneProcess(t *testing.T) {
	begun := time.Now()
	m := meshtest.New(t)
	const services, each = 10, 5
	yaml := ""
	apps := make([]uint16, services)
	for s := range services {
		apps[s] = m.HTTPApp(meshtest.Text(fmt.Sprintf("service %d", s)))
		yaml += meshtest.Service(fmt.Sprintf("s%d", s), 80, apps[s], "http")
	}
	m.Apply(yaml)
	all := make([]*meshtest.Workload, services*each)
	for i := range all {
		all[i] = m.Prepare(fmt.Sprintf("s%d", i%services), fmt.Sprintf("w%d", i), meshtest.WithPort(apps[i%services]))
	}
	var started sync.WaitGroup
	for _, w := range all {
		started.Go(w.Start)
	}
	started.Wait()
	m.Registered(len(all))
	t.Logf("%d sidecars are in the mesh after %v", len(all), time.Since(begun).Round(time.Millisecond))

	var calls sync.WaitGroup
	for i, w := range all {
		calls.Go(func() {
			for k := range 3 {
				to := (i + k + 1) % services
				res, err := w.Client.Get(fmt.Sprintf("http://s%d/", to))
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("w%d to s%d: %s", i, to, res.Status)
				}
			}
		})
	}
	calls.Wait()
	var ended sync.WaitGroup
	for _, w := range all {
		ended.Go(w.Leave)
	}
	ended.Wait()
	if took := time.Since(begun); took > 5*time.Second && !raceEnabled {
		t.Errorf("it took %v, at most 5 s are allowed", took)
	}
}

package mesh_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestFiftySidecarsInOneProcess is a budget too: the whole of it within 5 s,
// and goleak holds that nothing is left.
func TestFiftySidecarsInOneProcess(t *testing.T) {
	begun := time.Now()
	m := newMesh(t)
	const services, each = 10, 5
	yaml := ""
	apps := make([]uint16, services)
	for s := range services {
		apps[s] = m.httpApp(text(fmt.Sprintf("service %d", s)))
		yaml += service(fmt.Sprintf("s%d", s), 80, apps[s], "http")
	}
	m.apply(yaml)
	all := make([]*workload, services*each)
	for i := range all {
		all[i] = m.prepare(fmt.Sprintf("s%d", i%services), fmt.Sprintf("w%d", i), withPort(apps[i%services]))
	}
	var started sync.WaitGroup
	for _, w := range all {
		started.Go(w.start)
	}
	started.Wait()
	m.registered(len(all))
	t.Logf("%d sidecars are in the mesh after %v", len(all), time.Since(begun).Round(time.Millisecond))

	var calls sync.WaitGroup
	for i, w := range all {
		calls.Go(func() {
			for k := range 3 {
				to := (i + k + 1) % services
				res, err := w.client.Get(fmt.Sprintf("http://s%d/", to))
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
		ended.Go(w.leave)
	}
	ended.Wait()
	if took := time.Since(begun); took > 5*time.Second && !raceEnabled {
		t.Errorf("it took %v, at most 5 s are allowed", took)
	}
}

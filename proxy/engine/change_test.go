package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leno-mesh/leno/proxy/balance"
	leno "github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
)

func TestANewPlanHoldsFromTheNextRequestOnAKeptConnection(t *testing.T) {
	app := backend(t, mirror)
	r := newRig(t, web(to("app"))+clusters(cluster("app", "", app)))
	c := dial(t, r.serve("web"))
	in := bufio.NewReader(c)
	ask := func() int {
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nhost: a\r\n\r\n")
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode
	}
	if status := ask(); status != 200 {
		t.Fatal(status)
	}
	r.change(web("- match: {prefix: /}\n  direct_response: {status: 418}\n"))
	if status := ask(); status != 418 {
		t.Errorf("after the change: %d", status)
	}
}

const denyAll = "      - name: rbac\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC\n          stat_prefix: x\n          rules: {action: ALLOW}\n"

func TestAPolicyThatChangesClosesWhatItNoLongerAllows(t *testing.T) {
	config := func(more string) string {
		return strings.Replace(tcpListener("bytes", "", "cluster: app"), "      filters:\n", "      filters:\n"+more, 1)
	}
	r := newRig(t, config("")+clusters(cluster("app", "", tcpBackend(t, greeter))))
	c := dial(t, r.serve("bytes"))
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	r.change(config("")) // another message, the same policy
	_, _ = io.WriteString(c, "on\n")
	if b := make([]byte, 3); true {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatalf("a change that allows the connection cut it: %v", err)
		}
	}
	r.change(config(denyAll))
	if b, err := io.ReadAll(c); err == nil {
		t.Errorf("the connection went on, or ended orderly: %q", b)
	}
	r.eventually("the end", func() bool { return r.e.Connections() == 0 })
}

// TestChangesLoseNoRequest replaces endpoints and the cluster itself under load.
func TestChangesLoseNoRequest(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprintf("h%d to h%d", v.down, v.up), func(t *testing.T) {
			fields := ""
			if v.up == 2 {
				fields = speaksH2
			}
			one, two := backend(t, mirror), backend(t, mirror)
			// Not even one retry: the plan's change must not need any.
			r := newRig(t, web("- match: {prefix: /}\n  route: {cluster: app, retry_policy: {num_retries: 0}}\n")+clusters(cluster("app", fields, one)))
			base := "http://" + r.serve("web")
			var load sync.WaitGroup
			stop := make(chan struct{})
			var sent atomic.Int64
			for range 8 {
				load.Go(func() {
					c := client(t, v.down)
					for {
						select {
						case <-stop:
							return
						default:
						}
						a, err := try(c, "POST", base+"/", strings.NewReader("body"))
						if err != nil || a.StatusCode != 200 || a.body != "body" {
							t.Errorf("lost: %v %v", a.Response, err)
							return
						}
						sent.Add(1)
					}
				})
			}
			for i := range 40 {
				before := sent.Load()
				address := []string{one, two}[i%2]
				timeout := fmt.Sprintf("connect_timeout: %ds", 1+i%3)
				r.change(clusters(strings.Replace(cluster("app", fields, address), "connect_timeout: 1s", timeout, 1)))
				r.eventually("requests", func() bool { return sent.Load() > before+5 || t.Failed() })
			}
			close(stop)
			load.Wait()
		})
	}
}

func TestDrainFinishesWhatIsUnderWayAndEndsTheRest(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 2)
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			arrived <- struct{}{}
			<-release
		}
		_, _ = io.WriteString(w, "done")
	}
	r := newRig(t, web(to("app"))+clusters(cluster("app", "", backend(t, h))))
	base := "http://" + r.serve("web")
	idle1, idle2 := client(t, 1), client(t, 2)
	do(t, idle1, "GET", base+"/", nil)
	do(t, idle2, "GET", base+"/", nil)
	answers := make(chan answer, 2)
	for _, version := range []int{1, 2} {
		go func() {
			a, err := try(client(t, version), "GET", base+"/slow", nil)
			if err != nil {
				t.Error(err)
			}
			answers <- a
		}()
		<-arrived
	}
	drained := make(chan struct{})
	go func() { defer close(drained); r.e.Drain(context.Background()) }()
	r.eventually("idle connections to end", func() bool { return r.e.Connections() == 2 })
	select {
	case <-drained:
		t.Fatal("drained with requests under way")
	default:
	}
	close(release)
	for range 2 {
		if a := <-answers; a.Response == nil || a.body != "done" || a.ProtoMajor == 1 && !a.Close {
			t.Errorf("%+v", a.Response)
		}
	}
	select {
	case <-drained:
	case <-time.After(5 * time.Second):
		t.Error("not drained although nothing is left")
	}
}

func TestDrainEndsWithItsContext(t *testing.T) {
	r := newRig(t, tcpListener("bytes", "", "cluster: app")+clusters(cluster("app", "", tcpBackend(t, greeter))))
	c := dial(t, r.serve("bytes"))
	in := bufio.NewReader(c)
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	r.e.Drain(ctx)
	_, _ = io.WriteString(c, "on\n")
	if line, err := in.ReadString('\n'); err != nil || line != "on\n" {
		t.Errorf("a drain cut bytes under way: %q %v", line, err)
	}
}

// supplier puts resources in force when they are asked for.
type supplier struct {
	mu    sync.Mutex
	asked []string
	give  func(kind, name string)
	lost  string
}

func (s *supplier) ask(kind, name string) {
	s.mu.Lock()
	s.asked = append(s.asked, kind+" "+name)
	s.mu.Unlock()
	if s.give != nil {
		go s.give(kind, name)
	}
}

func (s *supplier) Listener(name string) { s.ask("listener", name) }
func (s *supplier) Lost() string         { return s.lost }
func (s *supplier) Routes(name string)   { s.ask("routes", name) }
func (s *supplier) Cluster(name string)  { s.ask("cluster", name) }

func TestWhatIsMissingIsAskedForWhileTheRequestWaits(t *testing.T) {
	app := backend(t, mirror)
	s := &supplier{}
	r := newRig(t, "  clusters: []\n", withDemand(s, 5*time.Second))
	var given sync.WaitGroup
	s.give = func(kind, name string) {
		switch kind {
		case "listener":
			r.change(web("- match: {path: /absent}\n  route: {cluster: absent, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}\n" + to("app")))
		case "cluster":
			if name == "app" {
				r.change(clusters(cluster("app", "", app)))
				return
			}
			r.mu.Lock()
			r.resources.Clusters[name] = nil // the server says that there is none
			r.publish()
			r.mu.Unlock()
		}
	}
	base := "http://" + r.serve("web")
	begun := time.Now()
	for range 4 {
		given.Go(func() {
			if a, err := try(client(t, 1), "GET", base+"/", nil); err != nil || a.StatusCode != 200 {
				t.Errorf("%v %v", a.Response, err)
			}
		})
	}
	given.Wait()
	if a := do(t, client(t, 1), "GET", base+"/absent", nil); a.StatusCode != 500 {
		t.Errorf("absent: %s", a.Status)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("all that took %s", took)
	}
}

func TestAServerThatDoesNotAnswerIsNotAwaitedForEver(t *testing.T) {
	r := newRig(t, web(to("app")), withDemand(&supplier{}, 200*time.Millisecond))
	begun := time.Now()
	a := do(t, client(t, 1), "GET", "http://"+r.serve("web")+"/", nil)
	if a.StatusCode != 503 || time.Since(begun) > 2*time.Second || a.body != "the control plane did not answer in time what cluster app is\n" {
		t.Errorf("%s %q after %s", a.Status, a.body, time.Since(begun))
	}
	c := dial(t, r.serve("unknown"))
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("%q %v", b, err)
	}
}

// broken is a transport with a defect.
type broken struct{}

func (broken) Open(int64) (leno.Stream, error) { panic("a defect") }
func (broken) Drain()                          {}

func TestAPanicEndsItsExchangeAlone(t *testing.T) {
	app := backend(t, mirror)
	r := newRig(t, web("- match: {path: /panic}\n  route: {cluster: bad}\n"+to("app"))+clusters(cluster("app", "", app)))
	r.env.Transport = func(*plan.Cluster, *balance.Endpoint) leno.Transport { return broken{} }
	r.change(clusters(cluster("bad", "", app)))
	base := "http://" + r.serve("web")
	for i, version := range []int{1, 2} {
		c := client(t, version)
		do(t, c, "GET", base+"/", nil)
		if a, err := try(c, "GET", base+"/panic", nil); err == nil {
			t.Errorf("h%d: answered %s", version, a.Status)
		}
		if a := do(t, c, "GET", base+"/", nil); a.StatusCode != 200 {
			t.Errorf("h%d afterwards: %s", version, a.Status)
		}
		r.eventually("the panic to be counted", func() bool { return r.e.Panics() > uint64(i) })
	}
}

func TestExchangesAreCountedByWhoAndHow(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/fail" {
			w.WriteHeader(500)
		}
		_, _ = io.WriteString(w, "12345")
	}
	r := newRig(t, web("- match: {path: /fail}\n  name: failing\n  route: {cluster: app}\n- match: {prefix: /}\n  name: rest\n  route: {cluster: app}\n")+clusters(cluster("app", "", backend(t, h))))
	r.e.Source = "shop/web"
	base, c := "http://"+r.serve("web"), client(t, 1)
	for range 3 {
		do(t, c, "POST", base+"/", strings.NewReader("123"))
	}
	do(t, c, "GET", base+"/fail", nil)
	do(t, client(t, 2), "GET", base+"/", nil)
	want := map[string]string{
		"rest http/1.1":    "3 requests 0 failures 9 sent 15 received",
		"failing http/1.1": "1 requests 1 failures 0 sent 5 received",
		"rest h2":          "1 requests 0 failures 0 sent 5 received",
	}
	have := map[string]string{}
	r.eventually("the counts", func() bool {
		for _, e := range r.e.Stats.Deltas() {
			if e.Source != "shop/web" || e.Destination != "app" || e.MTLS || e.Inbound {
				t.Errorf("labels %+v", e)
			}
			have[e.Route+" "+e.Protocol] = fmt.Sprintf("%d requests %d failures %d sent %d received", e.Requests, e.Failures, e.Sent, e.Received)
		}
		return len(have) == 3
	})
	for k, w := range want {
		if have[k] != w {
			t.Errorf("%s: %s, want %s", k, have[k], w)
		}
	}
}

func TestNobodyWaitsForAControlPlaneThatIsAway(t *testing.T) {
	r := newRig(t, web(to("app")), withDemand(&supplier{lost: "it is away"}, time.Minute))
	begun := time.Now()
	a, err := try(client(t, 1), "GET", "http://"+r.serve("web")+"/", nil)
	if err != nil || a.StatusCode != 503 || !strings.Contains(a.body, "it is away") {
		t.Errorf("%v %v", a, err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("answered after %s", took)
	}
}

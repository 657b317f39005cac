package xds

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// chooser makes decisions from fuzz input or from a random source.
type chooser func(n int) int

// pair is both machines with two queues between them, and a model of what the
// client's user holds.
type pair struct {
	choose   chooser
	session  *Session
	client   *Subscriptions
	view     testView
	up       []*DeltaRequest
	down     []*DeltaResponse
	using    map[string]map[string]Resource // type → name → what the client's user has in use
	wanted   map[string][]string
	refusing bool // the client may refuse
	history  []string
}

func newPair(choose chooser) *pair {
	p := &pair{
		choose: choose, session: NewSession(Limits{ResponseBytes: 3}), client: &Subscriptions{},
		using: map[string]map[string]Resource{}, wanted: map[string][]string{},
	}
	for _, typeURL := range shortTypes {
		p.using[typeURL] = map[string]Resource{}
	}
	p.retarget()
	return p
}

// retarget makes a new mesh: some clusters, and one route that leads to one of
// them.
func (p *pair) retarget() {
	v := testView{ClusterType: {}, EndpointType: {}, ListenerType: {}, RouteType: {}}
	put := func(typeURL, name string) {
		version := fmt.Sprint(p.choose(3))
		v[typeURL][name] = &Resource{Name: name, Version: version, TypeURL: typeURL, Body: []byte(version)}
	}
	for _, name := range []string{"a", "b", "c"} {
		if p.choose(2) == 0 {
			continue
		}
		put(ClusterType, name)
		put(EndpointType, name)
		v[RouteType]["r"] = &Resource{Name: "r", Version: "to-" + name, TypeURL: RouteType, Body: []byte(name)}
	}
	p.view = v
	p.session.Target(v)
	p.logf("target %v", v)
}

func (p *pair) logf(format string, args ...any) {
	p.history = append(p.history, fmt.Sprintf(format, args...))
}

func (p *pair) subscribe(typeURL, name string) {
	if !slices.Contains(p.wanted[typeURL], name) {
		p.wanted[typeURL] = append(p.wanted[typeURL], name)
	}
	p.client.Subscribe(typeURL, name)
	p.logf("subscribe %s %s", shortType(typeURL), name)
}

func (p *pair) unsubscribe(typeURL, name string) {
	p.wanted[typeURL] = slices.DeleteFunc(p.wanted[typeURL], func(n string) bool { return n == name })
	p.client.Unsubscribe(typeURL, name)
	if !slices.Contains(p.wanted[typeURL], Wildcard) {
		for held := range p.using[typeURL] {
			if !slices.Contains(p.wanted[typeURL], held) {
				delete(p.using[typeURL], held)
			}
		}
	}
	p.logf("unsubscribe %s %s", shortType(typeURL), name)
}

// pump moves requests of the client up and responses of the session down, as
// far as they are produced.
func (p *pair) pump() {
	p.up = append(p.up, p.client.Next()...)
	for r, ok := p.session.Next(); ok; r, ok = p.session.Next() {
		p.down = append(p.down, r)
	}
}

func (p *pair) deliverUp() error {
	r := p.up[0]
	p.up = p.up[1:]
	p.logf("up %+v", *r)
	return p.session.Request(r)
}

func (p *pair) deliverDown() {
	r := p.down[0]
	p.down = p.down[1:]
	p.logf("down %s #%s %s", shortType(r.TypeURL), r.Nonce, resourceWords(r.Resources, r.Removed))
	var rejected []Rejection
	for _, e := range p.client.HandleResponse(r) {
		name := e.Resource.Name
		switch {
		case e.Kind != Changed:
			delete(p.using[r.TypeURL], name)
		case p.refusing && p.choose(8) == 0:
			rejected = append(rejected, Rejection{name, "not today"})
			p.logf("refuse %s", name)
		default:
			p.using[r.TypeURL][name] = e.Resource
		}
	}
	p.client.Nack(r.TypeURL, r.Nonce, rejected)
}

func (p *pair) reconnect() {
	p.session = NewSession(Limits{ResponseBytes: 3})
	p.session.Target(p.view)
	p.up, p.down = nil, nil
	p.client.Reconnected()
	p.logf("reconnect")
}

// drain delivers everything until nothing moves.
func (p *pair) drain() error {
	for range 1000 {
		p.pump()
		switch {
		case len(p.up) > 0:
			if err := p.deliverUp(); err != nil {
				return err
			}
		case len(p.down) > 0:
			p.deliverDown()
		default:
			return nil
		}
	}
	return fmt.Errorf("still busy after 1,000 steps")
}

// checkRoute holds the promise of make before break: a client that holds all
// clusters never holds a route to a cluster that it does not hold.
func (p *pair) checkRoute() error {
	if r, ok := p.using[RouteType]["r"]; ok && slices.Contains(p.wanted[ClusterType], Wildcard) {
		if _, ok := p.using[ClusterType][string(r.Body)]; !ok {
			return fmt.Errorf("the route leads to cluster %s, which is not there", r.Body)
		}
	}
	return nil
}

// checkConverged compares what the client uses with the view.
func (p *pair) checkConverged() error {
	for _, typeURL := range []string{ClusterType, EndpointType, RouteType} {
		names := p.wanted[typeURL]
		if slices.Contains(names, Wildcard) {
			names = append(p.view.Names(typeURL), names...)
		}
		for _, name := range names {
			if name == Wildcard {
				continue
			}
			want, have := p.view.Resource(typeURL, name), p.using[typeURL][name]
			switch {
			case want == nil && have.Version != "":
				return fmt.Errorf("%s %s: client uses %s, the view has none", shortType(typeURL), name, have.Version)
			case want != nil && have.Version != want.Version:
				return fmt.Errorf("%s %s: client uses %q, the view has %q", shortType(typeURL), name, have.Version, want.Version)
			}
		}
		for name := range p.using[typeURL] {
			if !slices.Contains(names, name) {
				return fmt.Errorf("%s %s: client uses what it did not ask for", shortType(typeURL), name)
			}
		}
	}
	if !p.session.Settled() {
		return fmt.Errorf("the session is not settled")
	}
	return nil
}

// run makes a random history and checks it. In an orderly one the client wants
// all clusters throughout and takes everything, so that it must never see a
// break before a make.
func run(choose chooser, steps int, orderly bool) (*pair, error) {
	p := newPair(choose)
	p.refusing = !orderly
	urls := []string{ClusterType, EndpointType, RouteType}
	if orderly {
		p.subscribe(ClusterType, Wildcard)
		p.subscribe(RouteType, "r")
		if err := p.drain(); err != nil {
			return p, err
		}
	}
	for range steps {
		typeURL := urls[choose(len(urls))]
		name := []string{"a", "b", "c", "r", "nothing"}[choose(5)]
		if typeURL == ClusterType && !orderly && choose(4) == 0 {
			name = Wildcard
		}
		switch action := choose(12); {
		case action < 3 && len(p.up) > 0:
			if err := p.deliverUp(); err != nil {
				return p, err
			}
		case action < 6 && len(p.down) > 0:
			p.deliverDown()
		case action == 6:
			p.retarget()
		case action == 7 && !(orderly && typeURL == RouteType):
			p.subscribe(typeURL, name)
		case action == 8 && !(orderly && name == "r"):
			p.unsubscribe(typeURL, name)
		case action == 9 && choose(4) == 0 && !orderly:
			p.reconnect()
		default:
			p.pump()
		}
		if orderly {
			if err := p.checkRoute(); err != nil {
				return p, err
			}
		}
	}
	// What was refused is only offered again in a new version or to a new
	// stream.
	p.refusing = false
	if !orderly {
		p.reconnect()
	}
	if err := p.drain(); err != nil {
		return p, err
	}
	return p, p.checkConverged()
}

func TestMachinesConverge(t *testing.T) {
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 1))
		if p, err := run(random.IntN, 60, seed%2 == 0); err != nil {
			for _, line := range p.history {
				t.Log(line)
			}
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func FuzzMachinesConverge(f *testing.F) {
	f.Add([]byte("a first history of some length, to begin with"), true)
	f.Add([]byte{7, 0, 7, 1, 6, 6, 3, 4, 0, 9, 9, 9, 8, 8}, false)
	f.Fuzz(func(t *testing.T, script []byte, orderly bool) {
		at := 0
		choose := func(n int) int {
			if at >= len(script) {
				return 0
			}
			at++
			return int(script[at-1]) % n
		}
		if p, err := run(choose, min(len(script), 200), orderly); err != nil {
			for _, line := range p.history {
				t.Log(line)
			}
			t.Fatal(err)
		}
	})
}

func FuzzSessionTakesAnyRequest(f *testing.F) {
	f.Add("type", "a", "b", "1", "a: no")
	f.Add(ClusterType, "*", "*", "", "")
	f.Fuzz(func(t *testing.T, typeURL, subscribe, unsubscribe, nonce, message string) {
		s := NewSession(Limits{})
		s.Target(testView{}.with(ClusterType, "a@1", "b@2"))
		for range 3 {
			r := &DeltaRequest{TypeURL: typeURL, Subscribe: []string{subscribe, "a"}, Unsubscribe: []string{unsubscribe}, Nonce: nonce, Error: message}
			if s.Request(r) != nil {
				return
			}
			for i := 0; ; i++ {
				if _, ok := s.Next(); !ok {
					break
				}
				if i > 10 {
					t.Fatal("the session never stops answering")
				}
			}
			s.States(typeURL)
		}
	})
}

// TestSotWConverges drives a session as a client of the state of the world
// does, which says all its names each time.
func TestSotWConverges(t *testing.T) {
	for seed := range uint64(500) {
		random := rand.New(rand.NewPCG(seed, 2))
		p := newPair(random.IntN)
		var listening, queue []*SotWResponse
		clusters, routes := map[string]bool{}, map[string]string{}
		requests := []*SotWRequest{{TypeURL: ClusterType}, {TypeURL: RouteType, Names: []string{"r"}}}
		for i := 0; i < 200 || len(requests)+len(queue) > 0; i++ {
			switch action := random.IntN(6); {
			case i < 200 && action == 0:
				p.retarget()
			case action < 3 && len(requests) > 0:
				if err := p.session.RequestSotW(requests[0]); err != nil {
					t.Fatal(err)
				}
				requests = requests[1:]
			case len(queue) > 0:
				r := queue[0]
				queue = queue[1:]
				ack := &SotWRequest{TypeURL: r.TypeURL, Version: r.Version, Nonce: r.Nonce}
				if r.TypeURL == ClusterType {
					clear(clusters)
					for _, res := range r.Resources {
						clusters[res.Name] = true
					}
				} else {
					ack.Names = []string{"r"}
					routes["r"] = string(r.Resources[0].Body)
					// Nothing tells a client that a route is gone, so it may
					// lead nowhere then; but not while there is one.
					if p.view.Resource(RouteType, "r") != nil && !clusters[routes["r"]] && p.view.Resource(ClusterType, routes["r"]) != nil {
						t.Fatalf("seed %d: the route leads to cluster %s, which is not there", seed, routes["r"])
					}
				}
				requests = append(requests, ack)
			}
			for r, ok := p.session.NextSotW(); ok; r, ok = p.session.NextSotW() {
				queue = append(queue, r)
				listening = append(listening, r)
			}
		}
		if len(listening) == 0 || !p.session.Settled() {
			t.Fatalf("seed %d: %d responses, settled %v", seed, len(listening), p.session.Settled())
		}
		for _, name := range []string{"a", "b", "c"} {
			if (p.view.Resource(ClusterType, name) != nil) != clusters[name] {
				t.Fatalf("seed %d: cluster %s differs", seed, name)
			}
		}
	}
}

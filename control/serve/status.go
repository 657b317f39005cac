package serve

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"slices"
	"strconv"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/xds"
)

// List returns every proxy that is connected, or whose lease still lives, by
// namespace, service and name. A client that only asks for resources (Envoy,
// proxyless gRPC) is one too.
func (s *Server) List() []*adminv1.Proxy {
	type name struct {
		id    spiffe.ID
		proxy string
	}
	s.mu.Lock()
	streams, agents, holders := keys(s.streams), keys(s.agents), s.holders()
	s.mu.Unlock()
	proxies := make(map[name]*adminv1.Proxy)
	find := func(who identity, proxy string) *adminv1.Proxy {
		p := proxies[name{who.id, proxy}]
		if p == nil {
			p = &adminv1.Proxy{
				Name: proxy, Identity: who.id.String(), Namespace: who.namespace, Address: who.address, Connected: true,
				CertificateExpiresAt: who.expires.UnixMilli(),
			}
			proxies[name{who.id, proxy}] = p
		}
		return p
	}
	for _, st := range streams {
		st.describe(holders, func(proxy string) *adminv1.Proxy { return find(st.who, proxy) })
	}
	for _, a := range agents {
		a.describe(find(a.identity, a.proxy))
	}
	out := s.registry.orphans()
	for _, p := range proxies {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *adminv1.Proxy) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Identity, b.Identity))
	})
	return out
}

func keys[K comparable](m map[K]struct{}) []K {
	out := make([]K, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	return out
}

// describe adds what a resource stream knows of its proxy.
func (st *resourceStream) describe(holders map[proxyName]string, find func(string) *adminv1.Proxy) {
	st.mu.Lock()
	defer st.mu.Unlock()
	name := st.name(holders)
	p := find(name)
	p.ConnectedAt = st.connected.UnixMilli()
	p.Synced = st.ready && st.session.Settled()
	p.Versions, p.Rejected = nil, st.rejected(name)
	for _, typeURL := range st.session.Types() {
		states := st.session.States(typeURL)
		p.Versions = append(p.Versions, &adminv1.TypeVersion{
			Type:   typeWord(typeURL),
			Wanted: collective(states, func(s *xds.State) string { return s.Wanted }),
			Acked:  collective(states, func(s *xds.State) string { return s.Acked }),
		})
	}
}

// name is what a stream's proxy is called: what it calls itself, unless that is
// the name of another identity's proxy. mu is held.
func (st *resourceStream) name(holders map[proxyName]string) string {
	if account, held := holders[proxyName{st.who.namespace, st.node}]; held && account != st.who.account {
		return st.who.account + "@" + st.who.address
	}
	return cmp.Or(st.node, st.who.address)
}

// rejected lists what the proxy of that name refuses and should have. mu is held.
func (st *resourceStream) rejected(name string) []*adminv1.Rejection {
	var out []*adminv1.Rejection
	for _, typeURL := range st.session.Types() {
		for _, state := range st.session.States(typeURL) {
			if state.Refused != "" && state.Refused == state.Wanted {
				out = append(out, &adminv1.Rejection{Proxy: name, Type: typeWord(typeURL), Resource: state.Name, Reason: state.Detail})
			}
		}
	}
	return out
}

func typeWord(typeURL string) string {
	switch typeURL {
	case xds.ClusterType:
		return "cluster"
	case xds.EndpointType:
		return "endpoint"
	case xds.ListenerType:
		return "listener"
	case xds.RouteType:
		return "route"
	}
	return typeURL
}

// collective is one hash for a version of each resource, "" for no resources.
func collective(states []xds.State, version func(*xds.State) string) string {
	h, any := sha256.New(), false
	for i := range states {
		if v := version(&states[i]); v != "" {
			h.Write([]byte(states[i].Name + "\x00" + v + "\x00"))
			any = true
		}
	}
	if !any {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// describe adds what an agent stream knows of its proxy.
func (a *agent) describe(p *adminv1.Proxy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.ConnectedAt == 0 {
		p.ConnectedAt = a.connected.UnixMilli()
	}
	p.Version, p.Host, p.Pid, p.Mode, p.StartedAt = a.hello.GetVersion(), a.hello.GetHost(), a.hello.GetPid(), a.hello.GetMode(), a.hello.GetStartedAt()
	p.ResidentBytes, p.Connections = a.resident, a.connections
	p.Healthy = true
	if reg := a.registration; reg != nil {
		p.Workload, p.Service, p.Address = reg.GetName(), reg.GetService(), meshAddress(reg)
		p.Healthy, p.Reason, p.Bypassable, p.Draining = reg.GetHealthy(), reg.GetReason(), reg.GetBypassable(), reg.GetDraining()
	}
	if expires := max(a.hello.GetCertificateExpiresAt(), a.registration.GetCertificateExpiresAt()); expires > p.CertificateExpiresAt {
		p.CertificateExpiresAt = expires // renewed since it connected
	}
}

func meshAddress(reg *agentv1.Registration) string {
	return net.JoinHostPort(reg.GetAddress(), strconv.Itoa(int(reg.GetMeshPort())))
}

// Served returns the store revision of what a new stream gets, and a channel
// that is closed when there is a newer one.
func (s *Server) Served() (uint64, <-chan struct{}) {
	set, changed := s.cfg.Sets.Next()
	if set == nil {
		return 0, changed
	}
	return set.Rev, changed
}

// Progress tells how many resource streams have acknowledged all that they
// should have once a store revision was in, and returns a channel that is
// closed when that may have changed.
func (s *Server) Progress(revision uint64) (*adminv1.WaitResponse, <-chan struct{}) {
	_, changed := s.progress.Next()
	s.mu.Lock()
	streams := keys(s.streams)
	s.mu.Unlock()
	var holders map[proxyName]string // made when the first has to be named
	out := &adminv1.WaitResponse{Revision: revision, Total: uint32(len(streams))}
	for _, st := range streams {
		st.mu.Lock()
		if st.settled >= revision && st.ready {
			out.Done++
		} else {
			if holders == nil {
				s.mu.Lock()
				holders = s.holders()
				s.mu.Unlock()
			}
			name := st.name(holders)
			out.Waiting = append(out.Waiting, name)
			if st.target >= revision {
				out.Rejected = append(out.Rejected, st.rejected(name)...)
			}
		}
		st.mu.Unlock()
	}
	slices.Sort(out.Waiting)
	out.Finished = out.Done == out.Total
	return out, changed
}

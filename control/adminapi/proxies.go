package adminapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// Status sums up the mesh.
func (s *Server) Status(ctx context.Context, _ *adminv1.StatusRequest) (*adminv1.StatusResponse, error) {
	snapshot := s.snapshot(ctx)
	path, size := s.cfg.StoreInfo()
	answer := &adminv1.StatusResponse{
		Version:          s.cfg.Version,
		StartedAt:        s.cfg.StartedAt.UnixMilli(),
		Store:            &adminv1.Store{Path: path, Revision: s.cfg.Store.Revision(), Size: uint64(size)},
		Trust:            s.cfg.Trust(),
		Proxies:          s.proxies(""),
		SnapshotRevision: snapshot.Rev,
		ProxyAddress:     s.cfg.ProxyAddress,
	}
	for _, name := range snapshot.Namespaces() {
		n := snapshot.Namespace(name)
		answer.Services += uint32(len(n.Services))
		answer.Workloads += uint32(len(n.Workloads))
		for _, ref := range refsOf(snapshot, n) {
			answer.Store.Objects++
			for _, p := range snapshot.Problems(ref) {
				if p.Severity == model.Error {
					answer.Problems = append(answer.Problems, problem(p))
				}
			}
		}
	}
	return answer, nil
}

// refsOf names the objects of a namespace, and the namespace's own, sorted.
func refsOf(snapshot *model.Snapshot, n *model.Namespace) []api.Ref {
	var refs []api.Ref
	add := func(kind api.Kind, name string) {
		refs = append(refs, api.Ref{Kind: kind, Namespace: n.Name, Name: name})
	}
	if n.Object != nil {
		refs = append(refs, api.Ref{Kind: api.Namespace, Name: n.Name})
	}
	if snapshot.Mesh != nil && n.Name == snapshot.Mesh.Namespace {
		add(api.Mesh, snapshot.Mesh.Name)
	}
	for name := range n.Services {
		add(api.Service, name)
	}
	for name := range n.Workloads {
		add(api.Workload, name)
	}
	for ref := range n.Routes {
		refs = append(refs, ref)
	}
	for name := range n.PeerAuthentications {
		add(api.PeerAuthentication, name)
	}
	for name := range n.AuthorizationPolicies {
		add(api.AuthorizationPolicy, name)
	}
	slices.SortFunc(refs, compareRefs)
	return refs
}

// ListProxies returns the proxies of a namespace or all.
func (s *Server) ListProxies(_ context.Context, r *adminv1.ListProxiesRequest) (*adminv1.ListProxiesResponse, error) {
	return &adminv1.ListProxiesResponse{Proxies: s.proxies(r.GetNamespace())}, nil
}

func (s *Server) proxies(namespace string) []*adminv1.Proxy {
	proxies := slices.DeleteFunc(s.cfg.Proxies.List(), func(p *adminv1.Proxy) bool {
		return namespace != "" && p.GetNamespace() != namespace
	})
	slices.SortFunc(proxies, func(a, b *adminv1.Proxy) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetService(), b.GetService()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return proxies
}

// dumpTime bounds how long a proxy may take to answer.
const dumpTime = 10 * time.Second

// ProxyDump asks a proxy what it runs.
func (s *Server) ProxyDump(ctx context.Context, r *adminv1.ProxyDumpRequest) (*adminv1.ProxyDumpResponse, error) {
	if !slices.Contains([]string{"config", "clusters", "certs"}, r.GetWhat()) {
		return nil, invalid("a proxy has no %q to show; choose config, clusters or certs", r.GetWhat())
	}
	if err := s.answers(r.GetProxy()); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dumpTime)
	defer cancel()
	dump, err := s.cfg.Proxies.Dump(ctx, r.GetProxy(), r.GetWhat())
	if err != nil {
		return nil, failure(fmt.Errorf("ask proxy %s: %w", r.GetProxy(), err))
	}
	return &adminv1.ProxyDumpResponse{Json: string(dump)}, nil
}

// called reports that a name is a proxy's: NAME, NAMESPACE/NAME or
// NAMESPACE/ACCOUNT/NAME.
func called(p *adminv1.Proxy, name string) bool {
	if name == p.GetName() || name == p.GetNamespace()+"/"+p.GetName() {
		return true
	}
	id, err := spiffe.Parse(p.GetIdentity())
	if err != nil {
		return false
	}
	namespace, account, ok := id.Workload()
	return ok && name == namespace+"/"+account+"/"+p.GetName()
}

// answers is nil when a proxy of that name is connected and can be asked.
func (s *Server) answers(name string) error {
	var names []string
	for _, p := range s.cfg.Proxies.List() {
		switch {
		case !p.GetConnected():
		case !called(p, name):
			names = append(names, p.GetName())
		case p.GetMode() == "":
			return connect.NewError(connect.CodeFailedPrecondition, fmt.Errorf("proxy %s is not one of Leno's: it takes its configuration but cannot be asked what it runs", name))
		default:
			return nil
		}
	}
	text := fmt.Sprintf("no proxy named %s is connected", name)
	if near := api.Nearest(name, names); near != "" {
		text += "; did you mean " + near + "?"
	}
	return connect.NewError(connect.CodeNotFound, errors.New(text))
}

// waitingNames is how many proxies a progress message names.
const waitingNames = 20

// Wait sends progress until every concerned proxy runs a revision, or one has
// refused it and no other is to come.
func (s *Server) Wait(ctx context.Context, r *adminv1.WaitRequest, stream *connect.ServerStream[adminv1.WaitResponse]) error {
	revision := r.GetRevision()
	newest := s.cfg.Store.Revision()
	if revision == 0 {
		revision = newest
	}
	if revision > newest {
		return invalid("there is no revision %d yet; the newest is %d", revision, newest)
	}
	if err := s.served(ctx, revision); err != nil {
		return err
	}
	for {
		progress, changed := s.cfg.Proxies.Progress(revision)
		progress.Revision = revision
		progress.Finished = progress.GetDone()+refusers(progress.GetRejected()) >= progress.GetTotal()
		if len(progress.GetWaiting()) > waitingNames {
			progress.Waiting = progress.GetWaiting()[:waitingNames]
		}
		if err := stream.Send(progress); err != nil || progress.GetFinished() {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return failure(ctx.Err())
		}
	}
}

// refusers counts the proxies that refused something.
func refusers(rejected []*adminv1.Rejection) uint32 {
	names := make(map[string]bool)
	for _, r := range rejected {
		names[r.GetProxy()] = true
	}
	return uint32(len(names))
}

// served waits until a proxy that connects would get a revision of the store.
func (s *Server) served(ctx context.Context, revision uint64) error {
	for {
		newest, changed := s.cfg.Proxies.Served()
		if newest >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return failure(ctx.Err())
		}
	}
}

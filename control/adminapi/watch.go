package adminapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/control/store"
)

func compareRefs(a, b api.Ref) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// Watch sends the objects of a kind and then their changes.
func (s *Server) Watch(ctx context.Context, r *adminv1.WatchRequest, stream *connect.ServerStream[adminv1.WatchResponse]) error {
	info, err := lookup(r.GetKind())
	if err != nil {
		return err
	}
	namespace := scope(info, r.GetNamespace())
	list, err := s.cfg.Store.List(info.Kind, namespace)
	if err != nil {
		return failure(fmt.Errorf("list %s: %w", info.Plural, err))
	}
	watch, err := s.cfg.Store.Watch(ctx, list.Revision)
	if err != nil {
		return failure(fmt.Errorf("watch %s: %w", info.Plural, err))
	}
	w := &watcher{server: s, stream: stream, known: make(map[api.Ref]api.Object)}
	for _, o := range list.Objects {
		if err := w.send(ctx, "added", o, list.Revision); err != nil {
			return err
		}
	}
	if err := stream.Send(&adminv1.WatchResponse{Event: "synced", Revision: list.Revision}); err != nil {
		return err
	}
	for batch := range watch.Batches() {
		for _, change := range batch.Changes {
			if change.Ref.Kind != info.Kind || namespace != "" && change.Ref.Namespace != namespace {
				continue
			}
			if err := w.change(ctx, change, batch.Revision); err != nil {
				return err
			}
		}
	}
	if err := watch.Err(); err != nil && !errors.Is(err, store.ErrClosed) && ctx.Err() == nil {
		return connect.NewError(connect.CodeUnavailable, err)
	}
	return nil
}

// watcher turns changes of the store into events.
type watcher struct {
	server *Server
	stream *connect.ServerStream[adminv1.WatchResponse]
	known  map[api.Ref]api.Object // last sent
}

func (w *watcher) change(ctx context.Context, change api.Change, revision uint64) error {
	before, known := w.known[change.Ref]
	switch {
	case change.Object == nil && !known:
		return nil
	case change.Object == nil:
		delete(w.known, change.Ref)
		return w.write(ctx, "deleted", before, revision)
	case known:
		return w.send(ctx, "modified", change.Object, revision)
	}
	return w.send(ctx, "added", change.Object, revision)
}

func (w *watcher) send(ctx context.Context, event string, o api.Object, revision uint64) error {
	w.known[api.RefOf(o)] = o
	return w.write(ctx, event, o, revision)
}

func (w *watcher) write(ctx context.Context, event string, o api.Object, revision uint64) error {
	message, err := w.server.object(w.server.snapshot(ctx), o)
	if err != nil {
		return failure(err)
	}
	return w.stream.Send(&adminv1.WatchResponse{Event: event, Object: message, Revision: revision})
}

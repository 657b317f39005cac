package adminapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/control/store"
)

// Get returns one object.
func (s *Server) Get(ctx context.Context, r *adminv1.GetRequest) (*adminv1.GetResponse, error) {
	object, err := s.get(r.GetReference())
	if err != nil {
		return nil, err
	}
	message, err := s.object(s.snapshot(ctx), object)
	if err != nil {
		return nil, failure(err)
	}
	return &adminv1.GetResponse{Object: message}, nil
}

func (s *Server) get(r *adminv1.Reference) (api.Object, error) {
	ref, err := refOf(r)
	if err != nil {
		return nil, err
	}
	object, err := s.cfg.Store.Get(ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil, s.noObject(ref)
	}
	if err != nil {
		return nil, failure(fmt.Errorf("get %s: %w", ref, err))
	}
	return object, nil
}

// noObject is not_found with the name that was probably meant.
func (s *Server) noObject(ref api.Ref) error {
	text := fmt.Sprintf("there is no %s %s", ref.Kind, ref.Name)
	if ref.Namespace != "" {
		text += " in namespace " + ref.Namespace
	}
	if list, err := s.cfg.Store.List(ref.Kind, ref.Namespace); err == nil {
		var names []string
		for _, o := range list.Objects {
			names = append(names, o.GetName())
		}
		if near := api.Nearest(ref.Name, names); near != "" {
			text += "; did you mean " + near + "?"
		}
	}
	return connect.NewError(connect.CodeNotFound, errors.New(text))
}

// List returns the objects of a kind.
func (s *Server) List(ctx context.Context, r *adminv1.ListRequest) (*adminv1.ListResponse, error) {
	info, err := lookup(r.GetKind())
	if err != nil {
		return nil, err
	}
	selector, err := labels.Parse(r.GetSelector())
	if err != nil {
		return nil, invalid("the selector %q cannot be read: %w", r.GetSelector(), err)
	}
	list, err := s.cfg.Store.List(info.Kind, scope(info, r.GetNamespace()))
	if err != nil {
		return nil, failure(fmt.Errorf("list %s: %w", info.Plural, err))
	}
	snapshot := s.snapshot(ctx)
	answer := &adminv1.ListResponse{Revision: list.Revision}
	for _, object := range list.Objects {
		if !selector.Matches(labels.Set(object.GetLabels())) {
			continue
		}
		message, err := s.object(snapshot, object)
		if err != nil {
			return nil, failure(err)
		}
		answer.Objects = append(answer.Objects, message)
	}
	return answer, nil
}

// scope is the namespace to list, empty for all: a kind that has only one home
// is always listed whole.
func scope(info api.KindInfo, namespace string) string {
	if !info.Namespaced || info.Kind == api.Mesh {
		return ""
	}
	return namespace
}

// patience is how long a reader waits for what was just written to be in the
// snapshot.
const patience = 250 * time.Millisecond

// snapshot returns one that has all that the store has, or the newest when that
// takes long.
func (s *Server) snapshot(ctx context.Context) *model.Snapshot {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if snapshot, err := s.caughtUp(ctx); err == nil {
		return snapshot
	}
	if snapshot := s.cfg.Snapshots.Load(); snapshot != nil {
		return snapshot
	}
	return model.Empty()
}

// object is an object of the store with what the control plane made of it.
func (s *Server) object(snapshot *model.Snapshot, o api.Object) (*adminv1.Object, error) {
	ref := api.RefOf(o)
	text, err := api.EncodeJSON(o)
	if err != nil {
		return nil, err
	}
	info, _ := api.Info(ref.Kind)
	message := &adminv1.Object{
		Reference:       reference(ref),
		ApiVersion:      info.APIVersion,
		Json:            string(text),
		ResourceVersion: o.GetResourceVersion(),
		Conditions:      conditions(snapshot, ref),
	}
	if at := o.GetCreationTimestamp(); !at.IsZero() {
		message.CreatedAt = at.UnixMilli()
	}
	return message, nil
}

// conditions says whether an object counts: Accepted, or each error's reason.
func conditions(snapshot *model.Snapshot, ref api.Ref) []*adminv1.Condition {
	if snapshot.Object(ref) == nil {
		return []*adminv1.Condition{{Type: "Accepted", Reason: "Pending", Message: "the control plane has not read it yet"}}
	}
	var out []*adminv1.Condition
	for _, p := range snapshot.Problems(ref) {
		if p.Severity == model.Error {
			out = append(out, &adminv1.Condition{Type: conditionType(p.Reason), Reason: p.Reason, Message: p.Message})
		}
	}
	if len(out) == 0 {
		out = append(out, &adminv1.Condition{Type: "Accepted", Ok: true, Reason: "Accepted"})
	}
	return out
}

// conditionType is the Gateway API's condition that a reason belongs to.
func conditionType(reason string) string {
	switch reason {
	case "BackendNotFound", "RefNotPermitted", "InvalidKind":
		return "ResolvedRefs"
	}
	return "Accepted"
}

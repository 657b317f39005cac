package adminapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/control/store"
)

// What becomes of an object.
const (
	created    = "created"
	configured = "configured"
	unchanged  = "unchanged"
	deleted    = "deleted"
)

// step is what is to become of one object.
type step struct {
	ref    api.Ref
	action string
	old    api.Object // as stored; nil when there is none
	next   api.Object // nil deletes
	// Where the user wrote it; empty for what is only named.
	source string
	node   *yaml.Node
}

// attempts is how often a change is tried when others write the same objects at
// the same time, as proxies do that report on their workloads.
const attempts = 5

// retry tries again while another writer came in between.
func retry[A any](attempt func() (A, error)) (A, error) {
	for i := 1; ; i++ {
		answer, err := attempt()
		if i == attempts || connect.CodeOf(err) != connect.CodeAborted {
			return answer, err
		}
	}
}

// Apply makes the store be what the documents say.
func (s *Server) Apply(ctx context.Context, r *adminv1.ApplyRequest) (*adminv1.ApplyResponse, error) {
	return retry(func() (*adminv1.ApplyResponse, error) { return s.apply(ctx, r) })
}

func (s *Server) apply(ctx context.Context, r *adminv1.ApplyRequest) (*adminv1.ApplyResponse, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	steps, warnings, err := s.plan(ctx, r.GetDocuments(), r.GetNamespace())
	if err != nil {
		return nil, err
	}
	revision, err := s.commit(steps, r.GetDryRun())
	if err != nil {
		return nil, err
	}
	return &adminv1.ApplyResponse{Results: results(steps), Revision: revision, Warnings: warnings}, nil
}

// Diff says what Apply would change.
func (s *Server) Diff(ctx context.Context, r *adminv1.DiffRequest) (*adminv1.DiffResponse, error) {
	steps, _, err := s.plan(ctx, r.GetDocuments(), r.GetNamespace())
	if err != nil {
		return nil, err
	}
	answer := &adminv1.DiffResponse{}
	for _, step := range steps {
		if step.action == unchanged {
			continue
		}
		from, err := textOf(step.old)
		if err != nil {
			return nil, failure(err)
		}
		to, err := textOf(step.next)
		if err != nil {
			return nil, failure(err)
		}
		answer.Differences = append(answer.Differences, &adminv1.Difference{
			Object: reference(step.ref), Action: step.action,
			Unified: unified("stored/"+step.ref.String(), "applied/"+step.ref.String(), from, to),
		})
	}
	return answer, nil
}

// Delete removes objects from the store.
func (s *Server) Delete(ctx context.Context, r *adminv1.DeleteRequest) (*adminv1.DeleteResponse, error) {
	return retry(func() (*adminv1.DeleteResponse, error) { return s.delete(ctx, r) })
}

func (s *Server) delete(ctx context.Context, r *adminv1.DeleteRequest) (*adminv1.DeleteResponse, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	refs, err := s.named(r)
	if err != nil {
		return nil, err
	}
	var steps []step
	for _, ref := range refs {
		old, err := s.cfg.Store.Get(ref)
		switch {
		case errors.Is(err, store.ErrNotFound) && r.GetIgnoreMissing():
			continue
		case errors.Is(err, store.ErrNotFound):
			return nil, s.noObject(ref)
		case err != nil:
			return nil, failure(fmt.Errorf("get %s: %w", ref, err))
		}
		steps = append(steps, step{ref: ref, action: deleted, old: old})
	}
	warnings, err := s.validate(ctx, steps)
	if err != nil {
		return nil, err
	}
	revision, err := s.commit(steps, r.GetDryRun())
	if err != nil {
		return nil, err
	}
	return &adminv1.DeleteResponse{Results: results(steps), Revision: revision, Warnings: warnings}, nil
}

// named lists what a request wants deleted, each once. What was made last, as
// the documents go, is deleted first.
func (s *Server) named(r *adminv1.DeleteRequest) ([]api.Ref, error) {
	var refs []api.Ref
	seen := make(map[api.Ref]bool)
	add := func(ref api.Ref) {
		if !seen[ref] {
			seen[ref] = true
			refs = append(refs, ref)
		}
	}
	for _, named := range r.GetReferences() {
		ref, err := refOf(named)
		if err != nil {
			return nil, err
		}
		add(ref)
	}
	decoded, err := decode(r.GetDocuments(), r.GetNamespace())
	if err != nil {
		return nil, err
	}
	for i := len(decoded) - 1; i >= 0; i-- {
		add(decoded[i].ref)
	}
	if len(refs) == 0 {
		return nil, invalid("nothing is named that could be deleted")
	}
	return refs, nil
}

// plan reads documents and decides what is to become of each object, given what
// is stored.
func (s *Server) plan(ctx context.Context, docs []*adminv1.Document, namespace string) ([]step, []*adminv1.Problem, error) {
	steps, err := decode(docs, namespace)
	if err != nil {
		return nil, nil, err
	}
	if len(steps) == 0 {
		return nil, nil, invalid("the documents hold no object")
	}
	for i := range steps {
		old, err := s.cfg.Store.Get(steps[i].ref)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, nil, failure(fmt.Errorf("get %s: %w", steps[i].ref, err))
		}
		if err == nil {
			steps[i].old = old
		}
		if err := settle(&steps[i]); err != nil {
			return nil, nil, err
		}
	}
	warnings, err := s.validate(ctx, steps)
	return steps, warnings, err
}

// validate checks all steps together against the rest of the mesh.
func (s *Server) validate(ctx context.Context, steps []step) ([]*adminv1.Problem, error) {
	snapshot, err := s.caughtUp(ctx)
	if err != nil {
		return nil, err
	}
	var changes []api.Change
	wrote := make(map[api.Ref]step)
	for _, step := range steps {
		changes = append(changes, api.Change{Ref: step.ref, Object: step.next})
		wrote[step.ref] = step
	}
	next, found := model.Validate(snapshot, changes)
	var refused, warnings []*adminv1.Problem
	for _, p := range found {
		message := problem(p)
		message.Source, message.Line = wrote[p.Ref].source, wrote[p.Ref].lineOf(p.Path)
		if p.Severity == model.Error {
			refused = append(refused, message)
		} else {
			warnings = append(warnings, message)
		}
	}
	if len(refused) > 0 {
		return nil, refusal(refused)
	}
	return append(warnings, homeless(next, steps)...), nil
}

// homeless warns of new objects in a namespace that nobody has made, once for
// each: its name may be a mistake.
func homeless(next *model.Snapshot, steps []step) []*adminv1.Problem {
	var out []*adminv1.Problem
	told := make(map[string]bool)
	for _, step := range steps {
		name := step.ref.Namespace
		if step.action != created || name == "" || told[name] || next.Object(api.Ref{Kind: api.Namespace, Name: name}) != nil {
			continue
		}
		told[name] = true
		out = append(out, &adminv1.Problem{
			Object: reference(step.ref), Source: step.source, Line: step.lineOf("metadata.namespace"), Field: "metadata.namespace",
			Reason: fmt.Sprintf("namespace %s does not exist as an object; create it with `echo '{apiVersion: v1, kind: Namespace, metadata: {name: %[1]s}}' | leno apply -f -`", name),
		})
	}
	return out
}

// catchUp bounds how long the snapshot may be behind the store.
const catchUp = 5 * time.Second

// caughtUp returns a snapshot that has all that the store has, so that an apply
// may refer to what the one before it made.
func (s *Server) caughtUp(ctx context.Context) (*model.Snapshot, error) {
	revision := s.cfg.Store.Revision()
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	for {
		snapshot, changed := s.cfg.Snapshots.Next()
		if snapshot != nil && snapshot.Rev >= revision {
			return snapshot, nil
		}
		if snapshot == nil && revision == 0 {
			return model.Empty(), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, connect.NewError(connect.CodeUnavailable, errors.New("the control plane has not read its store yet; try again in a moment"))
		}
	}
}

// commit writes what changes in one transaction.
func (s *Server) commit(steps []step, dryRun bool) (uint64, error) {
	var ops []store.Op
	for _, step := range steps {
		switch step.action {
		case created, configured:
			ops = append(ops, store.Put(step.next))
		case deleted:
			ops = append(ops, store.Delete(step.ref, step.old.GetResourceVersion()))
		}
	}
	if dryRun || len(ops) == 0 {
		return s.cfg.Store.Revision(), nil
	}
	done, err := s.cfg.Store.Transaction(ops)
	if err != nil {
		return 0, failure(fmt.Errorf("write: %w", err))
	}
	return done.Revision, nil
}

func results(steps []step) []*adminv1.Result {
	var out []*adminv1.Result
	for _, step := range steps {
		out = append(out, &adminv1.Result{Object: reference(step.ref), Action: step.action})
	}
	return out
}

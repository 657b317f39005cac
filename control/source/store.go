package source

import (
	"context"
	"errors"
	"fmt"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/store"
)

// Store is the source of what the store holds.
type Store struct {
	store store.Store
}

// NewStore returns the source of a store.
func NewStore(s store.Store) *Store { return &Store{store: s} }

// Name implements Source.
func (s *Store) Name() string { return "store" }

// Run lists the store and follows its changes. When it falls too far behind it
// lists again.
func (s *Store) Run(ctx context.Context, w Writer) error {
	for first := true; ; first = false {
		revision, err := s.list(w)
		if err != nil {
			return err
		}
		if first {
			w.Synced()
		}
		err = s.follow(ctx, revision, w)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, store.ErrCompacted), errors.Is(err, store.ErrSlow):
			continue
		}
		return fmt.Errorf("watch store: %w", err)
	}
}

func (s *Store) list(w Writer) (uint64, error) {
	list, err := s.store.List("", "")
	if err != nil {
		return 0, fmt.Errorf("list store: %w", err)
	}
	change := Change{Revision: list.Revision, All: true, Objects: make([]api.Change, len(list.Objects))}
	for i, o := range list.Objects {
		change.Objects[i] = api.Put(o)
	}
	w.Apply(change)
	return list.Revision, nil
}

func (s *Store) follow(ctx context.Context, revision uint64, w Writer) error {
	watch, err := s.store.Watch(ctx, revision)
	if err != nil {
		return err
	}
	for batch := range watch.Batches() {
		w.Apply(Change{Revision: batch.Revision, Objects: batch.Changes})
	}
	return watch.Err()
}

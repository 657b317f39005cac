// Package memory is a store for tests: it forgets everything when it is closed.
package memory

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/store"
)

// Store is a store.Store in memory.
type Store struct {
	feed *store.Feed

	mu       sync.Mutex
	closed   bool
	revision uint64
	objects  map[api.Ref]api.Object // never changed in place
	sections map[string]*section
}

// New returns an empty store.
func New() *Store {
	return &Store{feed: store.NewFeed(0), objects: make(map[api.Ref]api.Object), sections: make(map[string]*section)}
}

// Get implements store.Store.
func (s *Store) Get(ref api.Ref) (api.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, store.ErrClosed
	}
	o := s.objects[ref]
	if o == nil {
		return nil, store.NotFound(ref.String())
	}
	return o.DeepCopyObject().(api.Object), nil
}

// List implements store.Store.
func (s *Store) List(kind api.Kind, namespace string) (store.List, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.List{}, store.ErrClosed
	}
	list := store.List{Revision: s.revision}
	for ref, o := range s.objects {
		if (kind == "" || ref.Kind == kind) && (namespace == "" || ref.Namespace == namespace) {
			list.Objects = append(list.Objects, o.DeepCopyObject().(api.Object))
		}
	}
	slices.SortFunc(list.Objects, func(a, b api.Object) int { return strings.Compare(key(a), key(b)) })
	return list, nil
}

func key(o api.Object) string {
	ref := api.RefOf(o)
	return string(ref.Kind) + "\x00" + ref.Namespace + "\x00" + ref.Name
}

// Put implements store.Store.
func (s *Store) Put(o api.Object) (api.Object, error) {
	r, err := s.Transaction([]store.Op{store.Put(o)})
	if err != nil {
		return nil, err
	}
	return r.Objects[0], nil
}

// Delete implements store.Store.
func (s *Store) Delete(ref api.Ref, resourceVersion string) error {
	_, err := s.Transaction([]store.Op{store.Delete(ref, resourceVersion)})
	return err
}

// Transaction implements store.Store.
func (s *Store) Transaction(ops []store.Op) (store.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return store.Result{}, store.ErrClosed
	}
	next := maps.Clone(s.objects)
	read := func(ref api.Ref) (api.Object, error) { return next[ref], nil }
	result := store.Result{Revision: s.revision}
	batch := store.Batch{Revision: s.revision + 1}
	for _, op := range ops {
		o, changed, err := store.Step(op, read, batch.Revision, time.Now())
		if err != nil {
			return store.Result{}, err
		}
		switch {
		case o == nil:
			delete(next, op.Ref)
			result.Objects = append(result.Objects, nil)
		default:
			next[op.Ref] = o
			result.Objects = append(result.Objects, o.DeepCopyObject().(api.Object))
		}
		if changed {
			batch.Changes = append(batch.Changes, api.Change{Ref: op.Ref, Object: o})
		}
	}
	if len(batch.Changes) > 0 {
		s.revision, s.objects, result.Revision = batch.Revision, next, batch.Revision
		s.feed.Publish(batch)
	}
	return result, nil
}

// Watch implements store.Store.
func (s *Store) Watch(ctx context.Context, after uint64) (*store.Watch, error) {
	return s.feed.Watch(ctx, after)
}

// Revision implements store.Store.
func (s *Store) Revision() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.feed.Close()
	return nil
}

// Section implements store.Store.
func (s *Store) Section(name string) store.Section {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sections[name] == nil {
		s.sections[name] = &section{store: s, name: name, entries: make(map[string]store.Entry)}
	}
	return s.sections[name]
}

type section struct {
	store    *Store
	name     string
	sequence uint64
	entries  map[string]store.Entry
}

// Get implements store.Section.
func (s *section) Get(key string) (store.Entry, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	e, ok := s.entries[key]
	switch {
	case s.store.closed:
		return store.Entry{}, store.ErrClosed
	case !ok:
		return store.Entry{}, store.NotFound(s.name + "/" + key)
	}
	e.Value = bytes.Clone(e.Value)
	return e, nil
}

// List implements store.Section.
func (s *section) List(prefix, after string, limit int) ([]store.Entry, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.store.closed {
		return nil, store.ErrClosed
	}
	var out []store.Entry
	for _, key := range slices.Sorted(maps.Keys(s.entries)) {
		if strings.HasPrefix(key, prefix) && key > after && (limit == 0 || len(out) < limit) {
			e := s.entries[key]
			e.Value = bytes.Clone(e.Value)
			out = append(out, e)
		}
	}
	return out, nil
}

// Put implements store.Section.
func (s *section) Put(key string, value []byte, version string) (string, error) {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	have := s.entries[key].Version
	switch {
	case s.store.closed:
		return "", store.ErrClosed
	case version != store.AnyVersion && version != have:
		return "", &store.ConflictError{Name: s.name + "/" + key, Have: have, Want: version}
	}
	s.sequence++
	version = strconv.FormatUint(s.sequence, 10)
	s.entries[key] = store.Entry{Key: key, Value: bytes.Clone(value), Version: version}
	return version, nil
}

// Delete implements store.Section.
func (s *section) Delete(key, version string) error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	have := s.entries[key].Version
	switch {
	case s.store.closed:
		return store.ErrClosed
	case version != store.AnyVersion && have == "":
		return store.NotFound(s.name + "/" + key)
	case version != store.AnyVersion && version != have:
		return &store.ConflictError{Name: s.name + "/" + key, Have: have, Want: version}
	}
	delete(s.entries, key)
	return nil
}

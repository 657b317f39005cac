package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/store"
)

// Store is a store.Store in a bbolt file.
type Store struct {
	db       *bbolt.DB
	path     string
	feed     *store.Feed
	revision atomic.Uint64
	mu       sync.Mutex // orders commits and their publication
}

// Get implements store.Store.
func (s *Store) Get(ref api.Ref) (o api.Object, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		o, err = load(tx, ref)
		return err
	})
	if err == nil && o == nil {
		err = store.NotFound(ref.String())
	}
	return o, err
}

func load(tx *bbolt.Tx, ref api.Ref) (api.Object, error) {
	data := tx.Bucket(objectsBucket()).Get(key(ref))
	if data == nil {
		return nil, nil
	}
	return api.DecodeStored(data)
}

// key orders objects by kind, namespace and name. None of them holds a zero byte.
func key(ref api.Ref) []byte {
	return []byte(string(ref.Kind) + "\x00" + ref.Namespace + "\x00" + ref.Name)
}

// List implements store.Store.
func (s *Store) List(kind api.Kind, namespace string) (store.List, error) {
	var list store.List
	var prefix []byte
	if kind != "" {
		prefix = []byte(string(kind) + "\x00")
		if namespace != "" {
			prefix = append(prefix, namespace+"\x00"...)
		}
	}
	err := s.view(func(tx *bbolt.Tx) error {
		list.Revision = revisionOf(tx)
		c := tx.Bucket(objectsBucket()).Cursor()
		for k, v := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
			if namespace != "" && strings.SplitN(string(k), "\x00", 3)[1] != namespace {
				continue
			}
			o, err := api.DecodeStored(v)
			if err != nil {
				return err
			}
			list.Objects = append(list.Objects, o)
		}
		return nil
	})
	return list, err
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

// errUnchanged rolls back a transaction that has nothing to write.
var errUnchanged = errors.New("nothing to write")

// Transaction implements store.Store.
func (s *Store) Transaction(ops []store.Op) (store.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var result store.Result
	batch := store.Batch{Revision: s.revision.Load() + 1}
	err := s.update(func(tx *bbolt.Tx) error {
		for _, op := range ops {
			o, changed, err := step(tx, op, batch.Revision)
			if err != nil {
				return err
			}
			var own api.Object
			if o != nil {
				own = o.DeepCopyObject().(api.Object)
			}
			result.Objects = append(result.Objects, own)
			if changed {
				batch.Changes = append(batch.Changes, api.Change{Ref: op.Ref, Object: o})
			}
		}
		if len(batch.Changes) == 0 {
			return errUnchanged
		}
		return tx.Bucket(metaBucket()).Put(revisionKey(), number(batch.Revision))
	})
	switch {
	case errors.Is(err, errUnchanged):
		result.Revision = s.revision.Load()
		return result, nil
	case err != nil:
		return store.Result{}, err
	}
	s.revision.Store(batch.Revision)
	s.feed.Publish(batch)
	result.Revision = batch.Revision
	return result, nil
}

func step(tx *bbolt.Tx, op store.Op, revision uint64) (api.Object, bool, error) {
	if bytes.Count(key(op.Ref), []byte{0}) != 2 {
		return nil, false, fmt.Errorf("write %s: the name holds a zero byte", op.Ref)
	}
	read := func(ref api.Ref) (api.Object, error) { return load(tx, ref) }
	o, changed, err := store.Step(op, read, revision, time.Now())
	if err != nil || !changed {
		return o, false, err
	}
	objects := tx.Bucket(objectsBucket())
	if o == nil {
		return nil, true, objects.Delete(key(op.Ref))
	}
	data, err := api.EncodeJSON(o)
	if err != nil {
		return nil, false, err
	}
	return o, true, objects.Put(key(op.Ref), data)
}

// Watch implements store.Store. It waits for a transaction that is committed and
// not published yet: a list may have seen it already.
func (s *Store) Watch(ctx context.Context, after uint64) (*store.Watch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.feed.Watch(ctx, after)
}

// Revision implements store.Store.
func (s *Store) Revision() uint64 { return s.revision.Load() }

// Close implements store.Store.
func (s *Store) Close() error {
	s.feed.Close()
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close store %s: %w", s.path, err)
	}
	return nil
}

func (s *Store) view(f func(*bbolt.Tx) error) error   { return s.wrap(s.db.View(f)) }
func (s *Store) update(f func(*bbolt.Tx) error) error { return s.wrap(s.db.Update(f)) }

// wrap gives errors of the file its name and leaves those about objects alone.
func (s *Store) wrap(err error) error {
	_, conflict := errors.AsType[*store.ConflictError](err)
	switch {
	case err == nil, conflict, errors.Is(err, store.ErrNotFound), errors.Is(err, errUnchanged):
		return err
	case errors.Is(err, bbolterrors.ErrDatabaseNotOpen):
		return store.ErrClosed
	}
	return fmt.Errorf("store %s: %w", s.path, err)
}

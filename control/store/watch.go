package store

import (
	"context"
	"sync"

	"github.com/leno-mesh/leno/api"
)

// Batch is what one transaction changed.
type Batch struct {
	Revision uint64
	// Changes share their objects with every watcher: read them only.
	Changes []api.Change
}

// Watch delivers batches until its context ends, the store is closed, or its
// reader is too slow. Then Batches is closed and Err says why.
type Watch struct {
	batches chan Batch
	stop    func() bool

	mu  sync.Mutex
	err error
}

// Batches returns the channel of batches, in order and without gaps.
func (w *Watch) Batches() <-chan Batch { return w.batches }

// Err returns why Batches was closed.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

const (
	// Remembered is how many batches a store can deliver to a late watcher.
	Remembered = 4096
	// Pending is how many batches wait for a watcher before it is dropped.
	Pending = 1024
)

// Feed delivers committed batches to watchers. Both stores are built on it.
type Feed struct {
	mu       sync.Mutex
	history  []Batch // newest last, revisions ascending
	oldest   uint64  // changes after this revision are all in history
	newest   uint64
	watches  map[*Watch]struct{}
	closedBy error
}

// NewFeed returns the feed of a store that is at a revision.
func NewFeed(revision uint64) *Feed {
	return &Feed{oldest: revision, newest: revision, watches: make(map[*Watch]struct{})}
}

// Publish delivers a batch. Calls must be in the order of revisions. It never
// waits: a watcher whose buffer is full is dropped.
func (f *Feed) Publish(b Batch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest = b.Revision
	f.history = append(f.history, b)
	if len(f.history) >= 2*Remembered {
		f.oldest = f.history[len(f.history)-Remembered-1].Revision
		f.history = append([]Batch(nil), f.history[len(f.history)-Remembered:]...)
	}
	for w := range f.watches {
		select {
		case w.batches <- b:
		default:
			f.end(w, ErrSlow)
		}
	}
}

// Watch begins to deliver the batches after a revision.
func (f *Feed) Watch(ctx context.Context, after uint64) (*Watch, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closedBy != nil {
		return nil, f.closedBy
	}
	// A revision that is not reached yet is of another store, or of one that
	// was restored from a copy.
	if after < f.oldest || after > f.newest {
		return nil, ErrCompacted
	}
	first := len(f.history)
	for first > 0 && f.history[first-1].Revision > after {
		first--
	}
	missed := f.history[first:]
	w := &Watch{batches: make(chan Batch, len(missed)+Pending)}
	for _, b := range missed {
		w.batches <- b
	}
	f.watches[w] = struct{}{}
	w.stop = context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.end(w, context.Cause(ctx))
	})
	return w, nil
}

// Close ends all watches.
func (f *Feed) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closedBy != nil {
		return
	}
	f.closedBy = ErrClosed
	for w := range f.watches {
		f.end(w, ErrClosed)
	}
}

// end closes one watch, once. The feed's lock is held.
func (f *Feed) end(w *Watch, why error) {
	if _, ok := f.watches[w]; !ok {
		return
	}
	delete(f.watches, w)
	w.stop()
	w.mu.Lock()
	w.err = why
	w.mu.Unlock()
	close(w.batches)
}

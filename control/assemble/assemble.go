// Package assemble merges what all sources say into one snapshot of the mesh.
// One goroutine is the only writer of snapshots.
package assemble

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/control/source"
	"github.com/leno-mesh/leno/lib/cell"
)

const (
	// quiet is how long configuration must rest before it is published, so that
	// what is applied in a row becomes one snapshot.
	quiet = 10 * time.Millisecond
	// patience bounds the wait when configuration never rests.
	patience = 100 * time.Millisecond
)

// Assembler publishes snapshots.
type Assembler struct {
	sources []source.Source
	cell    cell.Cell[model.Snapshot]
	events  chan event

	// Owned by the goroutine of merge.
	layers    []map[api.Ref]api.Object // by source: what it says
	unsynced  int
	published *model.Snapshot
	edit      *model.Edit // since published
	revision  uint64
}

// event is a change of one source, or that it is synced.
type event struct {
	source int
	change *source.Change // nil: synced
}

// New returns an assembler of sources. Where two say something of one object,
// the first counts.
func New(sources ...source.Source) *Assembler {
	a := &Assembler{sources: sources, events: make(chan event), unsynced: len(sources), published: model.Empty()}
	a.edit = a.published.Edit()
	for range sources {
		a.layers = append(a.layers, make(map[api.Ref]api.Object))
	}
	return a
}

// Snapshots returns the cell of the newest snapshot. It is empty until every
// source has said all it knew at the start, so that no proxy is told of a mesh
// half read.
func (a *Assembler) Snapshots() *cell.Cell[model.Snapshot] { return &a.cell }

// Run runs the sources and merges what they say until ctx ends or a source
// fails. It is called once.
func (a *Assembler) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range a.sources {
		group.Go(func() error {
			err := s.Run(ctx, &writer{ctx: ctx, events: a.events, source: i})
			if err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("source %s: %w", s.Name(), err)
			}
			return err
		})
	}
	group.Go(func() error { return a.merge(ctx) })
	return group.Wait()
}

// merge is the one goroutine that owns the state.
func (a *Assembler) merge(ctx context.Context) error {
	timer := time.NewTimer(0)
	<-timer.C
	var due, latest time.Time // of the pending publication; zero when there is none
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			a.publish()
			due, latest = time.Time{}, time.Time{}
		case e := <-a.events:
			if a.take(e) {
				timer.Stop()
				a.publish()
				due, latest = time.Time{}, time.Time{}
				continue
			}
			now := time.Now()
			if latest.IsZero() {
				latest = now.Add(patience)
			}
			due = now.Add(quiet)
			if due.After(latest) {
				due = latest
			}
			timer.Reset(due.Sub(now))
		}
	}
}

// take notes an event and reports whether it cannot wait: workloads come and go
// at once, and nothing that was removed is used any longer.
func (a *Assembler) take(e event) (urgent bool) {
	if e.change == nil {
		a.unsynced--
		return true
	}
	a.revision = max(a.revision, e.change.Revision)
	layer := a.layers[e.source]
	if e.change.All {
		urgent = a.removeOthers(e.source, e.change.Objects)
	}
	for _, c := range e.change.Objects {
		if c.Object == nil {
			delete(layer, c.Ref)
		} else {
			layer[c.Ref] = c.Object
		}
		a.resolve(c.Ref)
		urgent = urgent || c.Object == nil || c.Ref.Kind == api.Workload
	}
	return urgent
}

// removeOthers deletes what a source no longer lists.
func (a *Assembler) removeOthers(from int, listed []api.Change) (removed bool) {
	keep := make(map[api.Ref]bool, len(listed))
	for _, c := range listed {
		keep[c.Ref] = true
	}
	for ref := range a.layers[from] {
		if !keep[ref] {
			delete(a.layers[from], ref)
			a.resolve(ref)
			removed = true
		}
	}
	return removed
}

// resolve brings one object into the edit as the first source that has it says.
func (a *Assembler) resolve(ref api.Ref) {
	for _, layer := range a.layers {
		if o := layer[ref]; o != nil {
			a.edit.Apply(api.Put(o))
			return
		}
	}
	a.edit.Apply(api.Delete(ref))
}

func (a *Assembler) publish() {
	if a.unsynced > 0 {
		return
	}
	a.published = a.edit.Commit(a.revision)
	a.edit = a.published.Edit()
	a.cell.Store(a.published)
}

// writer is what a source writes to.
type writer struct {
	ctx    context.Context
	events chan<- event
	source int
}

// Apply implements source.Writer.
func (w *writer) Apply(c source.Change) { w.send(event{w.source, &c}) }

// Synced implements source.Writer.
func (w *writer) Synced() { w.send(event{source: w.source}) }

func (w *writer) send(e event) {
	select {
	case w.events <- e:
	case <-w.ctx.Done():
	}
}

// Package source says where the mesh's objects come from. Sources differ only in
// how they learn of changes; what they say is merged in one place.
package source

import (
	"context"

	"github.com/leno-mesh/leno/api"
)

// Source reports what one place says the mesh should be.
type Source interface {
	Name() string
	// Run writes changes until ctx ends or nothing more can be done.
	Run(ctx context.Context, w Writer) error
}

// Writer takes the changes of one source. Its methods wait while the reader is
// behind, and return when the reader has gone.
type Writer interface {
	// Apply is visible all at once or not at all.
	Apply(c Change)
	// Synced says that all that was there at the start has been applied.
	Synced()
}

// Change is one step in what a source says. The receiver keeps the objects and
// does not change them.
type Change struct {
	// Revision of the store, 0 from a source that has none.
	Revision uint64
	Objects  []api.Change
	// All says that Objects is everything: what is not in it is gone.
	All bool
}

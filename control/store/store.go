// Package store keeps the objects of the mesh. It declares what a store does;
// store/bolt keeps them in one file, store/memory in memory for tests.
//
// A store has one revision, a number that each transaction raises by one. An
// object's metadata.resourceVersion is the revision that wrote it; outside this
// package it is opaque.
package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/leno-mesh/leno/api"
)

// Store keeps objects. Its methods may be called from any goroutine. Objects
// passed in are not changed and not kept; objects returned belong to the caller.
type Store interface {
	// Get returns an object and ErrNotFound when there is none.
	Get(ref api.Ref) (api.Object, error)
	// List returns the objects of a kind in a namespace, or in all namespaces
	// when it is "", sorted by namespace and name; "" lists all kinds.
	List(kind api.Kind, namespace string) (List, error)
	// Put writes one object under its resourceVersion as the precondition:
	// "" creates and fails with a ConflictError when the object exists. It
	// returns the object as written.
	Put(o api.Object) (api.Object, error)
	// Delete removes one object; a resourceVersion other than "" must be its own.
	Delete(ref api.Ref, resourceVersion string) error
	// Transaction does all of ops, in their order, or none of them. It returns
	// once they are on disk, with the objects as written, nil for deletions.
	Transaction(ops []Op) (Result, error)
	// Watch delivers the changes of every transaction after a revision, in
	// order, each once. It fails with ErrCompacted when that revision is too
	// old: list, and watch from the List's revision.
	Watch(ctx context.Context, after uint64) (*Watch, error)
	// Revision returns the newest revision.
	Revision() uint64
	// Section returns a space of raw keys and values that has nothing to do
	// with objects and revisions. The name is one of the caller's own.
	Section(name string) Section
	Close() error
}

// List is a consistent listing: the objects as they were at a revision.
type List struct {
	Revision uint64
	Objects  []api.Object
}

// Op is one step of a transaction.
type Op struct {
	Ref    api.Ref
	Object api.Object // nil deletes
	// Precondition on what is there: AnyVersion, Absent, or a resourceVersion.
	If string
}

const (
	// AnyVersion puts no condition: put creates or overwrites; deleting what is
	// not there does nothing.
	AnyVersion = "*"
	// Absent demands that there is no such object.
	Absent = ""
)

// Put returns the step that writes an object as long as the stored one still
// has the object's resourceVersion, or is absent when that is "".
func Put(o api.Object) Op {
	return Op{Ref: api.RefOf(o), Object: o, If: o.GetResourceVersion()}
}

// Overwrite returns the step that writes an object whatever is there.
func Overwrite(o api.Object) Op {
	return Op{Ref: api.RefOf(o), Object: o, If: AnyVersion}
}

// Delete returns the step that removes an object that exists; a
// resourceVersion other than "" must be its own.
func Delete(ref api.Ref, resourceVersion string) Op {
	if resourceVersion == "" {
		return Op{Ref: ref, If: present}
	}
	return Op{Ref: ref, If: resourceVersion}
}

// present demands that there is such an object, of any version.
const present = "+"

// Result says what a transaction did.
type Result struct {
	// Revision is the store's revision that includes the transaction. A
	// transaction that changes nothing raises no revision.
	Revision uint64
	Objects  []api.Object // parallel to the steps
}

// Section is a space of raw keys and values with compare-and-swap. A version is
// opaque; "" is the version of what is not there.
type Section interface {
	// Get returns ErrNotFound when there is no such key.
	Get(key string) (Entry, error)
	// List returns the entries whose key has a prefix and is after a key, sorted
	// by key, at most limit of them; 0 is no limit.
	List(prefix, after string, limit int) ([]Entry, error)
	// Put writes a value as long as the key still has the version given, and
	// returns the new version. It fails with a ConflictError otherwise.
	Put(key string, value []byte, version string) (string, error)
	// Delete removes a key as long as it still has the version given;
	// AnyVersion removes it whatever it has, or if it is not there.
	Delete(key, version string) error
}

// Entry is a key of a Section.
type Entry struct {
	Key     string
	Value   []byte
	Version string
}

var (
	// ErrNotFound says that there is no such object or key.
	ErrNotFound = errors.New("not found")
	// ErrCompacted says that a watch asked for changes that are forgotten.
	ErrCompacted = errors.New("the changes since that revision are no longer known; list again")
	// ErrSlow ends a watch whose reader fell too far behind: list again.
	ErrSlow = errors.New("the watcher fell behind and was dropped; list again")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("the store is closed")
)

// ConflictError says that a precondition did not hold; nothing was written.
type ConflictError struct {
	Name string // of the object or key
	Have string // the version that is there, "" when nothing is
	Want string
}

// Error says what happened in the user's words.
func (e *ConflictError) Error() string {
	switch {
	case e.Have == "":
		return fmt.Sprintf("%s was deleted meanwhile; nothing was written", e.Name)
	case e.Want == "":
		return fmt.Sprintf("%s exists already; nothing was written", e.Name)
	}
	return fmt.Sprintf("%s was changed meanwhile (version %s, expected %s); nothing was written", e.Name, e.Have, e.Want)
}

// notFoundError is ErrNotFound with the name of what is missing.
type notFoundError struct{ name string }

func (e *notFoundError) Error() string        { return e.name + " is not in the store" }
func (e *notFoundError) Is(target error) bool { return target == ErrNotFound }

// NotFound returns an error that is ErrNotFound and names what is missing.
func NotFound(name string) error { return &notFoundError{name} }

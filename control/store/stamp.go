package store

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/leno-mesh/leno/api"
)

// Reader gives a transaction the objects as its earlier steps left them, nil
// for what is not there.
type Reader func(api.Ref) (api.Object, error)

// Step decides what one Op does, given the stored object, and leaves doing it
// to the store. It returns the object to write, nil to delete; changed is false
// when there is nothing to do, and then the object is the stored one.
func Step(op Op, read Reader, revision uint64, now time.Time) (next api.Object, changed bool, err error) {
	old, err := read(op.Ref)
	if err != nil {
		return nil, false, err
	}
	if err := op.check(old); err != nil {
		return nil, false, err
	}
	if op.Object == nil {
		return nil, old != nil, nil
	}
	next = op.Object.DeepCopyObject().(api.Object)
	api.SetType(next)
	if old == nil {
		next.SetUID(newUID())
		next.SetCreationTimestamp(metav1.NewTime(now.UTC().Truncate(time.Second)))
		next.SetGeneration(1)
		next.SetResourceVersion(strconv.FormatUint(revision, 10))
		return next, true, nil
	}
	next.SetUID(old.GetUID())
	next.SetCreationTimestamp(old.GetCreationTimestamp())
	next.SetGeneration(old.GetGeneration())
	next.SetResourceVersion(old.GetResourceVersion())
	same, sameSpec, err := compare(old, next)
	if err != nil {
		return nil, false, err
	}
	if same {
		return old, false, nil
	}
	if !sameSpec {
		next.SetGeneration(old.GetGeneration() + 1)
	}
	next.SetResourceVersion(strconv.FormatUint(revision, 10))
	return next, true, nil
}

func (op Op) check(old api.Object) error {
	have := ""
	if old != nil {
		have = old.GetResourceVersion()
	}
	switch {
	case op.If == AnyVersion, op.If == have && op.If != present:
		return nil
	case op.If == present && old != nil:
		return nil
	case op.If == present, op.Object == nil && old == nil:
		return NotFound(op.Ref.String())
	}
	return &ConflictError{Name: op.Ref.String(), Have: have, Want: op.If}
}

// compare tells whether two versions of an object say the same, and whether
// they do apart from metadata and status.
func compare(a, b api.Object) (same, sameSpec bool, err error) {
	left, err := fields(a)
	if err != nil {
		return false, false, err
	}
	right, err := fields(b)
	if err != nil {
		return false, false, err
	}
	same, sameSpec = true, true
	for _, name := range []string{"spec", "metadata", "status"} {
		if !bytes.Equal(left[name], right[name]) {
			same = false
			sameSpec = sameSpec && name != "spec"
		}
	}
	return same, sameSpec, nil
}

func fields(o api.Object) (map[string]json.RawMessage, error) {
	data, err := api.EncodeJSON(o)
	if err != nil {
		return nil, err
	}
	var out map[string]json.RawMessage
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("compare %s: %w", api.RefOf(o), err)
	}
	return out, nil
}

// newUID returns a random UUID (RFC 9562, version 4).
func newUID() types.UID {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]))
}

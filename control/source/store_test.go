package source

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/store"
	"github.com/leno-mesh/leno/control/store/memory"
)

func namespace(name string) api.Object {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

// recorder keeps what a source writes; with a gate it waits before each change.
type recorder struct {
	gate   chan struct{}
	state  map[api.Ref]bool
	synced int
	lists  int
}

func (r *recorder) Apply(c Change) {
	if c.All {
		clear(r.state)
		r.lists++
	}
	for _, o := range c.Objects {
		if o.Object == nil {
			delete(r.state, o.Ref)
		} else {
			r.state[o.Ref] = true
		}
	}
	if r.gate != nil && !c.All {
		<-r.gate
	}
}

func (r *recorder) Synced() { r.synced++ }

func TestStoreSourceListsThenFollows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		must(t, s, store.Overwrite(namespace("a")), store.Overwrite(namespace("b")))
		r := &recorder{state: make(map[api.Ref]bool)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- NewStore(s).Run(ctx, r) }()
		synctest.Wait()
		if len(r.state) != 2 || r.synced != 1 {
			t.Errorf("after the listing: %v, synced %d times", r.state, r.synced)
		}
		must(t, s, store.Overwrite(namespace("c")), store.Delete(api.RefOf(namespace("a")), ""))
		synctest.Wait()
		if fmt.Sprint(r.state) != "map[Namespace/b:true Namespace/c:true]" || r.lists != 1 {
			t.Errorf("after a change: %v, %d lists", r.state, r.lists)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestStoreSourceListsAgainWhenItFellBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New()
		r := &recorder{state: make(map[api.Ref]bool), gate: make(chan struct{})}
		go NewStore(s).Run(t.Context(), r)
		synctest.Wait()
		must(t, s, store.Overwrite(namespace("gone")))
		for i := range store.Pending + 10 {
			must(t, s, store.Overwrite(namespace(fmt.Sprint("n", i))))
		}
		must(t, s, store.Delete(api.RefOf(namespace("gone")), ""))
		close(r.gate)
		synctest.Wait()
		if r.lists != 2 || r.synced != 1 || len(r.state) != store.Pending+10 || r.state[api.RefOf(namespace("gone"))] {
			t.Errorf("%d lists, %d objects, synced %d times", r.lists, len(r.state), r.synced)
		}
	})
}

func TestStoreSourceEndsWithTheStore(t *testing.T) {
	s := memory.New()
	r := &recorder{state: make(map[api.Ref]bool)}
	s.Close()
	if err := NewStore(s).Run(t.Context(), r); !errors.Is(err, store.ErrClosed) || r.synced != 0 {
		t.Errorf("Run returned %v, synced %d times", err, r.synced)
	}
}

func must(t *testing.T, s store.Store, ops ...store.Op) {
	t.Helper()
	if _, err := s.Transaction(ops); err != nil {
		t.Fatal(err)
	}
}

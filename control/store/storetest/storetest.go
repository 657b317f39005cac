// Package storetest is the test that every store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/store"
)

// Run tests a kind of store; open returns an empty one.
func Run(t *testing.T, open func(*testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"KeepsMetadata", keepsMetadata},
		{"ComparesBeforeItSwaps", compares},
		{"DoesAllOrNothing", allOrNothing},
		{"ListsInOrder", lists},
		{"GivesAndTakesCopies", copies},
		{"WatchesWithoutGaps", watches},
		{"WatchesFromAnyKnownRevision", watchesLate},
		{"WatchesFromAListAmidWrites", listsThenWatches},
		{"DropsSlowWatchers", dropsSlow},
		{"ForgetsOldChanges", compacts},
		{"EndsWatchesOnClose", closes},
		{"KeepsSectionsApart", sections},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { s.Close() })
			test.run(t, s)
		})
	}
}

func service(name string, port int32) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: port}}},
	}
}

func put(t *testing.T, s store.Store, o api.Object) api.Object {
	t.Helper()
	written, err := s.Put(o)
	if err != nil {
		t.Fatal(err)
	}
	return written
}

func isConflict(err error) bool {
	_, ok := errors.AsType[*store.ConflictError](err)
	return ok
}

func keepsMetadata(t *testing.T, s store.Store) {
	w := &v1alpha1.Workload{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "forged", Generation: 9}}
	first := put(t, s, w).(*v1alpha1.Workload)
	if first.UID == "" || first.UID == "forged" || first.Generation != 1 || first.ResourceVersion == "" || first.CreationTimestamp.IsZero() || first.Kind != "Workload" {
		t.Errorf("created as %+v", first)
	}
	spec := first.DeepCopy()
	spec.Spec.Address = "127.0.0.1"
	second := put(t, s, spec).(*v1alpha1.Workload)
	if second.UID != first.UID || second.Generation != 2 || second.ResourceVersion == first.ResourceVersion || !second.CreationTimestamp.Equal(&first.CreationTimestamp) {
		t.Errorf("a new spec is written as %+v", second.ObjectMeta)
	}
	status := second.DeepCopy()
	status.Status.Draining = true
	third := put(t, s, status).(*v1alpha1.Workload)
	if third.Generation != 2 || third.ResourceVersion == second.ResourceVersion {
		t.Errorf("a new status is written as %+v", third.ObjectMeta)
	}
	before := s.Revision()
	if again := put(t, s, third); again.GetResourceVersion() != third.ResourceVersion || s.Revision() != before {
		t.Error("writing the same again made a new version")
	}
	got, err := s.Get(api.RefOf(w))
	if err != nil || got.GetResourceVersion() != third.ResourceVersion {
		t.Errorf("Get returned %+v, %v", got, err)
	}
}

func compares(t *testing.T, s store.Store) {
	first := put(t, s, service("web", 80))
	if _, err := s.Put(service("web", 81)); !isConflict(err) {
		t.Errorf("creating what exists: %v", err)
	}
	second := first.DeepCopyObject().(*corev1.Service)
	second.Spec.Ports[0].Port = 81
	put(t, s, second)
	second.Spec.Ports[0].Port = 82
	if _, err := s.Put(second); !isConflict(err) {
		t.Errorf("writing over a newer version: %v", err)
	}
	ref := api.RefOf(first)
	if err := s.Delete(ref, first.GetResourceVersion()); !isConflict(err) {
		t.Errorf("deleting a newer version: %v", err)
	}
	if err := s.Delete(ref, ""); err != nil {
		t.Error(err)
	}
	if err := s.Delete(ref, ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleting what is gone: %v", err)
	}
	if _, err := s.Get(ref); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("getting what is gone: %v", err)
	}
	if _, err := s.Put(first); !isConflict(err) {
		t.Errorf("writing over what is gone: %v", err)
	}
	if _, err := s.Transaction([]store.Op{store.Overwrite(service("web", 83)), {Ref: api.Ref{Kind: api.Service, Name: "none"}, If: store.AnyVersion}}); err != nil {
		t.Errorf("a step without precondition: %v", err)
	}
}

func allOrNothing(t *testing.T, s store.Store) {
	put(t, s, service("b", 80))
	before := s.Revision()
	_, err := s.Transaction([]store.Op{store.Put(service("a", 80)), store.Put(service("b", 81))})
	if !isConflict(err) {
		t.Errorf("transaction: %v", err)
	}
	if _, err := s.Get(api.RefOf(service("a", 80))); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("half a transaction was written: %v", err)
	}
	if s.Revision() != before {
		t.Error("a failed transaction made a revision")
	}
	r, err := s.Transaction([]store.Op{store.Put(service("a", 80)), store.Delete(api.RefOf(service("b", 0)), "")})
	if err != nil || r.Revision != before+1 || len(r.Objects) != 2 || r.Objects[0] == nil || r.Objects[1] != nil {
		t.Errorf("transaction returned %+v, %v", r, err)
	}
}

func lists(t *testing.T, s store.Store) {
	for _, name := range []string{"b", "a", "a-b"} {
		put(t, s, service(name, 80))
	}
	other := service("c", 80)
	other.Namespace = "other"
	put(t, s, other)
	put(t, s, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}})
	for _, test := range []struct {
		kind      api.Kind
		namespace string
		want      string
	}{
		{api.Service, "", "[Service/other/c Service/shop/a Service/shop/a-b Service/shop/b]"},
		{api.Service, "shop", "[Service/shop/a Service/shop/a-b Service/shop/b]"},
		{"", "other", "[Service/other/c]"},
		{api.HTTPRoute, "", "[]"},
		{api.Namespace, "", "[Namespace/shop]"},
	} {
		list, err := s.List(test.kind, test.namespace)
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, len(list.Objects))
		for i, o := range list.Objects {
			names[i] = api.RefOf(o).String()
		}
		if got := fmt.Sprint(names); got != test.want || list.Revision != s.Revision() {
			t.Errorf("List(%q, %q) = %s at %d, want %s", test.kind, test.namespace, got, list.Revision, test.want)
		}
	}
}

func copies(t *testing.T, s store.Store) {
	own := service("web", 80)
	written := put(t, s, own).(*corev1.Service)
	own.Spec.Ports[0].Port = 1
	written.Spec.Ports[0].Port = 2
	got, err := s.Get(api.RefOf(own))
	if err != nil || got.(*corev1.Service).Spec.Ports[0].Port != 80 {
		t.Errorf("the stored object changed with the caller's: %+v, %v", got, err)
	}
}

// watches follows eight concurrent writers.
func watches(t *testing.T, s store.Store) {
	const writers, each = 8, 25
	watch, err := s.Watch(t.Context(), s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				if _, err := s.Transaction([]store.Op{
					store.Overwrite(service(fmt.Sprint("s", i), int32(j+1))),
					store.Overwrite(service(fmt.Sprint("t", i), int32(j+1))),
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	last := map[string]int32{}
	for want := uint64(1); want <= writers*each; want++ {
		batch, ok := <-watch.Batches()
		if !ok {
			t.Fatalf("the watch ended: %v", watch.Err())
		}
		if batch.Revision != want || len(batch.Changes) != 2 {
			t.Fatalf("batch %d has %d changes; batch %d with 2 is next", batch.Revision, len(batch.Changes), want)
		}
		for _, c := range batch.Changes {
			port := c.Object.(*corev1.Service).Spec.Ports[0].Port
			if port != last[c.Ref.Name]+1 {
				t.Fatalf("%s went from %d to %d", c.Ref, last[c.Ref.Name], port)
			}
			last[c.Ref.Name] = port
		}
	}
	wg.Wait()
}

func watchesLate(t *testing.T, s store.Store) {
	put(t, s, service("a", 80))
	after := s.Revision()
	put(t, s, service("b", 80))
	if err := s.Delete(api.RefOf(service("a", 0)), ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	watch, err := s.Watch(ctx, after)
	if err != nil {
		t.Fatal(err)
	}
	first, second := <-watch.Batches(), <-watch.Batches()
	if first.Changes[0].Ref.Name != "b" || second.Changes[0].Object != nil {
		t.Errorf("the batches are %+v and %+v", first, second)
	}
	cancel()
	if _, ok := <-watch.Batches(); ok || !errors.Is(watch.Err(), context.Canceled) {
		t.Errorf("after the context's end: open %v, %v", ok, watch.Err())
	}
	if _, err := s.Watch(t.Context(), s.Revision()+1); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watching from the future: %v", err)
	}
}

// listsThenWatches begins watches while another goroutine writes: each must
// begin right after its list.
func listsThenWatches(t *testing.T, s store.Store) {
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := int32(1); ; i = i%60000 + 1 {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := s.Transaction([]store.Op{store.Overwrite(service("web", i))}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 200 {
		list, err := s.List("", "")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		watch, err := s.Watch(ctx, list.Revision)
		if err != nil {
			t.Fatalf("watching from revision %d of a list: %v", list.Revision, err)
		}
		if b := <-watch.Batches(); b.Revision != list.Revision+1 {
			t.Errorf("the first batch after %d is %d", list.Revision, b.Revision)
		}
		cancel()
	}
	close(stop)
	writer.Wait()
}

// dropsSlow writes to a watcher that does not read.
func dropsSlow(t *testing.T, s store.Store) {
	slow, err := s.Watch(t.Context(), s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	write(t, s, store.Pending+1)
	n := 0
	for range slow.Batches() {
		n++
	}
	if n != store.Pending || !errors.Is(slow.Err(), store.ErrSlow) {
		t.Errorf("%d batches, then %v", n, slow.Err())
	}
}

// compacts asks for changes that are forgotten.
func compacts(t *testing.T, s store.Store) {
	if _, slow := s.(interface{ Durable() }); slow {
		t.Skip("thousands of transactions on disk take long; the feed is the same code")
	}
	write(t, s, 2*store.Remembered)
	if _, err := s.Watch(t.Context(), 0); !errors.Is(err, store.ErrCompacted) {
		t.Errorf("watching from the beginning: %v", err)
	}
	first := s.Revision() - store.Remembered
	watch, err := s.Watch(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if b := <-watch.Batches(); b.Revision != first+1 {
		t.Errorf("the first batch is %d after %d", b.Revision, first)
	}
}

func write(t *testing.T, s store.Store, n int) {
	t.Helper()
	for i := range n {
		if _, err := s.Transaction([]store.Op{store.Overwrite(service("web", int32(i%60000+1)))}); err != nil {
			t.Fatal(err)
		}
	}
}

func closes(t *testing.T, s store.Store) {
	watch, err := s.Watch(t.Context(), s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-watch.Batches(); ok || !errors.Is(watch.Err(), store.ErrClosed) {
		t.Errorf("after Close: open %v, %v", ok, watch.Err())
	}
	if _, err := s.Put(service("a", 80)); !errors.Is(err, store.ErrClosed) {
		t.Errorf("writing after Close: %v", err)
	}
	if _, err := s.Section("x").Get("a"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("reading a section after Close: %v", err)
	}
}

func sections(t *testing.T, s store.Store) {
	tokens, leases := s.Section("tokens"), s.Section("leases")
	if _, err := tokens.Get("a"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("getting what is not there: %v", err)
	}
	first, err := tokens.Put("a", []byte("1"), store.Absent)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Put("a", []byte("2"), store.Absent); !isConflict(err) {
		t.Errorf("creating what exists: %v", err)
	}
	second, err := tokens.Put("a", []byte("2"), first)
	if err != nil || second == first {
		t.Errorf("versions %q and %q, %v", first, second, err)
	}
	if err := tokens.Delete("a", first); !isConflict(err) {
		t.Errorf("deleting a newer version: %v", err)
	}
	for _, key := range []string{"b/1", "b/2", "b/3", "c"} {
		if _, err := tokens.Put(key, nil, store.AnyVersion); err != nil {
			t.Fatal(err)
		}
	}
	list, err := tokens.List("b/", "b/1", 1)
	if err != nil || len(list) != 1 || list[0].Key != "b/2" {
		t.Errorf("List = %+v, %v", list, err)
	}
	all, err := tokens.List("", "", 0)
	if err != nil || !slices.IsSortedFunc(all, func(a, b store.Entry) int { return map[bool]int{true: -1, false: 1}[a.Key < b.Key] }) || len(all) != 5 {
		t.Errorf("List = %+v, %v", all, err)
	}
	if list, err := leases.List("", "", 0); err != nil || len(list) != 0 {
		t.Errorf("the other section has %+v, %v", list, err)
	}
	if err := tokens.Delete("a", second); err != nil {
		t.Error(err)
	}
	if err := tokens.Delete("a", store.AnyVersion); err != nil {
		t.Errorf("deleting what is gone, whatever it is: %v", err)
	}
	if s.Revision() != 0 {
		t.Error("a section made a revision")
	}
}

package assemble

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/source"
	"github.com/leno-mesh/leno/control/store"
	"github.com/leno-mesh/leno/control/store/bolt"
)

func service(name string, port int32) api.Object {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: port}}},
	}
}

func workload(name string) api.Object {
	return &v1alpha1.Workload{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
}

// script is a source that does what the test says.
type script func(context.Context, source.Writer) error

func (script) Name() string                                     { return "script" }
func (s script) Run(ctx context.Context, w source.Writer) error { return s(ctx, w) }

// start runs an assembler over sources whose writers the test uses itself.
func start(t *testing.T, n int) (*Assembler, []source.Writer) {
	t.Helper()
	writers := make([]source.Writer, n)
	sources := make([]source.Source, n)
	for i := range n {
		sources[i] = script(func(ctx context.Context, w source.Writer) error {
			writers[i] = w
			<-ctx.Done()
			return ctx.Err()
		})
	}
	a := New(sources...)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	synctest.Wait()
	return a, writers
}

func put(revision uint64, objects ...api.Object) source.Change {
	c := source.Change{Revision: revision}
	for _, o := range objects {
		c.Objects = append(c.Objects, api.Put(o))
	}
	return c
}

func TestNothingIsPublishedBeforeAllSourcesAreSynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w := start(t, 2)
		w[0].Apply(put(1, service("web", 80)))
		w[0].Synced()
		<-time.After(time.Second)
		synctest.Wait()
		if a.Snapshots().Load() != nil {
			t.Fatal("a mesh half read was published")
		}
		w[1].Synced()
		synctest.Wait()
		if s := a.Snapshots().Load(); s == nil || s.Service("shop", "web") == nil || s.Rev != 1 {
			t.Errorf("the snapshot is %+v", s)
		}
	})
}

// TestPublicationWaits measures when each kind of change is published, on the
// clock of synctest.
func TestPublicationWaits(t *testing.T) {
	remove := source.Change{Revision: 9, Objects: []api.Change{api.Delete(api.Ref{Kind: api.Service, Namespace: "shop", Name: "web"})}}
	for _, test := range []struct {
		name   string
		change source.Change
		repeat int // times, 5 ms apart
		want   time.Duration
	}{
		{"configuration rests", put(9, service("cart", 80)), 1, 10 * time.Millisecond},
		{"configuration comes in a row", put(9, service("cart", 80)), 4, 25 * time.Millisecond},
		{"configuration never rests", put(9, service("cart", 80)), 100, 100 * time.Millisecond},
		{"a workload comes", put(9, workload("web-1")), 1, 0},
		{"a service goes", remove, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, w := start(t, 1)
				w[0].Apply(put(1, service("web", 80)))
				w[0].Synced()
				synctest.Wait()
				_, published := a.Snapshots().Next()
				begin := time.Now()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				go func() {
					for range test.repeat {
						w[0].Apply(test.change)
						select {
						case <-ctx.Done():
							return
						case <-time.After(5 * time.Millisecond):
						}
					}
				}()
				<-published
				if got := time.Since(begin); got != test.want {
					t.Errorf("published after %v, want %v", got, test.want)
				}
				if s := a.Snapshots().Load(); s.Rev != 9 {
					t.Errorf("the revision is %d", s.Rev)
				}
			})
		})
	}
}

func TestTheFirstSourceCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w := start(t, 2)
		w[0].Synced()
		w[1].Apply(put(0, service("web", 2)))
		w[1].Synced()
		port := func() int32 {
			<-time.After(time.Second)
			synctest.Wait()
			return a.Snapshots().Load().Service("shop", "web").Ports[0].Number
		}
		if got := port(); got != 2 {
			t.Errorf("the second source alone gives %d", got)
		}
		w[0].Apply(put(1, service("web", 1)))
		w[1].Apply(put(0, service("web", 3)))
		if got := port(); got != 1 {
			t.Errorf("the first source gives %d", got)
		}
		w[0].Apply(source.Change{Revision: 2, All: true})
		if got := port(); got != 3 {
			t.Errorf("after the first source forgot it: %d", got)
		}
	})
}

func TestRunReportsASourceThatFails(t *testing.T) {
	broken := errors.New("the disk is gone")
	a := New(script(func(context.Context, source.Writer) error { return broken }))
	err := a.Run(t.Context())
	if !errors.Is(err, broken) || err.Error() != "source script: the disk is gone" {
		t.Errorf("Run returned %v", err)
	}
	if a.Snapshots().Load() != nil {
		t.Error("a mesh that was never read was published")
	}
}

func TestManyWritersLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, w := start(t, 4)
		for i, writer := range w {
			go func() {
				for j := range 100 {
					writer.Apply(put(0, workload(fmt.Sprint("w", i, "-", j))))
				}
				writer.Synced()
			}()
		}
		synctest.Wait()
		if n := len(a.Snapshots().Load().Namespace("shop").Workloads); n != 400 {
			t.Errorf("%d workloads, want 400", n)
		}
	})
}

// BenchmarkCommitToSnapshot measures from the beginning of a write to the file
// to the snapshot that has it.
func BenchmarkCommitToSnapshot(b *testing.B) {
	s, err := bolt.Open(filepath.Join(b.TempDir(), "leno.db"))
	if err != nil {
		b.Fatal(err)
	}
	a := New(source.NewStore(s))
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for i := 0; b.Loop(); i++ {
		r, err := s.Transaction([]store.Op{store.Put(workload(fmt.Sprint("w", i)))})
		if err != nil {
			b.Fatal(err)
		}
		for {
			now, changed := a.Snapshots().Next()
			if now != nil && now.Rev >= r.Revision {
				break
			}
			<-changed
		}
	}
	cancel()
	<-done
	s.Close()
}

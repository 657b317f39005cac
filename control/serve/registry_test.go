package serve

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/lib/spiffe"
)

func testHolder(t *testing.T, account, proxy string) *holder {
	t.Helper()
	id, err := spiffe.Workload("test", "shop", account)
	if err != nil {
		t.Fatal(err)
	}
	return &holder{identity: identity{id: id, namespace: "shop", account: account}, proxy: proxy}
}

func TestLeaseOutlivesItsStreamByTheGracePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := newObjects(t, meshYAML)
		r := newRegistry(objects, 10*time.Second, slog.New(slog.DiscardHandler))
		defer r.close()
		reg, err := readRegistration(payRegistration(), "1.0")
		if err != nil {
			t.Fatal(err)
		}
		there := func() bool {
			o, _ := objects.Get(t.Context(), api.Ref{Kind: api.Workload, Namespace: "shop", Name: "pay-1"})
			return o != nil
		}
		first := testHolder(t, "pay", "p")
		if err := r.register(t.Context(), first, reg); err != nil {
			t.Fatal(err)
		}
		r.release(first, false)
		if o := r.orphans(); len(o) != 1 || o[0].Name != "p" || o[0].Workload != "pay-1" || o[0].Connected {
			t.Errorf("orphans are %v", o)
		}
		time.Sleep(lostAfter / 2)
		synctest.Wait()
		// Another account cannot take the name meanwhile, nor end the lease.
		thief := testHolder(t, "cart", "thief")
		if err := r.register(t.Context(), thief, reg); err == nil {
			t.Error("another account took the name")
		}
		r.release(thief, true)
		// The proxy comes back, unchanged: nothing is written.
		puts := objects.puts
		second := testHolder(t, "pay", "p")
		if err := r.register(t.Context(), second, reg); err != nil {
			t.Fatal(err)
		}
		if objects.puts != puts {
			t.Error("an unchanged registration was written")
		}
		if o := r.orphans(); len(o) != 0 {
			t.Errorf("orphans are %v", o)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !there() {
			t.Fatal("the workload went while its stream lived")
		}
		r.release(first, true) // a stream that lost the lease ends it no more
		if !there() {
			t.Fatal("the old stream took the workload away")
		}
		r.release(second, false)
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if !there() {
			t.Fatal("the workload went before its grace period ended")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if there() {
			t.Error("the workload outlived its grace period")
		}
		if len(r.leases) != 0 {
			t.Errorf("%d leases are left", len(r.leases))
		}
	})
}

func TestAWorkloadSaysThatItsProxyIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		objects := newObjects(t, meshYAML)
		r := newRegistry(objects, 10*time.Second, slog.New(slog.DiscardHandler))
		defer r.close()
		reg, err := readRegistration(payRegistration(), "1.0")
		if err != nil {
			t.Fatal(err)
		}
		stored := func() *v1alpha1.Workload {
			synctest.Wait()
			o, _ := objects.Get(t.Context(), api.Ref{Kind: api.Workload, Namespace: "shop", Name: "pay-1"})
			return o.(*v1alpha1.Workload)
		}
		first := testHolder(t, "pay", "p")
		if err := r.register(t.Context(), first, reg); err != nil {
			t.Fatal(err)
		}
		r.release(first, false)
		if w := stored(); !w.Ready() {
			t.Errorf("at once: %+v", w.Status)
		}
		time.Sleep(lostAfter)
		w := stored()
		if w.Ready() || !strings.Contains(w.Status.Reason, "its proxy is lost") || w.Status.LeaseUntil == nil || w.Status.Draining {
			t.Errorf("after %s: %+v", lostAfter, w.Status)
		}
		if !*w.Status.Healthy {
			t.Error("callers were told to leave an endpoint that may be fine")
		}
		second := testHolder(t, "pay", "p")
		if err := r.register(t.Context(), second, reg); err != nil {
			t.Fatal(err)
		}
		if w := stored(); !w.Ready() || w.Status.Reason != "" {
			t.Errorf("back: %+v", w.Status)
		}

		// A server that closes loses no proxy, it only stops looking.
		r.release(second, false)
		r.close()
		time.Sleep(time.Minute)
		if w := stored(); !w.Ready() {
			t.Errorf("after the close: %+v", w.Status)
		}
	})
}

func TestADrainingWorkloadHasNoGracePeriod(t *testing.T) {
	objects := newObjects(t, meshYAML)
	r := newRegistry(objects, time.Hour, slog.New(slog.DiscardHandler))
	defer r.close()
	draining := payRegistration()
	draining.Draining = true
	reg, err := readRegistration(draining, "1.0")
	if err != nil {
		t.Fatal(err)
	}
	h := testHolder(t, "pay", "p")
	if err := r.register(t.Context(), h, reg); err != nil {
		t.Fatal(err)
	}
	r.release(h, false)
	if o, _ := objects.Get(t.Context(), api.Ref{Kind: api.Workload, Namespace: "shop", Name: "pay-1"}); o != nil {
		t.Error("the workload is still there")
	}
}

// overtaken fails the first writes, as a store does when another writer was
// faster.
type overtaken struct {
	*fakeObjects
	times int
}

func (o *overtaken) Put(ctx context.Context, object api.Object) error {
	if o.times--; o.times >= 0 {
		return errors.New("it was changed meanwhile")
	}
	return o.fakeObjects.Put(ctx, object)
}

func TestARegistrationThatWasOvertakenIsTriedAgain(t *testing.T) {
	for _, test := range []struct {
		times int
		ok    bool
	}{{writeTries - 1, true}, {writeTries, false}} {
		r := newRegistry(&overtaken{newObjects(t, meshYAML), test.times}, time.Hour, slog.New(slog.DiscardHandler))
		defer r.close()
		reg, err := readRegistration(payRegistration(), "1.0")
		if err != nil {
			t.Fatal(err)
		}
		if err := r.register(t.Context(), testHolder(t, "pay", "p"), reg); (err == nil) != test.ok {
			t.Errorf("overtaken %d times: %v", test.times, err)
		}
	}
}

package serve

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

// lostAfter is how long a stream may be gone before people are told: most come
// back at once, and a Workload is not written for that.
const lostAfter = time.Second

// loseLater starts the grace period of a lease whose stream broke. mu is held.
func (r *registry) loseLater(l *lease) {
	if r.closed {
		return
	}
	if r.grace <= lostAfter {
		r.expireLater(l)
		return
	}
	var timer *time.Timer // read under mu, so that it is set
	timer = time.AfterFunc(lostAfter, func() {
		r.mu.Lock()
		mine := l.expiry == timer
		r.mu.Unlock()
		if !mine {
			return
		}
		r.markLost(l)
		r.mu.Lock()
		defer r.mu.Unlock()
		if l.expiry == timer && !r.closed {
			l.expiry = time.AfterFunc(r.grace-lostAfter, func() { r.expire(l) })
		}
	})
	l.expiry = timer
}

// markLost says in a Workload that its proxy is lost. What the proxy said of its
// health stays: the server may be what is cut off, from all proxies at once, and
// callers avoid by themselves an endpoint that does not answer.
func (r *registry) markLost(l *lease) {
	l.busy.Lock()
	defer l.busy.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	until := metav1.NewTime(time.Now().Add(r.grace - lostAfter).Truncate(time.Second))
	var err error
	for range writeTries {
		r.mu.Lock()
		held := l.holder != nil || r.closed
		r.mu.Unlock()
		if held {
			return
		}
		if err = r.writeLost(ctx, l, until); err == nil {
			return
		}
	}
	r.log.Warn("cannot say that a workload's proxy is lost", "workload", l.ref.String(), "error", err)
}

func (r *registry) writeLost(ctx context.Context, l *lease, until metav1.Time) error {
	stored, err := r.objects.Get(ctx, l.ref)
	if err != nil {
		return fmt.Errorf("read %s: %w", l.ref, err)
	}
	w, ok := stored.(*v1alpha1.Workload)
	if !ok || w == nil || w.Annotations[ProxyAnnotation] == "" {
		return nil // somebody has deleted it, or made it his own
	}
	w = w.DeepCopy()
	w.Status.Reason, w.Status.LeaseUntil = "its proxy is lost; the workload is removed unless that comes back", &until
	if err := r.objects.Put(ctx, w); err != nil {
		return fmt.Errorf("write %s: %w", l.ref, err)
	}
	return nil
}

package serve

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
)

const (
	// ServiceLabel is on every registered Workload, and selects it for its
	// Service.
	ServiceLabel = v1alpha1.ServiceLabel
	// ProxyAnnotation marks what a proxy has registered, with the proxy's name.
	ProxyAnnotation = "leno.dev/proxy"
	// AccountAnnotation says, on a Service, whose workloads may register for it,
	// when that is not the account of its name.
	AccountAnnotation = v1alpha1.AccountAnnotation
)

const writeTries = 3

// Objects is what the registry needs of a store.
type Objects interface {
	// Get returns an object, nil when there is none. It must not be changed.
	Get(ctx context.Context, ref api.Ref) (api.Object, error)
	// Put writes a whole object, its status included. It fails when the stored
	// one has not the object's resourceVersion any more ("": must not exist).
	Put(ctx context.Context, o api.Object) error
	// Delete removes an object; what is not there is no error.
	Delete(ctx context.Context, ref api.Ref) error
	// Workloads lists all Workloads. They must not be changed.
	Workloads(ctx context.Context) ([]*v1alpha1.Workload, error)
}

// holder is a live agent stream.
type holder struct {
	identity
	proxy string
}

// sameProxy reports that two streams are of one proxy, the later of which takes
// over.
func (h *holder) sameProxy(o *holder) bool { return h.id == o.id && h.proxy == o.proxy }

// registry keeps one lease for each registered Workload. A lease lives with the
// stream that holds it and a grace period longer.
type registry struct {
	objects Objects
	grace   time.Duration
	log     *slog.Logger

	mu     sync.Mutex // guards the fields below, and those of leases
	leases map[api.Ref]*lease
	closed bool
}

type lease struct {
	ref api.Ref
	// busy is held while the Workload is written or deleted, so that the two
	// never overtake each other. It is taken before the registry's mu.
	busy sync.Mutex

	holder   *holder // nil in the grace period
	expiry   *time.Timer
	draining bool
	account  string // whose Workload is stored; empty while none is
	proxy    string // that holds the lease or held it last
}

func newRegistry(objects Objects, grace time.Duration, log *slog.Logger) *registry {
	return &registry{objects: objects, grace: grace, log: log, leases: make(map[api.Ref]*lease)}
}

// resume gives stored registrations one grace period to come back.
func (r *registry) resume(ctx context.Context) error {
	workloads, err := r.objects.Workloads(ctx)
	if err != nil {
		return fmt.Errorf("list registered workloads: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range workloads {
		if w.Annotations[ProxyAnnotation] == "" {
			continue
		}
		l := &lease{ref: api.RefOf(w), account: w.Spec.Account, proxy: w.Annotations[ProxyAnnotation]}
		r.leases[l.ref] = l
		r.expireLater(l)
	}
	return nil
}

// close stops all clocks.
func (r *registry) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, l := range r.leases {
		if l.expiry != nil {
			l.expiry.Stop()
		}
	}
}

// expireLater starts the grace period. mu is held.
func (r *registry) expireLater(l *lease) {
	if !r.closed {
		l.expiry = time.AfterFunc(r.grace, func() { r.expire(l) })
	}
}

// register writes the Workload of a registration and takes its lease.
func (r *registry) register(ctx context.Context, h *holder, reg *registration) error {
	ref := api.Ref{Kind: api.Workload, Namespace: h.namespace, Name: reg.name}
	l, err := r.claim(h, ref, reg.draining)
	if err != nil {
		return err
	}
	l.busy.Lock()
	defer l.busy.Unlock()
	if err := r.write(ctx, h, ref, reg); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	l.account = h.account
	return nil
}

// write tries again when it was overtaken by another writer, such as the second
// of two workloads that begin a Service together.
func (r *registry) write(ctx context.Context, h *holder, ref api.Ref, reg *registration) error {
	var err error
	for range writeTries {
		if err = r.writeService(ctx, h, reg); err == nil {
			err = r.writeWorkload(ctx, h, ref, reg)
		}
		if _, refused := status.FromError(err); err == nil || refused || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (r *registry) claim(h *holder, ref api.Ref, draining bool) (*lease, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.leases[ref]
	if l == nil {
		l = &lease{ref: ref}
		r.leases[ref] = l
	}
	if l.holder != nil && !l.holder.sameProxy(h) {
		return nil, refuse("the workload name %s is in use by proxy %s of account %s; choose another", ref.Name, l.holder.proxy, l.holder.account)
	}
	if l.account != "" && l.account != h.account {
		return nil, refuse("the workload name %s is still leased by account %s; choose another", ref.Name, l.account)
	}
	if l.expiry != nil {
		l.expiry.Stop()
	}
	l.holder, l.proxy, l.expiry, l.draining = h, h.proxy, nil, draining
	return l, nil
}

// writeService creates the Service that a registration names when there is none.
// A Service is of the account that has its name, unless its annotation says of
// which: else any token of the namespace would do to answer for all its Services.
func (r *registry) writeService(ctx context.Context, h *holder, reg *registration) error {
	if reg.service == "" {
		return nil
	}
	ref := api.Ref{Kind: api.Service, Namespace: h.namespace, Name: reg.service}
	old, err := r.objects.Get(ctx, ref)
	if err != nil {
		return fmt.Errorf("read %s: %w", ref, err)
	}
	s, exists := old.(*corev1.Service)
	exists = exists && s != nil
	owner := reg.service
	if exists {
		owner = cmp.Or(s.Annotations[AccountAnnotation], owner)
	}
	if owner != h.account {
		return refuse("service %s is of account %s, and this proxy has account %s: join with a token for %[1]s, or annotate the Service %[4]s: %[3]s",
			reg.service, owner, h.account, AccountAnnotation)
	}
	if exists || len(reg.ports) == 0 {
		return nil
	}
	if err := r.objects.Put(ctx, reg.newService(h)); err != nil {
		return fmt.Errorf("create %s: %w", ref, err)
	}
	return nil
}

func (r *registry) writeWorkload(ctx context.Context, h *holder, ref api.Ref, reg *registration) error {
	stored, err := r.objects.Get(ctx, ref)
	if err != nil {
		return fmt.Errorf("read %s: %w", ref, err)
	}
	next := reg.newWorkload(h)
	if old, ok := stored.(*v1alpha1.Workload); ok && old != nil {
		if old.Annotations[ProxyAnnotation] == "" || old.Spec.Account != h.account {
			return refuse("there is a workload %s that this proxy has not registered; choose another name or delete it", ref.Name)
		}
		next.ObjectMeta = *old.ObjectMeta.DeepCopy()
		next.Labels = reg.labels
		next.Annotations[ProxyAnnotation] = h.proxy
		if equality.Semantic.DeepEqual(old.Spec, next.Spec) && equality.Semantic.DeepEqual(old.Status, next.Status) &&
			maps.Equal(old.Labels, next.Labels) && maps.Equal(old.Annotations, next.Annotations) {
			return nil
		}
	}
	if err := r.objects.Put(ctx, next); err != nil {
		return fmt.Errorf("write %s: %w", ref, err)
	}
	return nil
}

// orphans lists the leases whose streams are gone.
func (r *registry) orphans() []*adminv1.Proxy {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*adminv1.Proxy
	for ref, l := range r.leases {
		if l.holder == nil {
			out = append(out, &adminv1.Proxy{
				Name: l.proxy, Namespace: ref.Namespace, Workload: ref.Name, Draining: l.draining,
				Reason: "its stream is gone; the workload is removed unless it comes back",
			})
		}
	}
	return out
}

// foreign reports that another account has a lease under a proxy's name.
func (r *registry) foreign(h *holder) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ref, l := range r.leases {
		if l.proxy == h.proxy && ref.Namespace == h.namespace && l.account != "" && l.account != h.account {
			return true
		}
	}
	return false
}

// holders maps the proxies of all leases to their accounts.
func (r *registry) holders() map[proxyName]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make(map[proxyName]string, len(r.leases))
	for ref, l := range r.leases {
		if l.account != "" {
			names[proxyName{ref.Namespace, l.proxy}] = l.account
		}
	}
	return names
}

// release ends a stream's hold on its leases. In order, or while draining, the
// Workload goes at once; else after the grace period.
func (r *registry) release(h *holder, inOrder bool) {
	r.mu.Lock()
	var gone []*lease
	for _, l := range r.leases {
		if l.holder != h {
			continue
		}
		l.holder = nil
		switch {
		case l.account == "": // nothing was written: not ours to delete
			delete(r.leases, l.ref)
		case inOrder || l.draining:
			gone = append(gone, l)
		default:
			r.loseLater(l)
		}
	}
	r.mu.Unlock()
	for _, l := range gone {
		r.expire(l)
	}
}

// expire deletes the Workload of a lease that nobody holds.
func (r *registry) expire(l *lease) {
	l.busy.Lock()
	defer l.busy.Unlock()
	r.mu.Lock()
	held := l.holder != nil || r.closed
	r.mu.Unlock()
	if held {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := r.objects.Delete(ctx, l.ref)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case l.holder != nil: // claimed meanwhile; who did waits for busy and writes it again
	case err != nil:
		r.log.Error("cannot delete an expired workload; will try again", "workload", l.ref.String(), "error", err)
		r.expireLater(l)
	default:
		delete(r.leases, l.ref)
	}
}

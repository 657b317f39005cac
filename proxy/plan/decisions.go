package plan

import (
	"sync"

	"github.com/leno-mesh/leno/proxy/authz"
)

// Decisions counts what policies decide, by the name of the filter that they
// come from. It outlives plans. The zero value is ready.
type Decisions struct {
	mu     sync.Mutex
	counts map[decider]*authz.Counts
}

type decider struct {
	filter string
	shadow bool
}

// maxDeciders bounds what a server can make the proxy remember; filters beyond
// it share one count.
const maxDeciders = 1000

func (d *Decisions) of(filter string, shadow bool) *authz.Counts {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.counts == nil {
		d.counts = map[decider]*authz.Counts{}
	}
	k := decider{filter, shadow}
	if d.counts[k] == nil && len(d.counts) >= maxDeciders {
		k.filter = ""
	}
	if d.counts[k] == nil {
		d.counts[k] = new(authz.Counts)
	}
	return d.counts[k]
}

// Logged returns how often rules matched that are only there to be noted
// (AuthorizationPolicy's AUDIT, Envoy's LOG).
func (d *Decisions) Logged() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var n uint64
	for _, c := range d.counts {
		n += c.Logged.Load()
	}
	return n
}

// Denied returns how often policies refused; with shadow, how often policies
// that are only tried out would have.
func (d *Decisions) Denied(shadow bool) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var n uint64
	for k, c := range d.counts {
		if k.shadow == shadow {
			n += c.Denied.Load()
		}
	}
	return n
}

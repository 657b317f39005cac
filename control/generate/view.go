package generate

import (
	"slices"
	"strings"

	"github.com/leno-mesh/leno/xds"
)

// Set is all resources of one snapshot. It is immutable.
type Set struct {
	// Rev is the store revision of the snapshot.
	Rev uint64

	settings   settings
	namespaces map[string]*resources
}

// Errors are resources that could not be encoded.
func (s *Set) Errors() []error {
	var out []error
	for _, name := range sortedKeys(s.namespaces) {
		out = append(out, s.namespaces[name].errors...)
	}
	return out
}

// All calls yield for every resource, in a fixed order.
func (s *Set) All(yield func(*xds.Resource) bool) {
	for _, namespace := range sortedKeys(s.namespaces) {
		byType := s.namespaces[namespace].byType
		for _, typeURL := range sortedKeys(byType) {
			for _, name := range sortedKeys(byType[typeURL]) {
				if !yield(byType[typeURL][name]) {
					return
				}
			}
		}
	}
}

// View is what one identity may see of a Set: everything that leads to
// Services, and of inbound traffic only its own.
type View struct {
	set                *Set
	namespace, account string
}

// For returns the view of an identity.
func (s *Set) For(namespace, account string) *View {
	return &View{set: s, namespace: namespace, account: account}
}

// Rev is the store revision of the snapshot.
func (v *View) Rev() uint64 { return v.set.Rev }

// Resource implements xds.View.
func (v *View) Resource(typeURL, name string) *xds.Resource {
	namespace, ok := v.namespaceOf(typeURL, name)
	if !ok {
		return nil
	}
	r := v.set.namespaces[namespace]
	if r == nil || !v.mayRead(r, name) {
		return nil
	}
	return r.byType[typeURL][name]
}

// mayRead reports whether a resource is for this identity.
func (v *View) mayRead(r *resources, name string) bool {
	owner, owned := r.owners[name]
	return !owned || r.of.Name == v.namespace && owner == v.account
}

// namespaceOf finds the namespace that a name speaks of.
func (v *View) namespaceOf(typeURL, name string) (string, bool) {
	first, rest, _ := strings.Cut(name, "/")
	switch {
	case first == "local" && typeURL == xds.ClusterType:
		return v.namespace, true
	case typeURL == xds.ListenerType && (first == "inbound" || first == "plaintext"):
		namespace, _, ok := strings.Cut(rest, "/")
		return namespace, ok
	case typeURL == xds.ListenerType:
		host, _, _ := strings.Cut(name, ":")
		host, ok := strings.CutSuffix(host, "."+Domain)
		if !ok {
			return "", false
		}
		_, namespace, ok := strings.Cut(host, ".")
		return namespace, ok
	}
	return first, rest != ""
}

// Names implements xds.View.
func (v *View) Names(typeURL string) []string {
	var names []string
	for namespace, r := range v.set.namespaces {
		for name := range r.byType[typeURL] {
			if strings.HasPrefix(name, "local/") && namespace != v.namespace || !v.mayRead(r, name) {
				continue
			}
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

package model

import (
	"fmt"
	"slices"

	"github.com/leno-mesh/leno/api"
)

// Validate applies changes to a snapshot and says what would be wrong with the
// outcome. An apply is refused when one of the problems is an Error. The
// returned snapshot keeps the current revision.
func Validate(current *Snapshot, changes []api.Change) (*Snapshot, []Problem) {
	edit := current.Edit()
	for _, c := range changes {
		edit.Apply(c)
	}
	next := edit.Commit(current.Rev)
	return next, Check(current, next, changes)
}

// Refused reports that one of the problems is an Error.
func Refused(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return p.Severity == Error })
}

// Check returns the problems of the changed objects, and those that the changes
// bring to other objects. The latter are warnings only: whoever deletes a
// Service is told about the routes that still name it, and may go on.
func Check(current, next *Snapshot, changes []api.Change) []Problem {
	changed := make(map[api.Ref]bool, len(changes))
	homes := make(map[string]bool)
	var out []Problem
	for _, c := range changes {
		changed[c.Ref] = true
		homes[homeOf(c.Ref)] = true
		out = append(out, checkChange(current, next, c)...)
	}
	for _, name := range next.Namespaces() {
		if !homes[name] {
			continue
		}
		n := next.namespaces[name]
		for _, ref := range sortedRefs(n.problems) {
			for _, p := range n.problems[ref] {
				if !changed[ref] {
					if slices.Contains(current.Problems(ref), p) {
						continue
					}
					p.Severity = Warning
				}
				out = append(out, p)
			}
		}
	}
	return out
}

// checkChange checks what depends on the old state and not only on the new one.
func checkChange(current, next *Snapshot, c api.Change) []Problem {
	refuse := func(path, reason, format string, args ...any) []Problem {
		return []Problem{{Severity: Error, Ref: c.Ref, Path: path, Reason: reason, Message: fmt.Sprintf(format, args...)}}
	}
	switch {
	case c.Ref == meshRef && current.Mesh != nil && next.Mesh == nil:
		return refuse("", "InUse", "the Mesh holds the trust domain %s and cannot be deleted", current.TrustDomain())
	case c.Ref == meshRef && current.Mesh != nil && current.TrustDomain() != "" && current.TrustDomain() != next.TrustDomain():
		return refuse("spec.trustDomain", "Immutable", "the trust domain is %s and cannot be changed to %s: every identity is in it", current.TrustDomain(), next.TrustDomain())
	case c.Ref.Kind == api.Namespace && c.Object == nil:
		if n := next.namespaces[c.Ref.Name]; n != nil {
			return refuse("", "NotEmpty", "the namespace still has %d objects, such as %s; delete them first", len(n.objects), sortedRefs(n.objects)[0])
		}
	}
	return nil
}

func sortedRefs[V any](m map[api.Ref]V) []api.Ref {
	refs := make([]api.Ref, 0, len(m))
	for ref := range m {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, compareRefs)
	return refs
}

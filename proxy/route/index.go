package route

import (
	"errors"
	"fmt"
	"strings"

	"github.com/leno-mesh/leno/proxy/http"
)

// host is a compiled virtual host. Its index finds the few routes whose path
// may fit, so that the cost of a match does not grow with the number of routes:
// exact paths stand in a map, all others in a radix tree under the literal text
// that their paths begin with. Routes that ignore case stand at its root, and
// are tried one by one. The first route wins, so the lists that fit, each in
// order, are merged.
type host[T any] struct {
	rules []rule[T]
	exact map[string][]int32
	tree  node
}

// node is a node of the radix tree. Its rules take paths that begin with the
// labels from the root to it.
type node struct {
	label    string
	rules    []int32
	first    string // first byte of each child's label
	children []node
}

func newHost[T any](vh *Host[T]) (*host[T], error) {
	h := &host[T]{rules: make([]rule[T], 0, len(vh.Routes)), exact: map[string][]int32{}}
	var errs []error
	for i := range vh.Routes {
		r, err := compile(&vh.Routes[i])
		if err != nil {
			errs = append(errs, fmt.Errorf("build route %d %q of virtual host %q: %w", i+1, vh.Routes[i].Name, vh.Name, err))
		}
		h.rules = append(h.rules, r)
		h.index(int32(i))
	}
	return h, errors.Join(errs...)
}

func (h *host[T]) index(i int32) {
	r := &h.rules[i]
	if r.kind == exactPath && !r.fold {
		if list := h.exact[r.path]; !h.covered(list) {
			h.exact[r.path] = append(list, i)
		}
		return
	}
	at := ""
	if !r.fold || r.kind == regexPath {
		at = r.path
	}
	n := h.tree.insert(at)
	if !h.covered(n.rules) {
		n.rules = append(n.rules, i)
	}
}

// covered reports that the list ends with a rule that takes all that gets to
// it, so that nothing after it can match.
func (h *host[T]) covered(list []int32) bool {
	if len(list) == 0 {
		return false
	}
	r := &h.rules[list[len(list)-1]]
	if len(r.headers) > 0 || len(r.query) > 0 || r.grpc || r.part != nil || r.fold {
		return false
	}
	return r.kind == exactPath || r.kind == prefixPath
}

// insert returns the node of that text.
func (n *node) insert(text string) *node {
	for text != "" {
		i := strings.IndexByte(n.first, text[0])
		if i < 0 {
			n.first += text[:1]
			n.children = append(n.children, node{label: text})
			return &n.children[len(n.children)-1]
		}
		child := &n.children[i]
		same := common(child.label, text)
		if same < len(child.label) {
			rest := *child
			rest.label = rest.label[same:]
			*child = node{label: text[:same], first: rest.label[:1], children: []node{rest}}
		}
		n, text = child, text[same:]
	}
	return n
}

func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// match returns the first rule in order that takes the request.
func (h *host[T]) match(head *http.Head, random func() uint64) *rule[T] {
	path := head.PathOnly()
	// Room for the lists of exact path, root and 14 nested prefixes.
	var room [16][]int32
	lists := room[:0]
	if list := h.exact[string(path)]; len(list) > 0 {
		lists = append(lists, list)
	}
	n, rest := &h.tree, path
	for {
		if len(n.rules) > 0 {
			lists = append(lists, n.rules)
		}
		if len(rest) == 0 {
			break
		}
		i := strings.IndexByte(n.first, rest[0])
		if i < 0 {
			break
		}
		n = &n.children[i]
		if len(rest) < len(n.label) || string(rest[:len(n.label)]) != n.label {
			break
		}
		rest = rest[len(n.label):]
	}
	for len(lists) > 0 {
		low := 0
		for i := 1; i < len(lists); i++ {
			if lists[i][0] < lists[low][0] {
				low = i
			}
		}
		if r := &h.rules[lists[low][0]]; r.holds(head, path, random) {
			return r
		}
		if lists[low] = lists[low][1:]; len(lists[low]) == 0 {
			lists[low] = lists[len(lists)-1]
			lists = lists[:len(lists)-1]
		}
	}
	return nil
}

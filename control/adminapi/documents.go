package adminapi

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"

	"connectrpc.com/connect"
	"go.yaml.in/yaml/v3"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

// decode reads documents into steps that have no action yet. Nothing is
// returned when anything is wrong with any of them.
func decode(docs []*adminv1.Document, namespace string) ([]step, error) {
	var steps []step
	var problems []*adminv1.Problem
	first := make(map[api.Ref]step)
	for _, doc := range docs {
		read, err := decodeOne(doc, namespace)
		if err != nil {
			problems = append(problems, problemsOf(err, doc.GetSource())...)
			continue
		}
		for _, s := range read {
			if before, ok := first[s.ref]; ok {
				problems = append(problems, &adminv1.Problem{
					Source: s.source, Line: s.lineOf(""), Object: reference(s.ref),
					Reason: fmt.Sprintf("the same object is already in %s at line %d", before.source, before.lineOf("")),
				})
				continue
			}
			first[s.ref] = s
			steps = append(steps, s)
		}
	}
	if len(problems) > 0 {
		return nil, refusal(problems)
	}
	return steps, nil
}

func decodeOne(doc *adminv1.Document, namespace string) ([]step, error) {
	objects, err := api.Decode([]byte(doc.GetContent()), doc.GetSource())
	if err != nil {
		return nil, err
	}
	nodes := objectNodes([]byte(doc.GetContent()))
	steps := make([]step, len(objects))
	for i, o := range objects {
		var node *yaml.Node
		if len(nodes) == len(objects) {
			node = nodes[i]
		}
		info, _ := api.Info(api.KindOf(o))
		if info.Namespaced && info.Kind != api.Mesh && namespace != "" && at(node, "metadata.namespace") == nil {
			o.SetNamespace(namespace)
		}
		steps[i] = step{ref: api.RefOf(o), next: o, source: doc.GetSource(), node: node}
	}
	return steps, nil
}

// objectNodes returns the node of each object of a text that api.Decode took.
func objectNodes(content []byte) []*yaml.Node {
	var nodes []*yaml.Node
	documents := yaml.NewDecoder(bytes.NewReader(content))
	for {
		var root yaml.Node
		if documents.Decode(&root) != nil {
			return nodes
		}
		if len(root.Content) == 1 && root.Content[0].Kind == yaml.MappingNode {
			nodes = appendObjects(nodes, root.Content[0])
		}
	}
}

func appendObjects(nodes []*yaml.Node, node *yaml.Node) []*yaml.Node {
	kind, items := at(node, "kind"), at(node, "items")
	if kind == nil || kind.Value != "List" || items == nil {
		return append(nodes, node)
	}
	for _, item := range items.Content {
		nodes = appendObjects(nodes, item)
	}
	return nodes
}

// at finds a field such as spec.rules[0].name, nil when it is not there.
func at(node *yaml.Node, path string) *yaml.Node {
	found, whole := deepest(node, path)
	if !whole {
		return nil
	}
	return found
}

// deepest follows a path as far as it goes, and tells whether it went all the
// way.
func deepest(node *yaml.Node, path string) (found *yaml.Node, whole bool) {
	for _, part := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next := child(node, part)
		if next == nil {
			return node, false
		}
		node = next
	}
	return node, node != nil
}

func child(node *yaml.Node, part string) *yaml.Node {
	if node == nil {
		return nil
	}
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == part {
				return node.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		var i int
		if _, err := fmt.Sscanf(part, "%d", &i); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i]
		}
	}
	return nil
}

// lineOf is the line of a field, or of the nearest thing around it.
func (s step) lineOf(path string) uint32 {
	node, _ := deepest(s.node, path)
	if node == nil || node.Line < 0 {
		return 0
	}
	return uint32(node.Line)
}

// problemsOf turns what api.Decode says into problems.
func problemsOf(err error, source string) []*adminv1.Problem {
	var all api.Errors
	if !errors.As(err, &all) {
		return []*adminv1.Problem{{Source: source, Reason: err.Error()}}
	}
	var problems []*adminv1.Problem
	for _, e := range all {
		p := &adminv1.Problem{Source: e.Source, Line: uint32(max(e.Line, 0)), Field: e.Path, Reason: e.Message}
		if parts := strings.Split(e.Object, "/"); e.Object != "" {
			p.Object = &adminv1.Reference{Kind: parts[0]}
			switch len(parts) {
			case 2:
				p.Object.Name = parts[1]
			case 3:
				p.Object.Namespace, p.Object.Name = parts[1], parts[2]
			}
		}
		problems = append(problems, p)
	}
	return problems
}

// settle decides what becomes of a step's object, given the stored one. Files
// say nothing of status, and keep what the server wrote into metadata.
func settle(s *step) error {
	if s.old == nil {
		s.action = created
		return nil
	}
	if given := s.next.GetResourceVersion(); given != "" && given != s.old.GetResourceVersion() {
		return connect.NewError(connect.CodeAborted, fmt.Errorf("%s was changed meanwhile: the file has version %s and the store %s; read it again, or remove resourceVersion from the file", s.ref, given, s.old.GetResourceVersion()))
	}
	api.CopyStatus(s.next, s.old)
	keepOwn(s.next, s.old)
	s.next.SetResourceVersion(s.old.GetResourceVersion())
	s.next.SetUID(s.old.GetUID())
	s.next.SetGeneration(s.old.GetGeneration())
	s.next.SetCreationTimestamp(s.old.GetCreationTimestamp())
	before, err := textOf(s.old)
	if err != nil {
		return failure(err)
	}
	after, err := textOf(s.next)
	if err != nil {
		return failure(err)
	}
	s.action = configured
	if before == after {
		s.action = unchanged
	}
	return nil
}

// ownAnnotations begin the names of annotations in which the control plane notes
// who registered an object, and who may.
const ownAnnotations = "leno.dev/"

// keepOwn keeps the control plane's annotations that a file says nothing of.
func keepOwn(next, old api.Object) {
	annotations := maps.Clone(next.GetAnnotations())
	for name, value := range old.GetAnnotations() {
		if _, said := annotations[name]; said || !strings.HasPrefix(name, ownAnnotations) {
			continue
		}
		if annotations == nil {
			annotations = make(map[string]string)
		}
		annotations[name] = value
	}
	next.SetAnnotations(annotations)
}

// textOf is an object in YAML without what only the server writes, empty for
// none.
func textOf(o api.Object) (string, error) {
	if o == nil {
		return "", nil
	}
	text, err := api.EncodeYAML([]api.Object{o}, true)
	if err != nil {
		return "", err
	}
	return string(text), nil
}

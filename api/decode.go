package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

const (
	maxFile   = 16 << 20 // bytes
	maxErrors = 100
	maxNodes  = 1 << 20 // YAML nodes, aliases followed
)

// Decode reads the objects of a file, YAML or JSON, in one or more documents.
// It refuses what it does not know, fills in defaults, and checks each object on
// its own. The error is of type Errors and holds all that is wrong; then there
// are no objects.
func Decode(data []byte, source string) ([]Object, error) {
	d := &decoder{source: source, seen: make(map[Ref]int)}
	if len(data) > maxFile {
		d.fail(0, "", "", "the file has %d bytes, at most %d are allowed", len(data), maxFile)
		return nil, d.errors
	}
	d.file(data)
	if len(d.errors) > 0 {
		slices.SortStableFunc(d.errors, func(a, b FieldError) int {
			return cmp.Or(a.Line-b.Line, strings.Compare(a.Path, b.Path))
		})
		return nil, d.errors
	}
	return d.objects, nil
}

type decoder struct {
	source  string
	objects []Object
	seen    map[Ref]int // the line of each object
	errors  Errors
	nodes   int // visited
}

func (d *decoder) fail(line int, object, path, format string, args ...any) {
	if len(d.errors) < maxErrors {
		d.errors = append(d.errors, FieldError{d.source, line, object, path, fmt.Sprintf(format, args...)})
	}
}

func (d *decoder) file(data []byte) {
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var root yaml.Node
		err := documents.Decode(&root)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, message := syntaxError(err)
			d.fail(line, "", "", "%s", message)
			return
		}
		if root.Kind == yaml.DocumentNode && len(root.Content) == 1 && root.Content[0].Tag != "!!null" {
			d.document(root.Content[0])
		}
	}
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)`)

// syntaxError takes the line out of an error of the YAML parser.
func syntaxError(err error) (int, string) {
	part := yamlLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if part == nil {
		return 0, "not YAML: " + err.Error()
	}
	line, _ := strconv.Atoi(part[1])
	return line, "not YAML: " + part[2]
}

// document reads one object, or the items of a List.
func (d *decoder) document(node *yaml.Node) {
	if node.Kind != yaml.MappingNode {
		d.fail(node.Line, "", "", "an object is needed, with apiVersion, kind and metadata")
		return
	}
	kind, version := scalar(node, "kind"), scalar(node, "apiVersion")
	if kind == "List" && version == "v1" {
		if items := lookup(node, "items"); items != nil && items.Kind == yaml.SequenceNode {
			for _, item := range items.Content {
				d.document(item)
			}
			return
		}
		d.fail(node.Line, "List", "items", "a list is needed")
		return
	}
	info, ok := d.kindOf(node, kind, version)
	if !ok {
		return
	}
	w := &walker{decoder: d, object: nameOf(node, info), lines: make(map[string]int)}
	before := len(d.errors)
	tree := w.walk(node, reflect.TypeOf(info.New()).Elem(), "", 0)
	if len(d.errors) > before {
		return
	}
	o, err := build(info, tree)
	if err != nil {
		d.fail(node.Line, w.object, "", "%s", err)
		return
	}
	setDefaults(o)
	w.object = RefOf(o).String()
	checker := &checker{report: func(path, message string) {
		d.fail(w.line(path), w.object, path, "%s", message)
	}}
	checker.object(o, info)
	d.add(o, node.Line)
}

func build(info KindInfo, tree any) (Object, error) {
	data, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	o := info.New()
	if err := json.Unmarshal(data, o); err != nil {
		return nil, err
	}
	SetType(o)
	return o, nil
}

func (d *decoder) add(o Object, line int) {
	ref := RefOf(o)
	if first, ok := d.seen[ref]; ok {
		d.fail(line, ref.String(), "", "the same object is already at line %d", first)
		return
	}
	d.seen[ref] = line
	d.objects = append(d.objects, o)
}

// kindOf finds the kind of a document and says what is wrong when there is none.
func (d *decoder) kindOf(node *yaml.Node, kind, version string) (KindInfo, bool) {
	if kind == "" {
		d.fail(node.Line, "", "kind", "required, such as Service or HTTPRoute")
		return KindInfo{}, false
	}
	line := lookup(node, "kind").Line
	info, ok := Info(Kind(kind))
	if !ok {
		names := make([]string, len(kinds))
		for i := range kinds {
			names[i] = string(kinds[i].Kind)
			if strings.EqualFold(names[i], kind) {
				d.fail(line, "", "kind", "unknown kind %q, did you mean %s?", kind, names[i])
				return KindInfo{}, false
			}
		}
		if near := Nearest(kind, names); near != "" {
			d.fail(line, "", "kind", "unknown kind %q, did you mean %s?", kind, near)
		} else {
			d.fail(line, "", "kind", "unknown kind %q; Leno knows %s", kind, strings.Join(names, ", "))
		}
		return KindInfo{}, false
	}
	switch {
	case version == "":
		d.fail(node.Line, kind, "apiVersion", "required; for %s it is %s", kind, info.APIVersion)
		return KindInfo{}, false
	case version != info.APIVersion && !sameAPI(info, version):
		d.fail(lookup(node, "apiVersion").Line, kind, "apiVersion", "%q is not the API of %s, which is %s", version, kind, info.APIVersion)
		return KindInfo{}, false
	}
	return info, true
}

// sameAPI accepts older versions of the Gateway API whose fields are the same.
func sameAPI(info KindInfo, version string) bool {
	switch info.Kind {
	case HTTPRoute:
		return version == "gateway.networking.k8s.io/v1beta1"
	case TCPRoute:
		return version == "gateway.networking.k8s.io/v1alpha2"
	}
	return false
}

// nameOf returns KIND/NAMESPACE/NAME as far as it can be read, for messages.
func nameOf(node *yaml.Node, info KindInfo) string {
	ref := Ref{Kind: info.Kind}
	if meta := lookup(node, "metadata"); meta != nil && meta.Kind == yaml.MappingNode {
		ref.Name, ref.Namespace = scalar(meta, "name"), scalar(meta, "namespace")
	}
	if ref.Namespace == "" && info.Namespaced {
		ref.Namespace = defaultNamespace(info.Kind)
	}
	return ref.String()
}

func defaultNamespace(k Kind) string {
	if k == Mesh {
		return v1alpha1.SystemNamespace
	}
	return corev1.NamespaceDefault
}

func lookup(node *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == name {
			return node.Content[i+1]
		}
	}
	return nil
}

func scalar(node *yaml.Node, name string) string {
	if v := lookup(node, name); v != nil && v.Kind == yaml.ScalarNode && v.Tag != "!!null" {
		return v.Value
	}
	return ""
}

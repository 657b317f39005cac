package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gateway "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/leno-mesh/leno/api/v1alpha1"
)

// EncodeJSON returns an object as JSON, with its apiVersion and kind.
func EncodeJSON(o Object) ([]byte, error) {
	o = o.DeepCopyObject().(Object)
	SetType(o)
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", RefOf(o), err)
	}
	return data, nil
}

// EncodeYAML returns objects as documents of one YAML file, without the fields
// that only the server writes when plain is set.
func EncodeYAML(objects []Object, plain bool) ([]byte, error) {
	var out bytes.Buffer
	for i, o := range objects {
		if i > 0 {
			out.WriteString("---\n")
		}
		data, err := EncodeJSON(o)
		if err != nil {
			return nil, err
		}
		var tree map[string]any
		if err := json.Unmarshal(data, &tree); err != nil {
			return nil, fmt.Errorf("encode %s: %w", RefOf(o), err)
		}
		prune(tree, plain)
		text, err := yaml.Marshal(tree)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", RefOf(o), err)
		}
		out.Write(text)
	}
	return out.Bytes(), nil
}

// prune removes what says nothing: nulls and empty maps of status and metadata.
func prune(tree map[string]any, plain bool) {
	meta, _ := tree["metadata"].(map[string]any)
	if meta["creationTimestamp"] == nil {
		delete(meta, "creationTimestamp")
	}
	if plain {
		for _, field := range []string{"creationTimestamp", "resourceVersion", "uid", "generation", "managedFields"} {
			delete(meta, field)
		}
		delete(tree, "status")
	}
	for _, part := range []string{"status", "spec"} {
		for name, value := range child(tree, part) {
			if m, ok := value.(map[string]any); ok && len(m) == 0 || value == nil {
				delete(child(tree, part), name)
			}
		}
	}
	if status := child(tree, "status"); status["parents"] == nil {
		delete(status, "parents")
	}
	if status, ok := tree["status"].(map[string]any); ok && len(status) == 0 {
		delete(tree, "status")
	}
}

func child(tree map[string]any, name string) map[string]any {
	m, _ := tree[name].(map[string]any)
	return m
}

// SetType writes the apiVersion and kind of an object.
func SetType(o Object) {
	if info, ok := Info(KindOf(o)); ok {
		o.GetObjectKind().SetGroupVersionKind(schema.FromAPIVersionAndKind(info.APIVersion, string(info.Kind)))
	}
}

// ErrUnknownKind says that an object is of a kind that this Leno does not have.
var ErrUnknownKind = errors.New("unknown kind")

// DecodeStored reads an object that EncodeJSON wrote, without the checks that
// what a user writes goes through.
func DecodeStored(data []byte) (Object, error) {
	var head metav1.TypeMeta
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	info, ok := Info(Kind(head.Kind))
	if !ok || info.APIVersion != head.APIVersion {
		return nil, fmt.Errorf("decode object: %w %s %s", ErrUnknownKind, head.APIVersion, head.Kind)
	}
	o := info.New()
	if err := json.Unmarshal(data, o); err != nil {
		return nil, fmt.Errorf("decode %s: %w", head.Kind, err)
	}
	return o, nil
}

// CopyStatus gives dst the status of src, an object of the same kind: what an
// apply does, since files say nothing about status.
func CopyStatus(dst, src Object) {
	switch dst := dst.(type) {
	case *v1alpha1.Workload:
		if src, ok := src.(*v1alpha1.Workload); ok {
			dst.Status = src.DeepCopy().Status
		}
	case *v1alpha1.PeerAuthentication:
		if src, ok := src.(*v1alpha1.PeerAuthentication); ok {
			dst.Status = src.DeepCopy().Status
		}
	case *v1alpha1.AuthorizationPolicy:
		if src, ok := src.(*v1alpha1.AuthorizationPolicy); ok {
			dst.Status = src.DeepCopy().Status
		}
	case *gateway.HTTPRoute:
		if src, ok := src.(*gateway.HTTPRoute); ok {
			dst.Status = src.DeepCopy().Status
		}
	case *gateway.GRPCRoute:
		if src, ok := src.(*gateway.GRPCRoute); ok {
			dst.Status = src.DeepCopy().Status
		}
	case *gateway.TCPRoute:
		if src, ok := src.(*gateway.TCPRoute); ok {
			dst.Status = src.DeepCopy().Status
		}
	}
}

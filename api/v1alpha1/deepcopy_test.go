package v1alpha1

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// fill gives every field a value, with one entry in each list and map.
func fill(v reflect.Value) {
	if t, ok := v.Addr().Interface().(*metav1.Time); ok {
		t.Time = time.Unix(1, 0)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.SetMapIndex(key, value)
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8:
		v.SetUint(1)
	default:
		panic(v.Type().String())
	}
}

// shared finds memory that two values have in common.
func shared(a, b reflect.Value, path string) []string {
	if a.Type() == reflect.TypeFor[time.Time]() {
		return nil
	}
	var out []string
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			out = append(out, shared(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name)...)
		}
	case reflect.Pointer, reflect.Slice, reflect.Map:
		if a.Pointer() == b.Pointer() {
			return []string{path}
		}
		if a.Kind() == reflect.Pointer {
			return shared(a.Elem(), b.Elem(), path)
		}
		for i := 0; a.Kind() == reflect.Slice && i < a.Len(); i++ {
			out = append(out, shared(a.Index(i), b.Index(i), fmt.Sprintf("%s[%d]", path, i))...)
		}
	}
	return out
}

func TestDeepCopySharesNothing(t *testing.T) {
	for _, o := range []runtime.Object{&Workload{}, &Mesh{}, &PeerAuthentication{}, &AuthorizationPolicy{}} {
		fill(reflect.ValueOf(o).Elem())
		c := o.DeepCopyObject()
		if diff := cmp.Diff(o, c); diff != "" {
			t.Errorf("the copy differs (-original +copy):\n%s", diff)
		}
		if paths := shared(reflect.ValueOf(o), reflect.ValueOf(c), fmt.Sprintf("%T", o)); len(paths) > 0 {
			t.Errorf("the copy shares %v", paths)
		}
	}
}

package generate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/model"
)

var update = flag.Bool("update", false, "write the expected projections")

const separator = "-- resources --\n"

// snapshotOf reads objects into a snapshot.
func snapshotOf(t *testing.T, base *model.Snapshot, rev uint64, yaml string) *model.Snapshot {
	t.Helper()
	objects, err := api.Decode([]byte(yaml), "test")
	if err != nil {
		t.Fatal(err)
	}
	edit := base.Edit()
	for _, o := range objects {
		edit.Apply(api.Put(o))
	}
	return edit.Commit(rev)
}

func TestResources(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(data), separator)
			set := New().Generate(snapshotOf(t, model.Empty(), 1, input))
			if errs := set.Errors(); len(errs) > 0 {
				t.Fatal(errs)
			}
			var b strings.Builder
			for r := range set.All {
				b.WriteString(project(t, r))
				validate(t, &anypb.Any{TypeUrl: r.TypeURL, Value: r.Body})
			}
			if *update {
				if err := os.WriteFile(file, []byte(input+separator+b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if b.String() != want {
				t.Errorf("resources differ; run with -update and read the difference\n%s", b.String())
			}
		})
	}
}

// validate runs Envoy's own rules on a message and on all that it carries.
func validate(t *testing.T, a *anypb.Any) {
	t.Helper()
	if a.TypeUrl == peakEWMA {
		return // Envoy's contrib extension; not among the Go types
	}
	m := unpack(t, a)
	v, ok := m.(interface{ ValidateAll() error })
	if !ok {
		t.Fatalf("%s has no validator", a.TypeUrl)
	}
	if err := v.ValidateAll(); err != nil {
		t.Errorf("%s: %v", a.TypeUrl, err)
	}
	walk(m.ProtoReflect(), func(inner *anypb.Any) { validate(t, inner) })
}

func walk(m protoreflect.Message, visit func(*anypb.Any)) {
	each := func(v protoreflect.Message) {
		if a, ok := v.Interface().(*anypb.Any); ok {
			visit(proto.Clone(a).(*anypb.Any))
			return
		}
		walk(v, visit)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { each(v.Message()); return true })
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				each(v.List().Get(i).Message())
			}
		default:
			each(v.Message())
		}
		return true
	})
}

package api

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// update is set by -update: write the golden files anew.
var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// bad reads testdata/bad.txt: "## NAME", a file, ">>", and its errors.
func bad(t testing.TB) (names, files []string, text string) {
	data, err := os.ReadFile("testdata/bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(string(data), "## "), "\n## ") {
		name, rest, _ := strings.Cut(part, "\n")
		file, _, ok := strings.Cut(rest+"\n", ">>\n")
		if !ok {
			t.Fatalf("case %q has no errors", name)
		}
		names, files = append(names, name), append(files, file)
	}
	return names, files, string(data)
}

func TestDecodeRefusesWithLineFieldAndReason(t *testing.T) {
	names, files, _ := bad(t)
	var out strings.Builder
	for i := range names {
		objects, err := Decode([]byte(files[i]), "f.yaml")
		if err == nil || objects != nil {
			t.Errorf("%s: accepted, with %d objects", names[i], len(objects))
			continue
		}
		out.WriteString("## " + names[i] + "\n" + files[i] + ">>\n" + err.Error() + "\n")
	}
	golden(t, "testdata/bad.txt", out.String())
}

func TestDecodeFillsInDefaults(t *testing.T) {
	data, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Decode(data, "shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text, err := EncodeYAML(objects, true)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/shop.golden.yaml", string(text))
	again, err := Decode(text, "again.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(objects, again); diff != "" {
		t.Errorf("what is printed reads differently (-first +again):\n%s", diff)
	}
}

func TestDecodeTakesJSONAndLists(t *testing.T) {
	const list = `{"apiVersion": "v1", "kind": "List", "items": [
		{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}, "status": {"phase": "Active"}},
		{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "b", "managedFields": [{"x": 1}]}}
	]}`
	objects, err := Decode([]byte(list), "list.json")
	if err != nil || len(objects) != 2 {
		t.Fatalf("%d objects, %v", len(objects), err)
	}
	if got := RefOf(objects[1]).String(); got != "Namespace/b" {
		t.Errorf("second object is %s", got)
	}
}

func TestDecodeBoundsAliases(t *testing.T) {
	var repeated strings.Builder
	repeated.WriteString("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports:\n  - &p {name: a, port: 80}\n")
	for range maxNodes / 4 {
		repeated.WriteString("  - *p\n")
	}
	circle := "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: &p\n  - *p\n"
	for name, file := range map[string]string{"repeated": repeated.String(), "circle": circle} {
		_, err := Decode([]byte(file), "f.yaml")
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if n := len(err.(Errors)); n != 1 {
			t.Errorf("%s: %d errors, such as %v", name, n, err.(Errors)[0])
		}
		if name == "repeated" && !strings.Contains(err.Error(), "nested or repeated too much") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLookupKnowsShortNames(t *testing.T) {
	for name, want := range map[string]Kind{
		"svc": Service, "Services": Service, "wl": Workload, "httproute": HTTPRoute, "HTTPRoutes": HTTPRoute, "ap": AuthorizationPolicy,
	} {
		if info, ok := Lookup(name); !ok || info.Kind != want {
			t.Errorf("Lookup(%q) = %q, %v", name, info.Kind, ok)
		}
	}
	if _, ok := Lookup("pod"); ok {
		t.Error("a pod was found")
	}
}

func TestKindsAreConsistent(t *testing.T) {
	names := make(map[string]Kind)
	for _, info := range Kinds() {
		if got := KindOf(info.New()); got != info.Kind {
			t.Errorf("KindOf a new %s is %q", info.Kind, got)
		}
		for _, name := range append([]string{strings.ToLower(string(info.Kind)), info.Plural}, info.Short...) {
			if other, taken := names[name]; taken {
				t.Errorf("%q names %s and %s", name, other, info.Kind)
			}
			names[name] = info.Kind
		}
	}
}

func FuzzDecode(f *testing.F) {
	_, files, _ := bad(f)
	for _, file := range files {
		f.Add([]byte(file))
	}
	if data, err := os.ReadFile("testdata/shop.yaml"); err == nil {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, err := Decode(data, "f.yaml")
		if err != nil {
			if len(objects) > 0 {
				t.Fatal("objects with an error")
			}
			return
		}
		text, err := EncodeYAML(objects, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(text, "again.yaml"); err != nil {
			t.Fatalf("what was accepted is refused when printed: %v\n%s", err, text)
		}
	})
}

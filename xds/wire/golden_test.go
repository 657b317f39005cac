package wire

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	name = filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(name, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(have)); diff != "" {
		t.Errorf("%s differs (-want +have):\n%s", name, diff)
	}
}

func testFile(t testing.TB, name string) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBootstrapsAreReadAndDumped(t *testing.T) {
	for _, name := range []string{"front-proxy.yaml", "ads.json"} {
		t.Run(name, func(t *testing.T) {
			var m Bootstrap
			report, err := ReadYAML(testFile(t, name), &m)
			if err != nil {
				t.Fatal(err)
			}
			var dump bytes.Buffer
			if err := json.Indent(&dump, AppendJSON(nil, &m), "", "  "); err != nil {
				t.Fatal(err)
			}
			dump.WriteString("\nignored:\n" + strings.Join(report.Ignored, "\n") + "\n")
			golden(t, name+".dump", dump.Bytes())
		})
	}
}

func TestMistakesInAFileAreNamedByLineAndPath(t *testing.T) {
	var m Bootstrap
	_, err := ReadYAML(testFile(t, "wrong.yaml"), &m)
	if err == nil {
		t.Fatal("no error")
	}
	golden(t, "wrong.yaml.errors", []byte(err.Error()+"\n"))
}

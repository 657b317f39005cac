package generate

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/xds/wire"
)

// TestTheProxyReadsEveryField holds the two ends of the contract together:
// nothing is generated that Leno's own proxy refuses.
func TestTheProxyReadsEveryField(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no cases", err)
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(file[:len(file)-len(".txt")])
		for r := range New().Generate(snapshotOf(t, model.Empty(), 1, caseInput(t, name))).All {
			m := wire.New(r.TypeURL)
			if m == nil {
				t.Fatalf("%s: the proxy does not know %s", r.Name, r.TypeURL)
			}
			report, err := wire.Unmarshal(r.Body, m)
			if err != nil || len(report.Unsupported) > 0 {
				t.Errorf("%s: %s: unsupported %v, %v", name, r.Name, report.Unsupported, err)
			}
		}
	}
}

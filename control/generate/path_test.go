package generate

import (
	"path/filepath"
	"strings"
	"testing"

	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/leno-mesh/leno/control/model"
)

// TestEveryManagerDecidesOnTheBytesThatItForwards holds for Envoy as for Leno's
// own proxy: a path has one spelling before any rule or route reads it.
func TestEveryManagerDecidesOnTheBytesThatItForwards(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	managers := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		var visit func(where string, a *anypb.Any)
		visit = func(where string, a *anypb.Any) {
			if a.TypeUrl == peakEWMA {
				return
			}
			m := unpack(t, a)
			if manager, ok := m.(*hcm.HttpConnectionManager); ok {
				managers++
				if !manager.NormalizePath.GetValue() || !manager.MergeSlashes || manager.PathWithEscapedSlashesAction != hcm.HttpConnectionManager_REJECT_REQUEST {
					t.Errorf("%s: the manager %s of %s takes paths as they are", name, manager.StatPrefix, where)
				}
			}
			walk(m.ProtoReflect(), func(inner *anypb.Any) { visit(where, inner) })
		}
		for r := range New().Generate(snapshotOf(t, model.Empty(), 1, caseInput(t, name))).All {
			visit(r.Name, &anypb.Any{TypeUrl: r.TypeURL, Value: r.Body})
		}
	}
	if managers == 0 {
		t.Error("no case has a manager")
	}
}

//go:build real

// Package real meshes programs that this project did not write and compares
// what they do with what they do without a mesh. README.md tells the method.
package real

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"text/tabwriter"
)

func TestMain(m *testing.M) {
	if os.Getuid() != 0 {
		fmt.Fprintln(os.Stderr, "test/real needs root: it makes network namespaces")
		os.Exit(2)
	}
	removeStale()
	code := m.Run()
	table.print()
	os.Exit(code)
}

// binary is a program that `make test-real` has built.
func binary(name string) string {
	dir := os.Getenv("LENO_REAL_BIN")
	if dir == "" {
		dir = "../../bin/real"
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		panic(err)
	}
	return path
}

// row is what one program gave.
type row struct {
	program       string
	without, with string
	errors        int
	seen          bool // the marker, with mutual TLS
	seenWithout   bool // and without
	lost          string
}

// table gathers the rows of all tests for the end.
var table rows

type rows struct {
	mu  sync.Mutex
	all []*row
}

func (r *rows) add(t *testing.T, program string) *row {
	r.mu.Lock()
	defer r.mu.Unlock()
	added := &row{program: program, without: "-", with: "-", lost: "-"}
	r.all = append(r.all, added)
	t.Cleanup(func() {
		if t.Failed() {
			added.program += " (FAILED)"
		}
	})
	return added
}

func (r *rows) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nPROGRAM\tWITHOUT MESH\tWITH MESH\tERRORS\tMARKER SEEN (MTLS ON/OFF)\tLOST WHEN A REPLICA IS KILLED")
	for _, row := range r.all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s/%s\t%s\n", row.program, row.without, row.with, row.errors, word(row.seen), word(row.seenWithout), row.lost)
	}
	w.Flush()
}

func word(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

package leno_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/leno-mesh/leno"

// layers lists, for each package or folder ("/..."), what it may import of this
// module. The first entry that fits counts. Imports go strictly down this list.
var layers = []struct {
	from string
	may  []string
}{
	{"lib/...", []string{"lib/..."}},
	{"api/...", []string{"lib/...", "api/..."}},

	{"xds/wire", []string{"lib/..."}},
	{"xds", []string{"lib/..."}},

	{"proxy/conn", []string{"lib/..."}},
	{"proxy/http", []string{"lib/...", "proxy/conn"}},
	{"proxy/tls", []string{"lib/...", "proxy/conn", "proxy/http"}},
	{"proxy/identity", []string{"lib/...", "proxy/conn", "proxy/http", "proxy/tls"}},
	{"proxy/http/...", []string{"lib/...", "proxy/conn", "proxy/http"}},
	{"proxy/match", []string{"lib/...", "proxy/http"}},
	{"proxy/exchange", []string{"lib/...", "proxy/conn", "proxy/http"}},
	{"proxy/route", []string{"lib/...", "proxy/conn", "proxy/http", "proxy/match"}},
	{"proxy/authz", []string{"lib/...", "proxy/conn", "proxy/http", "proxy/match"}},
	{"proxy/balance", []string{"lib/...", "proxy/conn", "proxy/http"}},
	{"proxy/stats", []string{"lib/...", "proxy/conn", "proxy/http"}},
	{"proxy/grpc", []string{"lib/...", "proxy/conn", "proxy/http", "proxy/http/..."}},
	{"proxy/plan", []string{"lib/...", "xds/wire", "proxy/conn", "proxy/tls", "proxy/http", "proxy/match", "proxy/route", "proxy/authz", "proxy/balance", "proxy/stats"}},
	{"proxy/engine", []string{"lib/...", "proxy/conn", "proxy/exchange", "proxy/tls", "proxy/http", "proxy/http/...", "proxy/route", "proxy/authz", "proxy/balance", "proxy/stats", "proxy/plan"}},
	{"proxy/admin", []string{"lib/...", "xds/wire", "proxy/conn", "proxy/http", "proxy/http/...", "proxy/balance", "proxy/stats", "proxy/plan", "proxy/engine"}},
	{"proxy/agent", []string{"lib/...", "xds", "xds/wire", "proxy/..."}},

	{"control/store/...", []string{"lib/...", "api/...", "control/store"}},
	{"control/model", []string{"lib/...", "api/..."}},
	{"control/ca", []string{"lib/..."}},
	{"control/source/...", []string{"lib/...", "api/...", "control/store", "control/model", "control/source"}},
	{"control/assemble", []string{"lib/...", "api/...", "control/model", "control/source"}},
	{"control/generate", []string{"lib/...", "api/...", "control/model", "xds"}},
	{"control/serve/...", []string{"lib/...", "api/...", "control/model", "control/generate", "control/serve/...", "xds"}},
	{"control/adminapi", []string{"lib/...", "api/...", "control/model", "control/store"}},
	{"control/server", []string{"lib/...", "api/...", "control/...", "xds"}},

	{"demo/...", []string{"demo/..."}},

	{"cli/...", []string{"lib/...", "api/...", "control/adminapi", "control/server", "demo/...", "cli/..."}},
	{"cmd/leno-proxy", []string{"lib/...", "proxy/agent"}},
	{"cmd/leno", []string{"lib/...", "cli/...", "proxy/agent"}},
	{"tools/...", []string{"..."}},
	{"test/...", []string{"..."}},
	{".", nil},
}

// banned lists what no package of the data plane may link, whoever imports it:
// it would cost a sidecar up to 17 MiB of resident memory.
var banned = []string{
	"net/http", "google.golang.org/grpc", "google.golang.org/protobuf", "github.com/envoyproxy", "github.com/prometheus",
	"go.opentelemetry.io", "k8s.io", "sigs.k8s.io", "github.com/spf13/cobra",
}

type listed struct {
	ImportPath string
	Imports    []string
	Dir        string
	GoFiles    []string
	Standard   bool
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Dir,GoFiles,Standard"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all []listed
	dec := json.NewDecoder(bufio.NewReader(out))
	for {
		var p listed
		if err := dec.Decode(&p); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			break
		}
		all = append(all, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return all
}

func fits(pattern, pkg string) bool {
	if pattern == "..." || pattern == pkg {
		return true
	}
	folder, ok := strings.CutSuffix(pattern, "/...")
	return ok && (pkg == folder || strings.HasPrefix(pkg, folder+"/"))
}

func relative(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportsGoStrictlyDown(t *testing.T) {
	for _, p := range list(t, "./...") {
		pkg, _ := relative(p.ImportPath)
		rule := slices.IndexFunc(layers, func(l struct {
			from string
			may  []string
		}) bool {
			return fits(l.from, pkg)
		})
		if rule < 0 {
			t.Errorf("%s stands in no layer; add it to the table in layers_test.go", pkg)
			continue
		}
		for _, imp := range p.Imports {
			dep, ours := relative(imp)
			if !ours {
				continue
			}
			if !slices.ContainsFunc(layers[rule].may, func(m string) bool { return fits(m, dep) }) {
				t.Errorf("%s imports %s, which its layer does not allow", pkg, dep)
			}
		}
	}
}

func TestTheProxyLinksNothingHeavy(t *testing.T) {
	for _, p := range list(t, "-deps", "./cmd/leno-proxy") {
		for _, b := range banned {
			if p.ImportPath != b && !strings.HasPrefix(p.ImportPath, b+"/") {
				continue
			}
			if p.ImportPath == "google.golang.org/protobuf/encoding/protowire" || strings.HasPrefix(p.ImportPath, "google.golang.org/protobuf/internal/errors") ||
				strings.HasPrefix(p.ImportPath, "google.golang.org/protobuf/internal/detrand") {
				continue // what protowire itself needs
			}
			t.Errorf("leno-proxy links %s", p.ImportPath)
		}
	}
}

func TestNoKubernetesClientOutsideKube(t *testing.T) {
	for _, p := range list(t, "./...") {
		pkg, _ := relative(p.ImportPath)
		for _, imp := range p.Imports {
			if strings.HasPrefix(imp, "k8s.io/client-go") && !fits("kube/...", pkg) {
				t.Errorf("%s imports %s", pkg, imp)
			}
		}
	}
}

// sources calls visit with every hand-written Go file of the module.
func sources(t *testing.T, visit func(file string, f *ast.File, fset *token.FileSet)) {
	t.Helper()
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if path.Ext(file) != ".go" {
			return nil
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if !ast.IsGenerated(f) {
			visit(filepath.ToSlash(file), f, fset)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestShapeOfTheSource(t *testing.T) {
	documented := map[string]bool{}
	sources(t, func(file string, f *ast.File, fset *token.FileSet) {
		test := strings.HasSuffix(file, "_test.go")
		if n := fset.File(f.Pos()).LineCount(); n > 800 {
			t.Errorf("%s has %d lines, at most 800 are allowed: split it by what it knows", file, n)
		}
		if slices.Contains([]string{"util", "utils", "common", "types", "helpers", "manager", "misc"}, f.Name.Name) {
			t.Errorf("%s: a package named %s says nothing", file, f.Name.Name)
		}
		if test {
			return
		}
		dir := path.Dir(file)
		documented[dir] = documented[dir] || f.Doc != nil
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil && d.Name.Name == "init" {
					t.Errorf("%s has an init function", file)
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					checkVariables(t, file, d)
				}
			}
		}
	})
	for dir, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", dir)
		}
	}
}

// checkVariables allows package variables that are never written: errors,
// tables, compiled expressions, and interface assertions. A variable that is
// written is found by TestPackageVariablesAreNotWritten.
func checkVariables(t *testing.T, file string, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		v := spec.(*ast.ValueSpec)
		for _, name := range v.Names {
			if name.Name != "_" && len(v.Values) == 0 && !strings.Contains(file, "_test.go") && !hasEmbed(d) && !stamped(name.Name) {
				t.Errorf("%s: the package variable %s has no initial value, so somebody writes it", file, name.Name)
			}
		}
	}
}

// hasEmbed reports a //go:embed directive.
func hasEmbed(d *ast.GenDecl) bool {
	return d.Doc != nil && slices.ContainsFunc(d.Doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed") })
}

// stamped are the variables that the linker writes (-X).
func stamped(name string) bool { return name == "version" }

func TestPackageVariablesAreNotWritten(t *testing.T) {
	type place struct{ dir, name string }
	declared := map[place]string{}
	files := map[string][]*ast.File{}
	sources(t, func(file string, f *ast.File, _ *token.FileSet) {
		if strings.HasSuffix(file, "_test.go") {
			return
		}
		dir := path.Dir(file)
		files[dir] = append(files[dir], f)
		for _, decl := range f.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
				for _, spec := range d.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						declared[place{dir, name.Name}] = file
					}
				}
			}
		}
	})
	for dir, fs := range files {
		for _, f := range fs {
			ast.Inspect(f, func(n ast.Node) bool {
				assign, ok := n.(*ast.AssignStmt)
				if !ok || assign.Tok == token.DEFINE {
					return true
				}
				for _, lhs := range assign.Lhs {
					id, ok := lhs.(*ast.Ident)
					if !ok || id.Obj == nil || id.Obj.Kind != ast.Var {
						continue
					}
					if _, global := id.Obj.Decl.(*ast.ValueSpec); global && f.Scope != nil && f.Scope.Lookup(id.Name) == id.Obj {
						t.Errorf("%s: the package variable %s is written", declared[place{dir, id.Name}], id.Name)
					}
				}
				return true
			})
		}
	}
}

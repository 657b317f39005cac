package bolt

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/store"
	"github.com/leno-mesh/leno/control/store/storetest"
)

// durable tells the conformance test that each write waits for the disk.
type durable struct{ *Store }

func (durable) Durable() {}

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		return durable{mustOpen(t, filepath.Join(t.TempDir(), "leno.db"))}
	})
}

func mustOpen(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}

func TestStoreKeepsEverythingOverAReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "leno.db")
	s := mustOpen(t, path)
	written, err := s.Put(namespace("shop"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Section("audit").Put("1", []byte("x"), store.Absent); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, path)
	defer s.Close()
	got, err := s.Get(api.RefOf(written))
	if err != nil || got.GetUID() != written.GetUID() || got.GetResourceVersion() != written.GetResourceVersion() || s.Revision() != 1 {
		t.Errorf("read %+v at %d, %v", got, s.Revision(), err)
	}
	if e, err := s.Section("audit").Get("1"); err != nil || string(e.Value) != "x" {
		t.Errorf("read %+v, %v", e, err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
}

func TestOpenSaysWhoHoldsTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leno.db")
	s := mustOpen(t, path)
	defer s.Close()
	_, err := Open(path)
	want := fmt.Sprintf("the store %s is in use by another leno process", path)
	if lockHolder(path) != "" {
		want += fmt.Sprintf(" (pid %d)", os.Getpid())
	}
	if err == nil || err.Error() != want {
		t.Fatalf("got %v, want %s", err, want)
	}
}

func TestOpenLeavesAFileThatIsNotRightAlone(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.db")
	s := mustOpen(t, good)
	for i := range 200 {
		if _, err := s.Put(namespace(fmt.Sprint("namespace-", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	rewrite(t, newer, data, func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket()).Put(schemaKey(), number(schema+1)) })
	foreign := filepath.Join(dir, "foreign.db")
	rewrite(t, foreign, data, func(tx *bbolt.Tx) error { return tx.DeleteBucket(metaBucket()) })
	garbled := filepath.Join(dir, "garbled.db")
	rewrite(t, garbled, data, func(tx *bbolt.Tx) error { return tx.Bucket(objectsBucket()).Put([]byte("x"), []byte("{")) })
	wiped := bytes.Clone(data)
	for i := 2 * os.Getpagesize(); i < len(wiped); i++ {
		wiped[i] ^= 0xa5
	}
	unknown := filepath.Join(dir, "unknown.db")
	rewrite(t, unknown, data, func(tx *bbolt.Tx) error {
		return tx.Bucket(objectsBucket()).Put([]byte("Spell\x00a\x00b"), []byte(`{"apiVersion": "mesh.leno.dev/v9", "kind": "Spell"}`))
	})
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "is damaged"},
		{"text", []byte("hello, world"), "is damaged"},
		{"zeros", make([]byte, 1<<16), "is damaged"},
		{"cut short", data[:4*os.Getpagesize()], "is damaged"},
		{"pages overwritten", wiped, "is damaged"},
		{"newer schema", read(t, newer), "was written by a newer Leno (schema 2, this one knows 1)"},
		{"another program's", read(t, foreign), "is a database, but not a store of Leno"},
		{"unknown kind", read(t, unknown), "holds Spell/a/b, of a kind that this version of Leno does not know"},
		{"object garbled", read(t, garbled), "is damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "leno.db")
			if err := os.WriteFile(path, test.data, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := Open(path)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("got %q, want %q", err, test.want)
			}
			if !bytes.Equal(read(t, path), test.data) {
				t.Error("the file was changed")
			}
		})
	}
}

func TestOpenSurvivesAFileCutShortAnywhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "leno.db")
	s := mustOpen(t, path)
	for i := range 400 {
		if _, err := s.Put(namespace(fmt.Sprint("namespace-", i))); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	data := read(t, path)
	page := os.Getpagesize()
	refused := 0
	for pages := 1; pages*page < len(data); pages++ {
		cut := filepath.Join(dir, "cut.db")
		if err := os.WriteFile(cut, data[:pages*page], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(cut)
		if err == nil {
			// Only free pages were cut off: nothing is missing.
			if list, err := s.List("", ""); err != nil || len(list.Objects) != 400 {
				t.Errorf("cut to %d pages it opens with %d objects, %v", pages, len(list.Objects), err)
			}
			s.Close()
			continue
		}
		refused++
		if !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("cut to %d pages: %v", pages, err)
		}
	}
	if refused == 0 {
		t.Error("no cut was refused")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func rewrite(t *testing.T, path string, data []byte, change func(*bbolt.Tx) error) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Update(change); err != nil {
		t.Fatal(err)
	}
}

// crashPath makes the test binary a writer that is going to be killed.
const crashPath = "LENO_TEST_CRASH_STORE"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashPath); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

// writeForever prints the name of each namespace once it is acknowledged.
func writeForever(path string) {
	s, err := Open(path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for i := s.Revision(); ; i++ {
		name := fmt.Sprint("n", i)
		if _, err := s.Put(namespace(name)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(name)
	}
}

func TestStoreKeepsEveryAcknowledgedWriteOverAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leno.db")
	var acknowledged []string
	for range 5 {
		acknowledged = append(acknowledged, crash(t, path, 40)...)
	}
	s := mustOpen(t, path)
	defer s.Close()
	for _, name := range acknowledged {
		if _, err := s.Get(api.Ref{Kind: api.Namespace, Name: name}); err != nil {
			t.Errorf("%s was acknowledged: %v", name, err)
		}
	}
	if list, err := s.List("", ""); err != nil || len(list.Objects) < 200 || uint64(len(list.Objects)) != s.Revision() {
		t.Errorf("%d objects at revision %d, %v", len(list.Objects), s.Revision(), err)
	}
}

// crash runs a writer, kills it in the midst of its writes, and returns what it
// said was written.
func crash(t *testing.T, path string, writes int) []string {
	t.Helper()
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), crashPath+"="+path)
	writer.Stderr = os.Stderr
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		names = append(names, lines.Text())
		if len(names) == writes {
			if err := writer.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	writer.Wait() // it was killed
	if len(names) < writes {
		t.Fatalf("the writer stopped by itself after %d writes", len(names))
	}
	return names
}

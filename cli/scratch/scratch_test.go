package scratch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

// TestMain lets the test binary be a command that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "make" {
		d, err := Make(os.Args[2])
		if err == nil {
			err = os.MkdirAll(filepath.Join(d.Path, "state", "deep"), 0o700)
		}
		fmt.Println(err)
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// temporary gives the test a directory for temporary files of its own.
func temporary(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "scratch")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	return dir
}

// owner makes a directory in a process of its own.
func owner(t *testing.T, purpose string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], "make", purpose)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	var said string
	if _, err := fmt.Fscanln(out, &said); err != nil || said != "<nil>" {
		t.Fatalf("it said %q, %v", said, err)
	}
	return cmd
}

func left(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWhatAKilledCommandLeftIsSwept(t *testing.T) {
	dir := temporary(t)
	for _, purpose := range []string{Run, Demo} {
		dead := owner(t, purpose)
		Sweep()
		if got := left(t, dir); len(got) != 1 {
			t.Errorf("%s: %v are left while the owner lives", purpose, got)
		}
		dead.Process.Kill()
		dead.Wait()
		Sweep()
		if got := left(t, dir); len(got) != 0 {
			t.Errorf("%s: %v are left", purpose, got)
		}
	}
}

func TestTheDirectoryOfThisProcessIsNotSwept(t *testing.T) {
	dir := temporary(t)
	d, err := Make(Run)
	if err != nil {
		t.Fatal(err)
	}
	Sweep()
	if got := left(t, dir); len(got) != 1 {
		t.Errorf("%v are left", got)
	}
	if err := d.Remove(); err != nil || len(left(t, dir)) != 0 {
		t.Errorf("%v are left, %v", left(t, dir), err)
	}
}

func TestWhatIsNotSurelyOursStays(t *testing.T) {
	elsewhere, dir := t.TempDir(), temporary(t)
	at := func(parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }
	write := func(path string) error { return os.WriteFile(path, []byte("precious"), 0o600) }
	err := errors.Join(
		os.Mkdir(at("leno-run-1"), 0o700), // without an owner, such as one that is being made
		os.Mkdir(at("leno-run-2"), 0o755), write(at("leno-run-2", lockName)), os.Chmod(at("leno-run-2"), 0o755),
		os.Mkdir(at("leno-run-mine"), 0o700), write(at("leno-run-mine", lockName)),
		os.Mkdir(at("leno-demo-"), 0o700), write(at("leno-demo-", lockName)),
		os.Mkdir(at("other-3"), 0o700), write(at("other-3", lockName)),
		write(filepath.Join(elsewhere, lockName)), os.Chmod(elsewhere, 0o700), os.Symlink(elsewhere, at("leno-run-4")),
		os.Mkdir(at("leno-run-5"), 0o700), os.Symlink(filepath.Join(elsewhere, lockName), at("leno-run-5", lockName)),
		write(at("leno-run-6")),
	)
	if err != nil {
		t.Fatal(err)
	}
	before := left(t, dir)
	Sweep()
	if after := left(t, dir); !slices.Equal(before, after) {
		t.Errorf("%v are left of %v", after, before)
	}
	if got := left(t, elsewhere); len(got) != 1 {
		t.Errorf("%v are left behind the link", got)
	}
}

func TestLinksInWhatIsSweptAreNotFollowed(t *testing.T) {
	elsewhere, dir := t.TempDir(), temporary(t)
	stale := filepath.Join(dir, "leno-run-7")
	err := errors.Join(os.WriteFile(filepath.Join(elsewhere, "precious"), nil, 0o600),
		os.Mkdir(stale, 0o700), os.WriteFile(filepath.Join(stale, lockName), nil, 0o600), os.Symlink(elsewhere, filepath.Join(stale, "state")))
	if err != nil {
		t.Fatal(err)
	}
	Sweep()
	if got := left(t, dir); len(got) != 0 {
		t.Errorf("%v are left", got)
	}
	if got := left(t, elsewhere); len(got) != 1 {
		t.Errorf("%v are left behind the link", got)
	}
}

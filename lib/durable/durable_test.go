package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreReplacedWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	if err := Directory(dir); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key")
	for _, text := range []string{"one", "", "three"} {
		if err := WriteFile(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := ReadPrivate(path, 5)
		if err != nil || string(got) != text {
			t.Fatalf("read %q, %v; want %q", got, err, text)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%d files are left, %v", len(entries), err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %04o", info.Mode().Perm())
	}
	if _, err := ReadPrivate(path, 4); err == nil {
		t.Error("a file above the limit was read")
	}
}

func TestWhatOthersMayReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	if err := WriteFile(path, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadPrivate(path, 10); err == nil || IsMissing(err) {
		t.Errorf("group-readable key: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Directory(dir); err == nil {
		t.Error("a directory that others may enter was taken")
	}
	if err := Directory(path); err == nil {
		t.Error("a file was taken for a directory")
	}
	if _, err := ReadPrivate(filepath.Join(dir, "none"), 10); !IsMissing(err) {
		t.Errorf("missing file: %v", err)
	}
}

func TestAFailedWriteLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(path, "child"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("x")); err == nil {
		t.Fatal("a directory was replaced by a file")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("%d entries are left", len(entries))
	}
}

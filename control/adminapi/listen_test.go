package adminapi

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSocketIsForItsUserOnlyAndGoesWithItsListener(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leno", "admin.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v", got)
	}
	if dir, _ := os.Stat(filepath.Dir(path)); dir.Mode().Perm() != 0o700 {
		t.Errorf("its directory has mode %v", dir.Mode())
	}
	if _, err := ListenUnix(path); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second listener: %v", err)
	}
	l.Close()
	if left, _ := os.ReadDir(filepath.Dir(path)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSocketOfADeadProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestWhatIsNoSocketIsNeverReplaced(t *testing.T) {
	dir := t.TempDir()
	file, directory, link := filepath.Join(dir, "precious.txt"), filepath.Join(dir, "directory"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, []byte("precious"), 0o600), os.Mkdir(directory, 0o700), os.Symlink(file, link)); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, directory, link} {
		if l, err := ListenUnix(path); err == nil {
			l.Close()
			t.Errorf("%s was replaced", path)
		} else if !strings.Contains(err.Error(), path+" is there and is not a socket") {
			t.Errorf("%s: %v", path, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file holds %q, %v", b, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 3 {
		t.Errorf("%v are left", left)
	}
}

func TestTokenIsMadeOnceAndKeptSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.token")
	token, err := LoadToken(path)
	if err != nil || len(token) < 40 {
		t.Fatalf("token of %d characters, %v", len(token), err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %v", info.Mode())
	}
	if again, err := LoadToken(path); err != nil || again != token {
		t.Errorf("loaded another token, %v", err)
	}
	os.Chmod(path, 0o644)
	if _, err := LoadToken(path); err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("a readable token file: %v", err)
	}
	os.WriteFile(path, nil, 0o600)
	os.Chmod(path, 0o600)
	if _, err := LoadToken(path); err == nil {
		t.Error("an empty token was taken")
	}
}

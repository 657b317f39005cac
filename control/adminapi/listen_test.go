package adminapi

import (
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

// Package scratch makes the temporary directories of commands, which hold keys,
// and removes those that killed commands left behind. Whether the owner of one
// lives is told by a lock that the kernel drops with the process, however it
// ends: unlike a process number it means the same in every container, and after
// a restart of the machine.
package scratch

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Purposes of directories, which are part of their names.
const (
	Run  = "leno-run-"
	Demo = "leno-demo-"
)

// lockName is the file that the owner of a directory has locked. A file of this
// name without a lock is a dead owner's: it gets its name after its lock.
const lockName = "lock"

// Directory is a temporary directory of this process, mode 0700.
type Directory struct {
	Path string
	lock *os.File
}

// Make makes a directory for a purpose.
func Make(purpose string) (*Directory, error) {
	path, err := os.MkdirTemp(parent(), purpose) // mode 0700
	if err != nil {
		return nil, fmt.Errorf("make temporary directory: %w", err)
	}
	d := &Directory{Path: path}
	if d.lock, err = owned(path); err != nil {
		_ = os.RemoveAll(path)
		return nil, fmt.Errorf("lock temporary directory: %w", err)
	}
	return d, nil
}

func owned(path string) (*os.File, error) {
	f, err := os.CreateTemp(path, lockName) // closed in children
	if err != nil {
		return nil, err
	}
	if err = lock(f); err == nil {
		err = os.Rename(f.Name(), filepath.Join(path, lockName))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func lock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// Remove removes the directory and all that is in it.
func (d *Directory) Remove() error {
	defer d.lock.Close() // so that nobody else removes it meanwhile
	return os.RemoveAll(d.Path)
}

// parent is where temporary files go, unless its name is so long that no socket
// fits into it.
func parent() string {
	if dir := os.TempDir(); len(dir) <= 64 {
		return dir
	}
	return "/tmp"
}

// Sweep removes the directories of this user whose owners have ended without
// removing them. What is not surely one of those stays.
func Sweep() {
	root, err := os.OpenRoot(parent())
	if err != nil {
		return
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return
	}
	for _, entry := range entries {
		if entry.IsDir() && named(entry.Name()) {
			reclaim(root, entry.Name())
		}
	}
}

// named says that Make gives such names: a purpose and digits.
func named(name string) bool {
	for _, purpose := range [...]string{Run, Demo} {
		if digits, ok := strings.CutPrefix(name, purpose); ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}

// reclaim removes a directory that nobody owns any more. All is done in the
// directory that was looked at, whatever its name becomes meanwhile.
func reclaim(parent *os.Root, name string) {
	seen, err := parent.Lstat(name)
	if err != nil || !private(seen) {
		return
	}
	dir, err := parent.OpenRoot(name)
	if err != nil {
		return
	}
	defer dir.Close()
	if opened, err := dir.Stat("."); err != nil || !os.SameFile(seen, opened) {
		return
	}
	if info, err := dir.Lstat(lockName); err != nil || !info.Mode().IsRegular() {
		return
	}
	f, err := dir.Open(lockName)
	if err != nil {
		return
	}
	defer f.Close()
	if lock(f) != nil {
		return // its owner lives
	}
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return
	}
	for _, entry := range entries {
		// The lock goes last: what cannot be removed now can be the next time.
		if entry.Name() != lockName && dir.RemoveAll(entry.Name()) != nil {
			return
		}
	}
	if dir.Remove(lockName) == nil {
		_ = parent.Remove(name) // if it is empty
	}
}

// private says that a directory, and no link to one, is this user's alone.
func private(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode() == fs.ModeDir|0o700 && int(stat.Uid) == os.Geteuid()
}

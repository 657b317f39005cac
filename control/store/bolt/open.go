// Package bolt keeps the mesh in one file, with bbolt. What it acknowledges is
// on disk: each transaction ends with an fsync.
package bolt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/leno-mesh/leno/api"
	"github.com/leno-mesh/leno/control/store"
)

// schema is the version of the layout below; a newer file is refused.
//
//	meta     "schema", "revision": big-endian uint64
//	objects  KIND 0 NAMESPACE 0 NAME: the object as JSON
//	section: NAME  KEY: 8 bytes of version, then the value
const schema = 1

const (
	lockTimeout   = 200 * time.Millisecond
	sectionPrefix = "section:"
)

func metaBucket() []byte    { return []byte("meta") }
func objectsBucket() []byte { return []byte("objects") }
func schemaKey() []byte     { return []byte("schema") }
func revisionKey() []byte   { return []byte("revision") }

// Open opens the store in a file, or creates it. It holds the file's lock until
// Close. A damaged file is reported and left as it is.
func Open(path string) (*Store, error) {
	db, err := open(path)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, path: path}
	if err := db.View(func(tx *bbolt.Tx) error {
		s.revision.Store(binary.BigEndian.Uint64(tx.Bucket(metaBucket()).Get(revisionKey())))
		return nil
	}); err != nil {
		db.Close()
		return nil, fmt.Errorf("read store %s: %w", path, err)
	}
	s.feed = store.NewFeed(s.revision.Load())
	return s, nil
}

func open(path string) (*bbolt.DB, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return create(path)
	case err != nil:
		return nil, fmt.Errorf("open store: %w", err)
	case info.Size() == 0:
		return nil, damaged(path, errors.New("it is empty"))
	}
	// The first look is read-only, so that a file that is not right stays as it is.
	if err := verify(path); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, explain(path, err)
	}
	return db, nil
}

// create makes the file under another name first: a crash never leaves a half
// made store, and of two processes one wins.
func create(path string) (*bbolt.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("create store: %w", err)
	}
	temporary := fmt.Sprintf("%s.new-%d", path, os.Getpid())
	defer os.Remove(temporary)
	db, err := bbolt.Open(temporary, 0o600, &bbolt.Options{Timeout: lockTimeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, explain(path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(metaBucket())
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(objectsBucket()); err != nil {
			return err
		}
		if err := meta.Put(schemaKey(), number(schema)); err != nil {
			return err
		}
		return meta.Put(revisionKey(), number(0))
	})
	if err == nil {
		err = os.Link(temporary, path)
	}
	if err == nil {
		err = syncDirectory(filepath.Dir(path))
	}
	if err != nil {
		db.Close()
		if errors.Is(err, fs.ErrExist) {
			return nil, explain(path, bbolterrors.ErrTimeout)
		}
		return nil, fmt.Errorf("create store %s: %w", path, err)
	}
	return db, nil
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// verify reads the whole file without writing to it. bbolt panics on pages that
// make no sense, and a file cut short faults in the memory map: both are caught.
func verify(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var db *bbolt.DB
	defer func() {
		if r := recover(); r != nil {
			err = damaged(path, fmt.Errorf("%v", r))
		}
		if db != nil {
			db.Close()
		}
	}()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
	if err != nil {
		return explain(path, err)
	}
	return db.View(func(tx *bbolt.Tx) error { return verifyContents(path, tx) })
}

func verifyContents(path string, tx *bbolt.Tx) error {
	meta := tx.Bucket(metaBucket())
	if meta == nil || len(meta.Get(schemaKey())) != 8 || len(meta.Get(revisionKey())) != 8 {
		return fmt.Errorf("the file %s is a database, but not a store of Leno; nothing was changed, give another file", path)
	}
	if version := binary.BigEndian.Uint64(meta.Get(schemaKey())); version > schema {
		return fmt.Errorf("the store %s was written by a newer Leno (schema %d, this one knows %d); use that version, or restore an older copy", path, version, schema)
	}
	objects := tx.Bucket(objectsBucket())
	if objects == nil {
		return damaged(path, errors.New("it has no objects"))
	}
	err := objects.ForEach(func(k, v []byte) error {
		_, err := api.DecodeStored(v)
		name := strings.ReplaceAll(string(k), "\x00", "/")
		switch {
		case errors.Is(err, api.ErrUnknownKind):
			return fmt.Errorf("the store %s holds %s, of a kind that this version of Leno does not know; use the version that wrote it", path, name)
		case err != nil:
			return damaged(path, fmt.Errorf("%s: %w", name, err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Sections are read to the end too, so that a bad page shows here and now.
	return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
		return b.ForEach(func(k, v []byte) error { return nil })
	})
}

func damaged(path string, why error) error {
	return fmt.Errorf("the store %s is damaged (%w); nothing was changed, restore it from a copy or give another file", path, why)
}

// explain says what an error of opening means. What is no error of the system is
// about the file's contents.
func explain(path string, err error) error {
	_, system := errors.AsType[*fs.PathError](err)
	_, number := errors.AsType[syscall.Errno](err)
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		if pid := lockHolder(path); pid != "" {
			return fmt.Errorf("the store %s is in use by another leno process (pid %s)", path, pid)
		}
		return fmt.Errorf("the store %s is in use by another leno process", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the store %s cannot be opened for writing by this user: %w", path, err)
	case system, number:
		return fmt.Errorf("open store %s: %w", path, err)
	}
	return damaged(path, err)
}

// lockHolder reads from /proc/locks who holds the file's flock, "" when that
// cannot be told.
func lockHolder(path string) string {
	var stat syscall.Stat_t
	if syscall.Stat(path, &stat) != nil {
		return ""
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer f.Close()
	inode := fmt.Sprintf(":%d", stat.Ino)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 708 00:2b:1234 0 EOF
		word := strings.Fields(lines.Text())
		if len(word) >= 6 && word[1] == "FLOCK" && strings.HasSuffix(word[5], inode) {
			return word[4]
		}
	}
	return ""
}

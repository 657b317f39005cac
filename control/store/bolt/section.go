package bolt

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/leno-mesh/leno/control/store"
)

// Section implements store.Store.
func (s *Store) Section(name string) store.Section {
	return &section{store: s, name: name, bucket: []byte(sectionPrefix + name)}
}

type section struct {
	store  *Store
	name   string
	bucket []byte
}

func revisionOf(tx *bbolt.Tx) uint64 {
	return binary.BigEndian.Uint64(tx.Bucket(metaBucket()).Get(revisionKey()))
}

// decode copies an entry out of the file's memory map.
func decode(k, v []byte) store.Entry {
	return store.Entry{
		Key:     string(k),
		Version: strconv.FormatUint(binary.BigEndian.Uint64(v), 10),
		Value:   bytes.Clone(v[8:]),
	}
}

// Get implements store.Section.
func (s *section) Get(key string) (e store.Entry, err error) {
	err = s.store.view(func(tx *bbolt.Tx) error {
		var v []byte
		if b := tx.Bucket(s.bucket); b != nil {
			v = b.Get([]byte(key))
		}
		if v == nil {
			return store.NotFound(s.name + "/" + key)
		}
		e = decode([]byte(key), v)
		return nil
	})
	return e, err
}

// List implements store.Section.
func (s *section) List(prefix, after string, limit int) (out []store.Entry, err error) {
	err = s.store.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(s.bucket)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Seek([]byte(max(prefix, after))); k != nil; k, v = c.Next() {
			switch {
			case string(k) <= after && after != "":
				continue
			case !strings.HasPrefix(string(k), prefix), limit > 0 && len(out) == limit:
				return nil
			}
			out = append(out, decode(k, v))
		}
		return nil
	})
	return out, err
}

// Put implements store.Section.
func (s *section) Put(key string, value []byte, version string) (next string, err error) {
	err = s.store.update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(s.bucket)
		if err != nil {
			return err
		}
		if have := versionOf(b, key); version != store.AnyVersion && version != have {
			return &store.ConflictError{Name: s.name + "/" + key, Have: have, Want: version}
		}
		sequence, err := b.NextSequence()
		if err != nil {
			return err
		}
		next = strconv.FormatUint(sequence, 10)
		return b.Put([]byte(key), append(number(sequence), value...))
	})
	if err != nil {
		return "", err
	}
	return next, nil
}

// Delete implements store.Section.
func (s *section) Delete(key, version string) error {
	return s.store.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(s.bucket)
		have := ""
		if b != nil {
			have = versionOf(b, key)
		}
		switch {
		case have == "" && version == store.AnyVersion:
			return nil
		case have == "":
			return store.NotFound(s.name + "/" + key)
		case version != store.AnyVersion && version != have:
			return &store.ConflictError{Name: s.name + "/" + key, Have: have, Want: version}
		}
		return b.Delete([]byte(key))
	})
}

func versionOf(b *bbolt.Bucket, key string) string {
	if v := b.Get([]byte(key)); v != nil {
		return strconv.FormatUint(binary.BigEndian.Uint64(v), 10)
	}
	return ""
}

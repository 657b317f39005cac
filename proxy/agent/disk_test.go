package agent

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/xds"
)

func some() []xds.Resource {
	return []xds.Resource{
		{Name: "a", Version: "1", TypeURL: xds.ClusterType, Body: []byte("body")},
		{Name: "b/c", Version: "2", TypeURL: xds.ListenerType, Body: bytes.Repeat([]byte{0, 1, 2}, 1000)},
	}
}

func TestResourcesSurviveOnDisk(t *testing.T) {
	dir := t.TempDir()
	if r, err := loadResources(dir); err != nil || r != nil {
		t.Errorf("an empty directory holds %v, %v", r, err)
	}
	if err := saveResources(dir, some()); err != nil {
		t.Fatal(err)
	}
	have, err := loadResources(dir)
	if err != nil || !reflect.DeepEqual(have, some()) {
		t.Errorf("%v %v", have, err)
	}
	if i, err := os.Stat(filepath.Join(dir, resourcesFile)); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v", i.Mode(), err)
	}
}

func TestADamagedFileOfResourcesIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	if err := saveResources(dir, some()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, resourcesFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	for what, b := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)-1], "half": good[:len(good)/2], "flipped": flipped, "longer": append(bytes.Clone(good), 0), "another version": append([]byte("LENORES9"), good[8:]...),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := loadResources(dir)
		if r != nil || err == nil || !strings.HasSuffix(err.Error(), "it is ignored until the control plane answers") {
			t.Errorf("%s: %d resources, %v", what, len(r), err)
		}
	}
}

func FuzzDecodeResources(f *testing.F) {
	dir := f.TempDir()
	if err := saveResources(dir, some()); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(filepath.Join(dir, resourcesFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:20])
	f.Add([]byte(resourcesMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeResources(b)
		_, _ = decodeResources(sealed(b)) // past the checksum
	})
}

// sealed gives a body its magic word and the right checksum.
func sealed(body []byte) []byte {
	b := append([]byte(resourcesMagic), body...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

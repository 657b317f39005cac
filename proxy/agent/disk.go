package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"

	"github.com/leno-mesh/leno/lib/durable"
	"github.com/leno-mesh/leno/xds"
	"github.com/leno-mesh/leno/xds/wire"
)

// The last good resources on disk: a magic word with the format's version,
// discovery.v3.Resource messages each behind its length, and a CRC-32 of it all.
const (
	resourcesFile  = "resources"
	resourcesMagic = "LENORES1"
	maxResources   = 256 << 20
)

// saveResources replaces the file in dir.
func saveResources(dir string, resources []xds.Resource) error {
	b := []byte(resourcesMagic)
	for _, r := range resources {
		m := &wire.Resource{Name: r.Name, Version: r.Version, Resource: &wire.Any{TypeURL: r.TypeURL, Value: r.Body}}
		p := wire.AppendProto(nil, m)
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	if err := durable.WriteFile(filepath.Join(dir, resourcesFile), b); err != nil {
		return fmt.Errorf("save resources: %w", err)
	}
	return nil
}

// loadResources reads the file in dir; without one there are none. A damaged
// file is an error, and nothing of it is used.
func loadResources(dir string) ([]xds.Resource, error) {
	name := filepath.Join(dir, resourcesFile)
	b, err := durable.ReadPrivate(name, maxResources)
	if durable.IsMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	resources, err := decodeResources(b)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; it is ignored until the control plane answers", name, err)
	}
	return resources, nil
}

func decodeResources(b []byte) ([]xds.Resource, error) {
	if len(b) < len(resourcesMagic)+4 || string(b[:len(resourcesMagic)]) != resourcesMagic {
		return nil, errors.New("it is no file of resources of this version")
	}
	body, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, errors.New("it is damaged: its checksum is wrong")
	}
	body = body[len(resourcesMagic):]
	var out []xds.Resource
	for len(body) > 0 {
		n, used := binary.Uvarint(body)
		if used <= 0 || n > uint64(len(body)-used) {
			return nil, errors.New("it is damaged: a length is wrong")
		}
		m := new(wire.Resource)
		if _, err := wire.Unmarshal(body[used:used+int(n)], m); err != nil {
			return nil, err
		}
		if m.Resource == nil {
			return nil, errors.New("it is damaged: a resource has no body")
		}
		out = append(out, xds.Resource{Name: m.Name, Version: m.Version, TypeURL: m.Resource.TypeURL, Body: m.Resource.Value})
		body = body[used+int(n):]
	}
	return out, nil
}

package identity

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"time"

	"github.com/leno-mesh/leno/lib/durable"
)

// The state file holds everything that belongs together, so that no crash can
// part a key from its certificate:
//
//	"LENOID" version(2) { tag(1) length(4) value }… crc32c(4)
//
// Integers are big-endian; the checksum is over all before it.
const (
	stateFile    = "identity.state"
	stateMagic   = "LENOID"
	stateVersion = 1
	maxState     = 1 << 20

	tagKey     = 1 // PKCS#8 in DER, once
	tagChain   = 2 // DER, leaf first
	tagRoot    = 3 // DER
	tagRenewAt = 4 // milliseconds since 1970, 8 bytes, once
)

// state is an identity as it is kept on disk.
type state struct {
	key     crypto.Signer
	chain   [][]byte
	roots   [][]byte
	renewAt time.Time
}

func (s *state) encode() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(s.key)
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint16([]byte(stateMagic), stateVersion)
	put := func(tag byte, value []byte) {
		out = append(out, tag)
		out = binary.BigEndian.AppendUint32(out, uint32(len(value)))
		out = append(out, value...)
	}
	put(tagKey, key)
	for _, c := range s.chain {
		put(tagChain, c)
	}
	for _, c := range s.roots {
		put(tagRoot, c)
	}
	put(tagRenewAt, binary.BigEndian.AppendUint64(nil, uint64(s.renewAt.UnixMilli())))
	return binary.BigEndian.AppendUint32(out, checksum(out)), nil
}

func checksum(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

func decode(data []byte) (*state, error) {
	const head = len(stateMagic) + 2
	if len(data) < head+4 || !bytes.HasPrefix(data, []byte(stateMagic)) {
		return nil, errors.New("it is no identity of a Leno proxy")
	}
	if v := binary.BigEndian.Uint16(data[len(stateMagic):]); v != stateVersion {
		return nil, fmt.Errorf("its format is version %d, this proxy reads version %d", v, stateVersion)
	}
	body, sum := data[:len(data)-4], binary.BigEndian.Uint32(data[len(data)-4:])
	if checksum(body) != sum {
		return nil, errors.New("its checksum is wrong")
	}
	s := &state{}
	for rest := body[head:]; len(rest) > 0; {
		if len(rest) < 5 {
			return nil, errors.New("it ends in the middle")
		}
		tag, n := rest[0], binary.BigEndian.Uint32(rest[1:])
		rest = rest[5:]
		if uint64(n) > uint64(len(rest)) {
			return nil, errors.New("it ends in the middle")
		}
		if err := s.set(tag, rest[:n]); err != nil {
			return nil, err
		}
		rest = rest[n:]
	}
	if s.key == nil || len(s.chain) == 0 || len(s.roots) == 0 || s.renewAt.IsZero() {
		return nil, errors.New("it is not complete")
	}
	return s, nil
}

func (s *state) set(tag byte, value []byte) error {
	switch tag {
	case tagKey:
		key, err := x509.ParsePKCS8PrivateKey(value)
		if err != nil {
			return errors.New("its key cannot be parsed")
		}
		signer, ok := key.(crypto.Signer)
		if !ok || s.key != nil {
			return errors.New("its key cannot sign or is there twice")
		}
		s.key = signer
	case tagChain:
		s.chain = append(s.chain, bytes.Clone(value))
	case tagRoot:
		s.roots = append(s.roots, bytes.Clone(value))
	case tagRenewAt:
		if len(value) != 8 || !s.renewAt.IsZero() {
			return errors.New("its time of renewal is damaged")
		}
		s.renewAt = time.UnixMilli(int64(binary.BigEndian.Uint64(value)))
	default:
		return fmt.Errorf("it has the unknown part %d", tag)
	}
	return nil
}

// load returns nil where there is no state yet.
func load(dir string) (*state, error) {
	path := filepath.Join(dir, stateFile)
	data, err := durable.ReadPrivate(path, maxState)
	if durable.IsMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w; remove the file and give a join token to enrol again", path, err)
	}
	return s, nil
}

func (s *state) save(dir string) error {
	data, err := s.encode()
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	return durable.WriteFile(filepath.Join(dir, stateFile), data)
}

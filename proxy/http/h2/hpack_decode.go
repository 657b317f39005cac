package h2

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// tableSize is the size of our dynamic table in bytes as RFC 7541, section 4.1,
// counts them: the protocol's default, so that no SETTINGS is needed.
const tableSize = 4096

// Errors of a header block; each is a connection error, for the dynamic table
// is lost with it.
var (
	errTruncated  = errors.New("the header block ends in the middle of a field")
	errIndex      = errors.New("the header block has an index outside the tables")
	errInteger    = errors.New("the header block has an integer that is too large")
	errSizeUpdate = errors.New("the header block has a wrong table size update")
	errHuffman    = errors.New("the header block has a wrong Huffman code")
)

// decoder decodes header blocks (RFC 7541). Its dynamic table keeps names and
// values as bytes in one arena, so that it allocates nothing once it has grown;
// fields are views, valid until the next call of next.
type decoder struct {
	block   []byte
	first   bool // no field of the block was decoded
	updates int  // table size updates of the block

	entries []entry // a ring: newest at head-1
	head    int     // where the next entry goes
	count   int
	arena   []byte // names and values of the entries, oldest first
	size    int    // as section 4.1 counts
	max     int    // the size that the encoder chose
	literal scratch
}

// entry is a field of the dynamic table: n bytes of name and v of value at
// arena[at:].
type entry struct{ at, n, v int }

// scratch gathers the literals of one field.
type scratch []byte

func (s *scratch) Write(p []byte) (int, error) {
	*s = append(*s, p...)
	return len(p), nil
}

// start begins a block, which must stay as it is until it is decoded.
func (d *decoder) start(block []byte) {
	if d.entries == nil {
		d.max = tableSize
	}
	d.block, d.first, d.updates = block, true, 0
}

// next returns the next field; ok is false at the end of the block.
func (d *decoder) next() (f pair, ok bool, err error) {
	for len(d.block) > 0 {
		switch b := d.block[0]; {
		case b&0x80 != 0: // indexed, section 6.1
			i, err := d.integer(7)
			if err != nil {
				return f, false, err
			}
			d.first = false
			f, err = d.at(i)
			return f, err == nil, err
		case b&0xe0 == 0x20: // size update, section 6.3
			if err := d.resize(); err != nil {
				return f, false, err
			}
		default: // literal, section 6.2
			d.first = false
			f, err = d.literalField(b&0xc0 == 0x40)
			return f, err == nil, err
		}
	}
	return f, false, nil
}

func (d *decoder) resize() error {
	n, err := d.integer(5)
	if err != nil {
		return err
	}
	if d.updates++; !d.first || n > tableSize || d.updates > 2 {
		return errSizeUpdate
	}
	if d.entries == nil {
		d.grow()
	}
	d.max = n
	d.evict(0)
	return nil
}

func (d *decoder) literalField(index bool) (f pair, err error) {
	bits := uint(4)
	if index {
		bits = 6
	}
	i, err := d.integer(bits)
	if err != nil {
		return f, err
	}
	d.literal = d.literal[:0]
	if i > 0 {
		known, err := d.at(i)
		if err != nil {
			return f, err
		}
		d.literal = append(d.literal, known.name...)
	} else if err := d.text(); err != nil {
		return f, err
	}
	n := len(d.literal)
	if err := d.text(); err != nil {
		return f, err
	}
	f = pair{d.literal[:n:n], d.literal[n:]}
	if index {
		d.insert(f)
	}
	return f, nil
}

// integer reads a prefixed integer (section 5.1) of at most 28 bits.
func (d *decoder) integer(bits uint) (int, error) {
	mask := 1<<bits - 1
	v := int(d.block[0]) & mask
	d.block = d.block[1:]
	if v < mask {
		return v, nil
	}
	for shift := uint(0); shift < 28; shift += 7 {
		if len(d.block) == 0 {
			return 0, errTruncated
		}
		b := d.block[0]
		d.block = d.block[1:]
		v += int(b&0x7f) << shift
		if b&0x80 == 0 {
			return v, nil
		}
	}
	return 0, errInteger
}

// text appends a string (section 5.2) to the literals.
func (d *decoder) text() error {
	if len(d.block) == 0 {
		return errTruncated
	}
	huffman := d.block[0]&0x80 != 0
	n, err := d.integer(7)
	if err != nil {
		return err
	}
	if n > len(d.block) {
		return errTruncated
	}
	s := d.block[:n]
	d.block = d.block[n:]
	if !huffman {
		d.literal = append(d.literal, s...)
		return nil
	}
	if _, err := hpack.HuffmanDecode(&d.literal, s); err != nil {
		return errHuffman
	}
	return nil
}

// at returns the field of an index: the static table, then the newest first.
func (d *decoder) at(i int) (pair, error) {
	if i > 0 && i < len(staticTable) {
		return staticTable[i], nil
	}
	i -= len(staticTable)
	if i < 0 || i >= d.count {
		return pair{}, errIndex
	}
	e := d.entries[(d.head-1-i+2*len(d.entries))%len(d.entries)]
	value := e.at + e.n
	return pair{d.arena[e.at:value:value], d.arena[value : value+e.v : value+e.v]}, nil
}

func (d *decoder) grow() {
	d.entries = make([]entry, tableSize/32)
	d.arena = make([]byte, 0, 2*tableSize)
}

// insert adds a field that shares no memory with the table.
func (d *decoder) insert(f pair) {
	need := len(f.name) + len(f.value) + 32
	if d.entries == nil {
		d.grow()
	}
	d.evict(need)
	if need > d.max {
		return // section 4.4: it only empties the table
	}
	if d.count == 0 {
		d.arena = d.arena[:0]
	} else if len(d.arena)+need > cap(d.arena) {
		d.compact()
	}
	d.entries[d.head] = entry{len(d.arena), len(f.name), len(f.value)}
	d.arena = append(append(d.arena, f.name...), f.value...)
	d.head = (d.head + 1) % len(d.entries)
	d.count++
	d.size += need
}

// evict drops the oldest entries until need more bytes fit.
func (d *decoder) evict(need int) {
	for d.count > 0 && d.size+need > d.max {
		e := &d.entries[d.oldest()]
		d.size -= e.n + e.v + 32
		d.count--
	}
}

func (d *decoder) oldest() int {
	return (d.head - d.count + len(d.entries)) % len(d.entries)
}

// compact moves the live bytes to the front of the arena.
func (d *decoder) compact() {
	first := d.oldest()
	from := d.entries[first].at
	d.arena = d.arena[:copy(d.arena, d.arena[from:])]
	for i := range d.count {
		d.entries[(first+i)%len(d.entries)].at -= from
	}
}

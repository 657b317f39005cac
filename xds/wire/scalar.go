package wire

import (
	"maps"
	"math"
	"slices"
	"time"
)

// scalar is a value on its way between a format and a struct: numbers,
// booleans and durations (nanoseconds) are in bits. Only the types that
// generated fields have are known here; wiregen refuses others.
type scalar struct {
	bits uint64
	text string
	data []byte
}

// store sets the field behind p, or appends to it if it is repeated.
func store(p any, v scalar) {
	switch p := p.(type) {
	case *string:
		*p = v.text
	case *[]byte:
		*p = v.data
	case *bool:
		*p = v.bits != 0
	case *int32:
		*p = int32(v.bits)
	case *int64:
		*p = int64(v.bits)
	case *uint32:
		*p = uint32(v.bits)
	case *uint64:
		*p = v.bits
	case *float64:
		*p = math.Float64frombits(v.bits)
	case enumeration:
		p.store(int32(v.bits))
	case **string:
		*p = new(v.text)
	case **bool:
		*p = new(v.bits != 0)
	case **uint32:
		*p = new(uint32(v.bits))
	case **uint64:
		*p = new(v.bits)
	case **time.Duration:
		*p = new(time.Duration(v.bits))
	case *[]string:
		*p = append(*p, v.text)
	case *[][]byte:
		*p = append(*p, v.data)
	case *[]uint32:
		*p = append(*p, uint32(v.bits))
	}
}

// load returns the kth value of the field behind p and whether it is there: a
// field without presence is there if it is not zero.
func load(p any, f *field, k int) (scalar, bool) {
	switch p := p.(type) {
	case *string:
		return scalar{text: *p}, k == 0 && *p != ""
	case *[]byte:
		return scalar{data: *p}, k == 0 && (len(*p) > 0 || f.oneof > 0 && *p != nil)
	case *bool:
		return bits(boolBits(*p), k == 0 && *p)
	case *int32:
		return bits(uint64(int64(*p)), k == 0 && *p != 0)
	case *int64:
		return bits(uint64(*p), k == 0 && *p != 0)
	case *uint32:
		return bits(uint64(*p), k == 0 && *p != 0)
	case *uint64:
		return bits(*p, k == 0 && *p != 0)
	case *float64:
		return bits(math.Float64bits(*p), k == 0 && math.Float64bits(*p) != 0)
	case enumeration:
		v, ok := p.load(k)
		return bits(uint64(int64(v)), ok)
	}
	return loadMany(p, k)
}

// loadMany is load for optional and repeated fields.
func loadMany(p any, k int) (scalar, bool) {
	switch p := p.(type) {
	case **string:
		if k == 0 && *p != nil {
			return scalar{text: **p}, true
		}
	case **bool:
		return pointed(*p, k, boolBits)
	case **uint32:
		return pointed(*p, k, func(n uint32) uint64 { return uint64(n) })
	case **uint64:
		return pointed(*p, k, func(n uint64) uint64 { return n })
	case **time.Duration:
		return pointed(*p, k, func(n time.Duration) uint64 { return uint64(n) })
	case *[]string:
		if k < len(*p) {
			return scalar{text: (*p)[k]}, true
		}
	case *[][]byte:
		if k < len(*p) {
			return scalar{data: (*p)[k]}, true
		}
	case *[]uint32:
		if k < len(*p) {
			return scalar{bits: uint64((*p)[k])}, true
		}
	}
	return scalar{}, false
}

func bits(n uint64, ok bool) (scalar, bool) { return scalar{bits: n}, ok }

func boolBits(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func pointed[T any](p *T, k int, convert func(T) uint64) (scalar, bool) {
	if k > 0 || p == nil {
		return scalar{}, false
	}
	return scalar{bits: convert(*p)}, true
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

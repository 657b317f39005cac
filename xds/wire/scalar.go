package wire

import (
	"maps"
	"math"
	"slices"
	"time"
)

// scalar is a value on its way between a format and a struct: numbers,
// booleans and durations (nanoseconds) are in bits.
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
	case *float32:
		*p = float32(math.Float64frombits(v.bits))
	case *float64:
		*p = math.Float64frombits(v.bits)
	case enumeration:
		p.store(int32(v.bits))
	default:
		if !storeOptional(p, v) {
			storeRepeated(p, v)
		}
	}
}

func storeOptional(p any, v scalar) bool {
	switch p := p.(type) {
	case **string:
		*p = &v.text
	case **bool:
		*p = new(v.bits != 0)
	case **int32:
		*p = new(int32(v.bits))
	case **int64:
		*p = new(int64(v.bits))
	case **uint32:
		*p = new(uint32(v.bits))
	case **uint64:
		*p = new(v.bits)
	case **float32:
		*p = new(float32(math.Float64frombits(v.bits)))
	case **float64:
		*p = new(math.Float64frombits(v.bits))
	case **time.Duration:
		*p = new(time.Duration(v.bits))
	default:
		return false
	}
	return true
}

func storeRepeated(p any, v scalar) {
	switch p := p.(type) {
	case *[]string:
		*p = append(*p, v.text)
	case *[][]byte:
		*p = append(*p, v.data)
	case *[]bool:
		*p = append(*p, v.bits != 0)
	case *[]int32:
		*p = append(*p, int32(v.bits))
	case *[]int64:
		*p = append(*p, int64(v.bits))
	case *[]uint32:
		*p = append(*p, uint32(v.bits))
	case *[]uint64:
		*p = append(*p, v.bits)
	case *[]float64:
		*p = append(*p, math.Float64frombits(v.bits))
	case *[]time.Duration:
		*p = append(*p, time.Duration(v.bits))
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
	case *float32:
		return bits(math.Float64bits(float64(*p)), k == 0 && math.Float32bits(*p) != 0)
	case *float64:
		return bits(math.Float64bits(*p), k == 0 && math.Float64bits(*p) != 0)
	case enumeration:
		v, ok := p.load(k)
		return bits(uint64(int64(v)), ok)
	}
	if v, ok, optional := loadOptional(p, k); optional {
		return v, ok
	}
	return loadRepeated(p, k)
}

func loadOptional(p any, k int) (v scalar, ok, optional bool) {
	switch p := p.(type) {
	case **string:
		if k > 0 || *p == nil {
			return scalar{}, false, true
		}
		return scalar{text: **p}, true, true
	case **bool:
		v, ok = pointed(*p, k, boolBits)
	case **int32:
		v, ok = pointed(*p, k, func(n int32) uint64 { return uint64(int64(n)) })
	case **int64:
		v, ok = pointed(*p, k, func(n int64) uint64 { return uint64(n) })
	case **uint32:
		v, ok = pointed(*p, k, func(n uint32) uint64 { return uint64(n) })
	case **uint64:
		v, ok = pointed(*p, k, func(n uint64) uint64 { return n })
	case **float32:
		v, ok = pointed(*p, k, func(n float32) uint64 { return math.Float64bits(float64(n)) })
	case **float64:
		v, ok = pointed(*p, k, math.Float64bits)
	case **time.Duration:
		v, ok = pointed(*p, k, func(n time.Duration) uint64 { return uint64(n) })
	default:
		return scalar{}, false, false
	}
	return v, ok, true
}

func loadRepeated(p any, k int) (scalar, bool) {
	switch p := p.(type) {
	case *[]string:
		if k < len(*p) {
			return scalar{text: (*p)[k]}, true
		}
	case *[][]byte:
		if k < len(*p) {
			return scalar{data: (*p)[k]}, true
		}
	case *[]bool:
		return element(*p, k, boolBits)
	case *[]int32:
		return element(*p, k, func(n int32) uint64 { return uint64(int64(n)) })
	case *[]int64:
		return element(*p, k, func(n int64) uint64 { return uint64(n) })
	case *[]uint32:
		return element(*p, k, func(n uint32) uint64 { return uint64(n) })
	case *[]uint64:
		return element(*p, k, func(n uint64) uint64 { return n })
	case *[]float64:
		return element(*p, k, math.Float64bits)
	case *[]time.Duration:
		return element(*p, k, func(n time.Duration) uint64 { return uint64(n) })
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

func element[T any](list []T, k int, convert func(T) uint64) (scalar, bool) {
	if k >= len(list) {
		return scalar{}, false
	}
	return scalar{bits: convert(list[k])}, true
}

func sortedKeys[V any](m map[string]V) []string {
	return slices.Sorted(maps.Keys(m))
}

package wire

import "strconv"

// enum lists the values of an enumeration.
type enum struct {
	numbers []int32
	names   []string
}

func (e *enum) name(number int32) (string, bool) {
	for i, n := range e.numbers {
		if n == number {
			return e.names[i], true
		}
	}
	return strconv.Itoa(int(number)), false
}

func (e *enum) number(name string) (int32, bool) {
	for i, n := range e.names {
		if n == name {
			return e.numbers[i], true
		}
	}
	return 0, false
}

// enumeration is the storage of an enum that is not a plain value.
type enumeration interface {
	load(k int) (int32, bool)
	store(v int32)
}

type optionalEnum[T ~int32] struct{ p **T }

func (o optionalEnum[T]) load(k int) (int32, bool) {
	if k > 0 || *o.p == nil {
		return 0, false
	}
	return int32(**o.p), true
}

func (o optionalEnum[T]) store(v int32) { *o.p = new(T(v)) }

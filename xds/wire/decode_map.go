package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// entry reads one entry of a map.
func (d *decoder) entry(data []byte, f *field, p any, depth int) error {
	var key string
	var value []byte
	err := d.fields(data, f.name, func(number protowire.Number, typ protowire.Type, data []byte, _ scalar) (err error) {
		switch {
		case number == 1 && typ == protowire.BytesType:
			key, err = d.text(data, f)
		case number == 2 && typ == protowire.BytesType:
			if value != nil && f.kind != kindStringMap {
				return d.fail(f.name, errTwice)
			}
			value = data
		default:
			d.unknown(f, number)
		}
		return err
	}, kindUint64)
	if err != nil {
		return err
	}
	d.path = append(d.path, step{name: f.name, index: -1, key: key, keyed: true})
	defer func() { d.path = d.path[:len(d.path)-1] }()
	switch p := p.(type) {
	case *map[string]string:
		text, err := d.text(value, f)
		put(p, key, text)
		return err
	case *map[string]map[string]any:
		fresh := map[string]any{}
		put(p, key, fresh)
		return d.structure(value, f, &fresh, depth+1)
	case mapping:
		return d.child(value, p.put(key), f.raw, depth+1)
	}
	return nil
}

func put[V any](m *map[string]V, key string, value V) {
	if *m == nil {
		*m = make(map[string]V)
	}
	(*m)[key] = value
}

// structure merges a google.protobuf.Struct.
func (d *decoder) structure(data []byte, f *field, m *map[string]any, depth int) error {
	if depth > maxDepth {
		return errDepth
	}
	if *m == nil {
		*m = map[string]any{}
	}
	return d.fields(data, f.name, func(number protowire.Number, typ protowire.Type, data []byte, _ scalar) error {
		if number != 1 || typ != protowire.BytesType {
			d.unknown(f, number)
			return nil
		}
		var key string
		var value any
		err := d.fields(data, f.name, func(number protowire.Number, typ protowire.Type, data []byte, _ scalar) (err error) {
			switch {
			case number == 1 && typ == protowire.BytesType:
				key, err = d.text(data, f)
			case number == 2 && typ == protowire.BytesType:
				value, err = d.value(data, f, value, depth+2)
			default:
				d.unknown(f, number)
			}
			return err
		}, kindUint64)
		(*m)[key] = value
		return err
	}, kindUint64)
}

// value merges a google.protobuf.Value into v. One that has no kind is nil.
func (d *decoder) value(data []byte, f *field, v any, depth int) (any, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	err := d.fields(data, f.name, func(number protowire.Number, typ protowire.Type, data []byte, n scalar) (err error) {
		switch {
		case number == 1 && typ == protowire.VarintType:
			v = nil
		case number == 2 && typ == protowire.Fixed64Type:
			v = math.Float64frombits(n.bits)
		case number == 3 && typ == protowire.BytesType:
			v, err = d.text(data, f)
		case number == 4 && typ == protowire.VarintType:
			v = n.bits != 0
		case number == 5 && typ == protowire.BytesType:
			m, _ := v.(map[string]any)
			err = d.structure(data, f, &m, depth+1)
			v = m
		case number == 6 && typ == protowire.BytesType:
			list, _ := v.([]any)
			v, err = d.list(data, f, list, depth+1)
		default:
			d.unknown(f, number)
		}
		return err
	}, kindDouble)
	return v, err
}

// list appends a google.protobuf.ListValue to a list.
func (d *decoder) list(data []byte, f *field, list []any, depth int) ([]any, error) {
	if list == nil {
		list = []any{}
	}
	err := d.fields(data, f.name, func(number protowire.Number, typ protowire.Type, data []byte, _ scalar) error {
		if number != 1 || typ != protowire.BytesType {
			d.unknown(f, number)
			return nil
		}
		v, err := d.value(data, f, nil, depth+1)
		list = append(list, v)
		return err
	}, kindUint64)
	return list, err
}

package main

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

func main() {
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		d := mt.Descriptor()
		s := string(d.FullName())
		for i := range d.Fields().Len() {
			f := d.Fields().Get(i)
			t := f.Kind().String()
			if f.Message() != nil {
				t = string(f.Message().FullName())
			}
			o := ""
			if f.ContainingOneof() != nil {
				o = " oneof " + string(f.ContainingOneof().Name())
			}
			if dep := f.Options().ProtoReflect().Get(f.Options().ProtoReflect().Descriptor().Fields().ByName("deprecated")).Bool(); dep {
				o += " DEPRECATED"
			}
			fmt.Println(s, f.Number(), f.Name(), f.Cardinality(), t, o)
		}
		if d.Fields().Len() == 0 {
			fmt.Println(s, "EMPTY")
		}
		return true
	})
}

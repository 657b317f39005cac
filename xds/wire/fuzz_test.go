package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// ours are the malformations that only this package refuses.
func ours(err error) bool {
	for _, e := range []error{errDepth, errDuration, errSplit, errTwice} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func FuzzUnmarshalAgreesWithProtobuf(f *testing.F) {
	for i, m := range roots() {
		g := &filler{t: f, rng: rand.New(rand.NewPCG(uint64(i), 2))}
		p := peer(f, m)
		g.fill(p.ProtoReflect(), fresh(m), 1)
		b, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(i), b)
	}
	all := roots()
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		m := fresh(all[int(which)%len(all)])
		p := peer(t, m)
		report, err := Unmarshal(b, m)
		theirs := proto.Unmarshal(b, p)
		if err != nil {
			if theirs == nil && !ours(err) {
				// Only protojson looks into the messages of an Any.
				if _, inner := protojson.Marshal(p); inner == nil {
					t.Fatalf("refused what protobuf accepts: %v", err)
				}
			}
			return
		}
		if !json.Valid(AppendJSON(nil, m)) {
			t.Fatalf("not JSON: %s", AppendJSON(nil, m))
		}
		if len(report.Unsupported)+len(report.Ignored) > 0 {
			return
		}
		if theirs != nil {
			t.Fatalf("accepted what protobuf refuses: %v", theirs)
		}
		want, err := protojson.Marshal(p)
		if err != nil {
			return
		}
		back := peer(t, m)
		if err := proto.Unmarshal(AppendProto(nil, m), back); err != nil {
			t.Fatal(err)
		}
		have, err := protojson.Marshal(back)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(generic(want), generic(have)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func FuzzReadYAMLNeverPanicsAndRoundTrips(f *testing.F) {
	for _, name := range []string{"front-proxy.yaml", "ads.json", "wrong.yaml"} {
		f.Add(testFile(f, name))
	}
	f.Add([]byte("node: &a { metadata: { b: *a } }"))
	f.Add([]byte(`{"node":{"metadata":{"a":[null,1e3,"\u0000",{"b":false}]}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Bootstrap
		if _, err := ReadYAML(b, &m); err != nil {
			return
		}
		first := AppendProto(nil, &m)
		var again Bootstrap
		report, err := Unmarshal(first, &again)
		clean(t, report, err)
		if second := AppendProto(nil, &again); !bytes.Equal(first, second) {
			t.Fatalf("%x is not stable: %x", first, second)
		}
		dump := AppendJSON(nil, &m)
		if !json.Valid(dump) {
			t.Fatalf("not JSON: %s", dump)
		}
	})
}

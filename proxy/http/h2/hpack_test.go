package h2

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"

	"github.com/leno-mesh/leno/proxy/http"
)

type named struct{ name, value string }

func decodeOurs(d *decoder, block []byte) (fields []named, err error) {
	d.start(block)
	for {
		f, ok, err := d.next()
		if err != nil || !ok {
			return fields, err
		}
		fields = append(fields, named{string(f.name), string(f.value)})
	}
}

func decodeTheirs(d *hpack.Decoder, block []byte) (fields []named, err error) {
	d.SetEmitFunc(func(f hpack.HeaderField) { fields = append(fields, named{f.Name, f.Value}) })
	if _, err = d.Write(block); err == nil {
		err = d.Close()
	}
	return fields, err
}

// FuzzDecoder compares the decoder with another one over a connection's worth of
// blocks. Each block is a length byte and its bytes.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\x03\x82\x86\x84\x14\x40\x0acustom-key\x05value\x01\xbe"))
	f.Add([]byte("\x02\x20\x82\x04\x3f\xe1\x1f\x82"))
	f.Add([]byte("\x11\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff\xbe\xbf"))
	f.Fuzz(func(t *testing.T, in []byte) {
		ours := new(decoder)
		theirs := hpack.NewDecoder(tableSize, nil)
		for len(in) > 0 {
			n := min(int(in[0]), len(in)-1)
			block := in[1 : 1+n]
			in = in[1+n:]
			want, wantErr := decodeTheirs(theirs, block)
			got, err := decodeOurs(ours, block)
			if err == errInteger || err == errSizeUpdate && (ours.updates > 2 || !ours.first) {
				return // we are stricter
			}
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("%x: %v, others say %v", block, err, wantErr)
			}
			if len(got) != len(want) {
				t.Fatalf("%x: %d fields, others read %d", block, len(got), len(want))
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%x: field %d is %q, others read %q", block, i, got[i], want[i])
				}
			}
			if err != nil {
				return
			}
			if ours.size > tableSize || len(ours.arena) > cap(ours.arena) {
				t.Fatalf("the table holds %d bytes", ours.size)
			}
		}
	})
}

func TestDecoderFollowsOtherEncoderThroughEvictions(t *testing.T) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	d := new(decoder)
	for round := range 3000 {
		b.Reset()
		if round%500 == 499 {
			enc.SetMaxDynamicTableSize(uint32(round * 7 % 4096))
		}
		want := []named{
			{"x-round", strings.Repeat("r", round%97)},
			{"x-" + strings.Repeat("n", round%53), strings.Repeat("v", round*31%1900)},
			{"accept", "*/*"}, {"x-same", "same"},
		}
		for _, f := range want {
			_ = enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
		}
		got, err := decodeOurs(d, b.Bytes())
		if err != nil || len(got) != len(want) {
			t.Fatalf("round %d: %v %v", round, got, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("round %d: got %q, want %q", round, got[i], want[i])
			}
		}
	}
}

func TestOtherDecoderReadsWhatWeEncode(t *testing.T) {
	q := request("PATCH", "/p?q=1", "authorization", "secret", "x-long", strings.Repeat("l", 5000), "te", "trailers",
		"connection", "close", "host", "other", "content-type", "text/plain")
	q.Length, q.Expect = 17, true
	r := response(418, "server", "leno", "set-cookie", "a=b")
	for _, c := range []struct {
		block []byte
		want  []named
	}{
		{appendRequest([]byte{emptyTable}, q), []named{{":method", "PATCH"}, {":scheme", "http"}, {":path", "/p?q=1"},
			{":authority", "example.test"}, {"content-length", "17"}, {"expect", "100-continue"}, {"authorization", "secret"},
			{"x-long", strings.Repeat("l", 5000)}, {"te", "trailers"}, {"content-type", "text/plain"}}},
		{appendResponse(nil, r), []named{{":status", "418"}, {"server", "leno"}, {"set-cookie", "a=b"}}},
		{appendResponse(nil, response(204)), []named{{":status", "204"}}},
	} {
		got, err := decodeTheirs(hpack.NewDecoder(tableSize, nil), c.block)
		if err != nil || len(got) != len(c.want) {
			t.Fatalf("%v %v", got, err)
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("got %q, want %q", got[i], c.want[i])
			}
		}
	}
}

func TestStaticTableHasTheNamesOfKnownFields(t *testing.T) {
	for id, i := range staticNames {
		if i != 0 && string(staticTable[i].name) != string(http.Name(id).Bytes()) {
			t.Errorf("%s has index %d, which is %s", http.Name(id).Bytes(), i, staticTable[i].name)
		}
	}
}

func TestDecoderDoesNotAllocate(t *testing.T) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	var blocks [][]byte
	for i := range 64 {
		b.Reset()
		_ = enc.WriteField(hpack.HeaderField{Name: ":path", Value: "/" + strings.Repeat("p", i*5)})
		_ = enc.WriteField(hpack.HeaderField{Name: "x-id", Value: strings.Repeat("7", 20+i)})
		blocks = append(blocks, bytes.Clone(b.Bytes()))
	}
	// The tables of both ends agree again after each round only if the encoder
	// starts anew, so each round begins with an empty table.
	blocks[0] = append([]byte{0x20, 0x3f, 0xe1, 0x1f}, blocks[0]...)
	d := new(decoder)
	round := func() {
		for _, block := range blocks {
			d.start(block)
			for {
				_, ok, err := d.next()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
			}
		}
	}
	round()
	if n := testing.AllocsPerRun(50, round); n > 0 && !racing {
		t.Errorf("%v allocations", n)
	}
}

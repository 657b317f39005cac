package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestScalarsFollowProto3JSON(t *testing.T) {
	tests := []struct {
		text string
		want string // as a dump, or empty for an error
	}{
		{`{port_value: 80}`, `{"port_value":80}`},
		{`{portValue: "80"}`, `{"port_value":80}`},
		{`{portValue: 8e1}`, `{"port_value":80}`},
		{`{portValue: 80.0}`, `{"port_value":80}`},
		{`{portValue: 0}`, `{"port_value":0}`},
		{`{portValue: null, address: ~}`, `{}`},
		{`{portValue: 80.5}`, ``},
		{`{portValue: -1}`, ``},
		{`{portValue: 4294967296}`, ``},
		{`{portValue: 4294967296.0}`, ``},
		{`{portValue: 99999999999999999999}`, ``},
		{`{portValue: true}`, ``},
		{`{portValue: eighty}`, ``},
		{`{portValue: 1e999}`, ``},
		{`{protocol: UDP}`, `{"protocol":"UDP"}`},
		{`{protocol: 1}`, `{"protocol":"UDP"}`},
		{`{protocol: udp}`, ``},
		{`{protocol: 7}`, ``},
		{`{address: "a", Address: "b"}`, ``},
		{`{address: a, port_value: 1, portValue: 1}`, ``},
		{`{address: 2001-01-01}`, `{"address":"2001-01-01"}`},
		{`{address: yes}`, `{"address":"yes"}`},
		{`{address: true}`, ``},
		{`{address: 10}`, ``},
		{`{address: [a]}`, ``},
		{`{address: !!binary aGk=}`, ``},
		{`{? [a] : b}`, ``},
		{`[a]`, ``},
		{`a`, ``},
		{``, ``},
		{"{}\n---\n{}", ``},
		{`{`, ``},
	}
	for _, test := range tests {
		t.Run(test.text, func(t *testing.T) {
			var m SocketAddress
			_, err := ReadYAML([]byte(test.text), &m)
			if test.want == "" {
				if err == nil {
					t.Fatalf("no error, have %s", AppendJSON(nil, &m))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if have := string(AppendJSON(nil, &m)); have != test.want {
				t.Errorf("want %s, have %s", test.want, have)
			}
		})
	}
}

func TestDurationsAreReadAndDumped(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		dump string
	}{
		{"0.25s", 250 * time.Millisecond, "0.250s"},
		{"5s", 5 * time.Second, "5s"},
		{"-1.5s", -1500 * time.Millisecond, "-1.500s"},
		{"-0.000000001s", -1, "-0.000000001s"},
		{"1.000001s", time.Second + time.Microsecond, "1.000001s"},
	}
	for _, test := range tests {
		var m Cluster
		if _, err := ReadYAML([]byte("connect_timeout: "+test.text), &m); err != nil {
			t.Error(err)
			continue
		}
		if *m.ConnectTimeout != test.want {
			t.Errorf("%s was read as %v", test.text, *m.ConnectTimeout)
		}
		if have, want := string(AppendJSON(nil, &m)), fmt.Sprintf(`{"connect_timeout":%q}`, test.dump); have != want {
			t.Errorf("want %s, have %s", want, have)
		}
	}
	for _, text := range []string{"5", "5m", "s", ".5s", "5.s", "1.0000000001s", "+1s", "1e3s", "99999999999s", "--1s", "0x1s", "1 s"} {
		var m Cluster
		if _, err := ReadYAML([]byte("connect_timeout: "+text), &m); err == nil {
			t.Errorf("%s was read as %v", text, *m.ConnectTimeout)
		}
	}
}

func TestBytesAreBase64(t *testing.T) {
	for _, text := range []string{"+/8=", "+/8", "-_8", "-_8="} {
		var m DataSource
		if _, err := ReadYAML([]byte("inline_bytes: "+text), &m); err != nil || string(m.InlineBytes) != "\xfb\xff" {
			t.Errorf("%s: %x, %v", text, m.InlineBytes, err)
		}
	}
}

func TestErrorsOfAFileAreBoundedAndTyped(t *testing.T) {
	_, err := ReadYAML([]byte("a: 1\n"+strings.Repeat("b: 1\n", 30)), new(Cluster))
	var first *FieldError
	if !errors.As(err, &first) || first.Line != 1 || first.Path != "a" {
		t.Errorf("first error %+v", first)
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != maxErrors+1 || lines[maxErrors] != "and 11 more" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

func TestAliasesAreFollowedAndBounded(t *testing.T) {
	var m Node
	text := "metadata:\n  a: &a { zone: x }\n  b: *a\nlocality: *a\n"
	if _, err := ReadYAML([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	if m.Locality.Zone != "x" {
		t.Errorf("%s", AppendJSON(nil, &m))
	}

	bomb := "metadata:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("  a%d: &a%d [%s]\n", i, i, strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10))
	}
	for name, text := range map[string]string{
		"a bomb":        bomb,
		"an alias loop": "metadata: &a { a: *a }",
		"deep nesting":  "metadata: { a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}",
	} {
		if _, err := ReadYAML([]byte(text), new(Node)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestHarmlessFieldsOfAFileAreIgnoredAndNamed(t *testing.T) {
	text := "filter_chains:\n- metadata: { a: [ { b: c } ] }\nstat_prefix: a\naccessLog: 7\n"
	report, err := ReadYAML([]byte(text), new(Listener))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"filter_chains[0].metadata", "stat_prefix", "access_log"}
	if diff := cmp.Diff(want, report.Ignored); diff != "" {
		t.Error(diff)
	}
}

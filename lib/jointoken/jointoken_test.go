package jointoken

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
)

func TestATokenIsItsText(t *testing.T) {
	root := sha256.Sum256([]byte("root"))
	made := New(root)
	text := made.Reveal()
	read, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if read != made || read.Root() != root || len(text) != Length {
		t.Errorf("%q was read as %q", text, read.Reveal())
	}
	if other := New(root); other.ID() == made.ID() || other.SecretHash() == made.SecretHash() {
		t.Error("two tokens are alike")
	}
}

func TestTokensArePrintedWithoutTheirSecret(t *testing.T) {
	token := New(sha256.Sum256(nil))
	secret := strings.Split(token.Reveal(), ".")[2]
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		for _, v := range []any{token, &token, struct{ T Token }{token}} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", token.secret[:4])) || strings.Contains(text, fmt.Sprint(token.secret[:4])[1:10]) {
				t.Errorf("%s of %T shows the secret: %s", verb, v, text)
			}
		}
	}
}

func TestMalformedTokensAreRefused(t *testing.T) {
	good := New(sha256.Sum256(nil)).Reveal()
	p := strings.Split(good, ".")
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	for name, s := range map[string]string{
		"empty":                "",
		"word":                 "token",
		"other version":        join("leno2", p[1], p[2], p[3]),
		"upper-case version":   join("LENO1", p[1], p[2], p[3]),
		"three parts":          join(p[0], p[1], p[2]),
		"five parts":           good + ".",
		"leading space":        " " + good,
		"trailing newline":     good + "\n",
		"empty id":             join(p[0], "", p[2], p[3]),
		"short id":             join(p[0], p[1][1:], p[2], p[3]),
		"long id":              join(p[0], p[1]+"0", p[2], p[3]),
		"id with a slash":      join(p[0], "../../etc/passwd", p[2], p[3]),
		"upper-case id":        join(p[0], "ABCDEF0123456789", p[2], p[3]),
		"empty secret":         join(p[0], p[1], "", p[3]),
		"short secret":         join(p[0], p[1], p[2][1:], p[3]),
		"long secret":          join(p[0], p[1], p[2]+"A", p[3]),
		"padded secret":        join(p[0], p[1], p[2]+"=", p[3]),
		"secret with newline":  join(p[0], p[1], p[2][:20]+"\n"+p[2][20:], p[3]),
		"secret in plain 64":   join(p[0], p[1], strings.Repeat("/", 43), p[3]),
		"secret trailing bits": join(p[0], p[1], strings.Repeat("A", 42)+"B", p[3]),
		"empty root":           join(p[0], p[1], p[2], ""),
		"cut-off root":         good[:len(good)-1],
		"upper-case root":      join(p[0], p[1], p[2], strings.ToUpper(p[3])),
		"root not hex":         join(p[0], p[1], p[2], strings.Repeat("g", 64)),
		"NUL":                  good[:10] + "\x00" + good[11:],
	} {
		if _, err := Parse(s); err == nil {
			t.Errorf("%s: %q was read", name, s)
		} else if s != "" && len(p[2]) > 0 && strings.Contains(err.Error(), p[2]) {
			t.Errorf("%s: the error shows the secret: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(New(sha256.Sum256(nil)).Reveal())
	f.Add("leno1.0123456789abcdef." + strings.Repeat("A", 43) + "." + strings.Repeat("0", 64))
	f.Add("leno1...")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := Parse(s)
		if err == nil && token.Reveal() != s {
			t.Errorf("%q was read as %q", s, token.Reveal())
		}
	})
}

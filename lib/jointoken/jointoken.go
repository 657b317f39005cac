// Package jointoken reads and writes join tokens, by which a proxy and a server
// that have never met authenticate each other:
//
//	leno1.ID.SECRET.ROOTSHA256
//
// ID finds the token in the server's store, SECRET proves that the proxy was
// given it, and ROOTSHA256, the hash of the mesh's root certificate, proves the
// server to the proxy.
package jointoken

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

// ServerNamespace and ServerAccount name the identity that a server proves at
// the first contact, in whatever trust domain.
const (
	ServerNamespace = "leno-system"
	ServerAccount   = "leno-server"
)

const (
	version   = "leno1"
	idBytes   = 8
	secretLen = 32
	// Length is that of every token's text.
	Length = len(version) + 1 + 2*idBytes + 1 + (secretLen*8+5)/6 + 1 + 2*sha256.Size
)

// Token is a parsed token. It is printed without its secret.
type Token struct {
	id     string
	secret [secretLen]byte
	root   [sha256.Size]byte
}

// New makes a token with a random ID and secret for the mesh whose root
// certificate, in DER, has the given SHA-256.
func New(root [sha256.Size]byte) Token {
	t := Token{root: root}
	var id [idBytes]byte
	rand.Read(id[:]) // never fails
	rand.Read(t.secret[:])
	t.id = hex.EncodeToString(id[:])
	return t
}

// Parse reads a token. Each token has exactly one text. An error says nothing
// of the text.
func Parse(s string) (Token, error) {
	part := strings.SplitN(s, ".", 5)
	switch {
	case part[0] != version:
		return Token{}, errors.New("parse join token: it does not begin with leno1")
	case len(part) != 4:
		return Token{}, errors.New("parse join token: it has not four parts between dots")
	case len(part[1]) != 2*idBytes || !isHex(part[1]):
		return Token{}, errors.New("parse join token: the second part is not 16 hexadecimal digits")
	case len(part[3]) != 2*sha256.Size || !isHex(part[3]):
		return Token{}, errors.New("parse join token: the fourth part is not 64 hexadecimal digits; perhaps the token was cut off")
	}
	t := Token{id: part[1]}
	secret, err := encoding().DecodeString(part[2])
	if err != nil || len(secret) != secretLen || len(s) != Length {
		return Token{}, errors.New("parse join token: the third part is not 43 characters of base64url")
	}
	copy(t.secret[:], secret)
	if _, err := hex.Decode(t.root[:], []byte(part[3])); err != nil {
		return Token{}, errors.New("parse join token: the fourth part is not hexadecimal")
	}
	return t, nil
}

func encoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

func isHex(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Reveal returns the token's text, its secret included.
func (t Token) Reveal() string {
	return version + "." + t.id + "." + encoding().EncodeToString(t.secret[:]) + "." + hex.EncodeToString(t.root[:])
}

// ID returns the part by which the token is found; it is no secret.
func (t Token) ID() string { return t.id }

// SecretHash returns the SHA-256 of the secret, which is all that a server keeps.
func (t Token) SecretHash() [sha256.Size]byte { return sha256.Sum256(t.secret[:]) }

// Root returns the SHA-256 of the root certificate in DER.
func (t Token) Root() [sha256.Size]byte { return t.root }

// String hides the secret.
func (t Token) String() string { return version + "." + t.id + ".hidden" }

// GoString hides the secret.
func (t Token) GoString() string { return t.String() }

// MarshalText hides the secret, from logs and JSON too.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

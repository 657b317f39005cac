package h1

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"

	"github.com/leno-mesh/leno/proxy/http"
)

// HTTP/2 has no key and no accept value for a WebSocket (RFC 8441, section 5.1),
// HTTP/1 needs both (RFC 6455, section 1.3). Where one side is HTTP/2 this codec
// makes up what the other needs: they protect against caches, not attackers.
const (
	keyName    = "sec-websocket-key"
	acceptName = "sec-websocket-accept"
	keySuffix  = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
)

// keyLen is the length of a key: 16 bytes in base64.
const keyLen = 24

// appendKey adds a key to a WebSocket request that has none.
func appendKey(b []byte, h *http.Head) []byte {
	if h.Protocol != "websocket" {
		return b
	}
	if _, ok := h.Get(keyName); ok {
		return b
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // it never fails
	b = append(b, keyName+": "...)
	b = base64.StdEncoding.AppendEncode(b, nonce[:])
	return append(b, "\r\n"...)
}

// appendAccept adds the accept value for the request's key to a 101 response that
// has none.
func appendAccept(b []byte, h *http.Head, key []byte) []byte {
	if _, ok := h.Get(acceptName); ok || len(key) != keyLen {
		return b
	}
	sum := sha1.Sum(append(key[:keyLen:keyLen], keySuffix...))
	b = append(b, acceptName+": "...)
	b = base64.StdEncoding.AppendEncode(b, sum[:])
	return append(b, "\r\n"...)
}

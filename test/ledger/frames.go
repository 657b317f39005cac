package ledger

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// WebSocket as far as two well-behaved ends need it (RFC 6455, section 5):
// unfragmented frames. The client's are masked.

const (
	textFrame   = 1
	binaryFrame = 2
	closeFrame  = 8
)

// acceptKey answers a Sec-WebSocket-Key.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// appendFrame adds a frame of at most 64 KiB to b.
func appendFrame(b []byte, opcode byte, payload []byte, masked bool) []byte {
	mask := byte(0)
	if masked {
		mask = 0x80
	}
	b = append(b, 0x80|opcode)
	if len(payload) < 126 {
		b = append(b, mask|byte(len(payload)))
	} else {
		b = binary.BigEndian.AppendUint16(append(b, mask|126), uint16(len(payload)))
	}
	if !masked {
		return append(b, payload...)
	}
	key := [4]byte{byte(len(payload)), 7, 77, 177}
	b = append(b, key[:]...)
	for i, c := range payload {
		b = append(b, c^key[i%4])
	}
	return b
}

func readFrame(r *bufio.Reader, masked bool) (opcode byte, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0]&0xf0 != 0x80 || (head[1]&0x80 != 0) != masked {
		return 0, nil, fmt.Errorf("no WebSocket frame begins with % x", head)
	}
	n := int(head[1] & 0x7f)
	switch n {
	case 126:
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return 0, nil, err
		}
		n = int(binary.BigEndian.Uint16(long[:]))
	case 127:
		return 0, nil, errors.New("a WebSocket frame of more than 64 KiB")
	}
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	return head[0] & 0xf, payload, nil
}

package h2

import "encoding/binary"

// frame is the header of a frame.
type frame struct {
	length int
	kind   uint8
	flags  uint8
	stream uint32
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame reads the nine bytes of a frame header.
func parseFrame(b []byte) frame {
	_ = b[frameHeader-1]
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   b[3], flags: b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

func appendFrame(b []byte, length int, kind, flags uint8, stream uint32) []byte {
	return append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags,
		byte(stream>>24), byte(stream>>16), byte(stream>>8), byte(stream))
}

func appendWord(b []byte, kind uint8, stream, word uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, kind, 0, stream), word)
}

func appendGoAway(b []byte, last uint32, code Code) []byte {
	b = appendFrame(b, 8, frameGoAway, 0, 0)
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, last), uint32(code))
}

func appendSetting(b []byte, id uint16, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, id), value)
}

// unpad strips the padding of DATA and HEADERS (RFC 9113, section 6.1).
func unpad(f frame, p []byte) ([]byte, error) {
	if !f.has(flagPadded) {
		return p, nil
	}
	if len(p) == 0 {
		return nil, fatal(FrameSizeError, "a padded frame has no length of its padding")
	}
	pad := int(p[0])
	if p = p[1:]; pad > len(p) {
		return nil, fatal(ProtocolError, "the padding is longer than its frame")
	}
	return p[:len(p)-pad], nil
}

// finishHead writes the header of the HEADERS frame that begins at start, whose
// block reaches to the end of b, and cuts what exceeds a frame into CONTINUATION
// frames.
func finishHead(b []byte, start int, stream uint32, end bool) []byte {
	var flags uint8
	if end {
		flags = flagEndStream
	}
	block := len(b) - start - frameHeader
	if block <= frameSize {
		appendFrame(b[:start], block, frameHeaders, flags|flagEndHeaders, stream)
		return b
	}
	rest := append([]byte(nil), b[start+frameHeader+frameSize:]...)
	b = b[:start+frameHeader+frameSize]
	appendFrame(b[:start], frameSize, frameHeaders, flags, stream)
	for len(rest) > 0 {
		n := min(len(rest), frameSize)
		flags = 0
		if n == len(rest) {
			flags = flagEndHeaders
		}
		b = append(appendFrame(b, n, frameContinuation, flags, stream), rest[:n]...)
		rest = rest[n:]
	}
	return b
}

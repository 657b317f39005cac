// Package h2 is HTTP/2 (RFC 9113) on conn.Conn, for both sides: a Server turns
// a client's connection into streams, a Transport opens streams to an endpoint.
//
// A session has one goroutine that reads frames. Everything that it shares with
// the streams is guarded by one mutex; each stream is used by its own goroutine,
// which appends whole frames to the session's writer and waits on its own
// condition for windows, heads and data. Nothing else runs, except one goroutine
// while the socket of a slow peer is full.
package h2

import (
	"fmt"

	"github.com/leno-mesh/leno/proxy/http"
)

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frame types (RFC 9113, section 6).
const (
	frameData = iota
	frameHeaders
	framePriority
	frameReset
	frameSettings
	framePushPromise
	framePing
	frameGoAway
	frameWindowUpdate
	frameContinuation
)

// Flags. endStream and ack share a bit, of different frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

// Settings (RFC 9113, section 6.5.2; RFC 8441, section 3).
const (
	settingTableSize       = 1
	settingEnablePush      = 2
	settingMaxStreams      = 3
	settingInitialWindow   = 4
	settingMaxFrame        = 5
	settingMaxHeadBytes    = 6
	settingConnectProtocol = 8
)

const (
	frameHeader   = 9
	frameSize     = 16384 // the largest payload that we accept, and ever send
	initialWindow = 65535
	maxWindow     = 1<<31 - 1
	maxStreamID   = 1<<31 - 1
)

// Code is an error code (RFC 9113, section 7).
type Code uint32

// The error codes.
const (
	NoError Code = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
)

// codeWords is never written after it is made.
var codeWords = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func (c Code) String() string {
	if int(c) < len(codeWords) {
		return codeWords[c]
	}
	return fmt.Sprintf("error code %d", uint32(c))
}

// Error makes a Code the cause beneath an *http.Error.
func (c Code) Error() string { return c.String() }

// connError ends the connection with a GOAWAY (RFC 9113, section 5.4.1).
type connError struct {
	code   Code
	reason string
}

func (e *connError) Error() string { return e.code.String() + ": " + e.reason }

func fatal(code Code, reason string) error { return &connError{code, reason} }

// exchangeError is what the users of a stream see of a failure on the peer's side.
func exchangeError(side http.Side, kind http.Kind, reason string, cause error) *http.Error {
	return &http.Error{Side: side, Kind: kind, Reason: reason, Err: cause}
}

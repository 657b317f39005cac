// Package grpc is a small gRPC client over an http.Transport: unary calls and
// streams of length-prefixed messages, without compression, interceptors or
// resolvers. The proxy's own calls (ADS, the agent stream, ext_authz) need no
// more, and the full client would triple the proxy's memory.
package grpc

import (
	"fmt"
	"strconv"
	"strings"
)

// Code is a gRPC status code.
type Code uint32

// The status codes that callers decide by; others are passed on as they are.
const (
	OK                Code = 0
	Canceled          Code = 1
	Unknown           Code = 2
	InvalidArgument   Code = 3
	DeadlineExceeded  Code = 4
	NotFound          Code = 5
	AlreadyExists     Code = 6
	PermissionDenied  Code = 7
	ResourceExhausted Code = 8
	Aborted           Code = 10
	Unimplemented     Code = 12
	Internal          Code = 13
	Unavailable       Code = 14
	Unauthenticated   Code = 16
)

// codeWords is never written after it is made.
var codeWords = [...]string{
	"OK", "CANCELED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
	"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func (c Code) String() string {
	if int(c) < len(codeWords) {
		return codeWords[c]
	}
	return "CODE_" + strconv.FormatUint(uint64(c), 10)
}

// Status is the outcome of a call that is not OK, as the server or a proxy
// between said it, or as HTTP's status stands for it.
type Status struct {
	Code    Code
	Message string
}

func (s *Status) Error() string {
	if s.Message == "" {
		return "grpc: " + s.Code.String()
	}
	return fmt.Sprintf("grpc: %s: %s", s.Code, s.Message)
}

// fromHTTP is the code that stands for an HTTP status without grpc-status.
func fromHTTP(status int) Code {
	switch status {
	case 400:
		return Internal
	case 401:
		return Unauthenticated
	case 403:
		return PermissionDenied
	case 404:
		return Unimplemented
	case 429, 502, 503, 504:
		return Unavailable
	}
	return Unknown
}

// parseStatus reads grpc-status and grpc-message.
func parseStatus(code, message []byte) *Status {
	n, err := strconv.ParseUint(string(code), 10, 32)
	if err != nil {
		return &Status{Unknown, "the server sent a grpc-status that is no number"}
	}
	return &Status{Code(n), unescape(message)}
}

// unescape undoes the percent-encoding of grpc-message. What is no valid escape
// stays as it is.
func unescape(s []byte) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if v, err := strconv.ParseUint(string(s[i+1:i+3]), 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

// appendTimeout appends nanoseconds as grpc-timeout has them: at most eight
// digits and a unit, rounded up.
func appendTimeout(b []byte, ns int64) []byte {
	const most = 99999999
	unit := byte('n')
	for _, next := range [...]struct {
		unit byte
		size int64
	}{{'u', 1e3}, {'m', 1e3}, {'S', 1e3}, {'M', 60}, {'H', 60}} {
		if ns <= most {
			break
		}
		unit, ns = next.unit, (ns+next.size-1)/next.size
	}
	return append(strconv.AppendInt(b, max(ns, 1), 10), unit)
}

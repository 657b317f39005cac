package http

import (
	"errors"
	"fmt"
)

// Stream is one side of one exchange, the client's or the endpoint's, over
// HTTP/1 or HTTP/2. Both sides have the same methods, so that two codecs give
// four combinations without a bridge: towards a client ReadHead returns the
// request and WriteHead sends the response, towards an endpoint the reverse.
//
// At most one goroutine reads and one writes at a time; they may be two. Abort
// alone may be called from any goroutine at any time.
//
// Errors are *Error wherever the cause is known.
type Stream interface {
	// ReadHead reads the next head into h, after resetting it. Towards an
	// endpoint it returns each interim response (1xx) too; the final one
	// follows. It flushes what was written before it blocks.
	ReadHead(h *Head) error

	// ReadData returns the next bytes of the body, never none. They are
	// borrowed: valid until the next ReadData, Abort or Close. io.EOF ends
	// the body, and only a body that was complete by its framing ends so.
	// After a tunnel began (CONNECT answered by 2xx, 101) the body is the
	// tunnel, and io.EOF means that the peer has finished sending.
	ReadData() ([]byte, error)

	// ReadTrailers reads the trailers after ReadData returned io.EOF; h is
	// empty where there are none.
	ReadTrailers(h *Head) error

	// WriteHead sends a head; end says that nothing follows it. A response
	// head with an interim status never has end set. Bytes may be held back
	// until Flush, end, or a read on this stream.
	WriteHead(h *Head, end bool) error

	// WriteData sends body bytes, which are the caller's again when it
	// returns; it blocks while the peer's window or socket is full.
	// Writing nothing with end set ends the body.
	WriteData(p []byte, end bool) error

	// WriteTrailers ends the message with trailers.
	WriteTrailers(h *Head) error

	// Flush sends what was held back.
	Flush() error

	// Abort stops both directions because of cause: blocked and later calls
	// return it. The peer sees a reset (h2) or a closed connection (h1). A
	// later Close still has to come.
	Abort(cause error)

	// Close gives the stream back after the last call of its users: if both
	// messages were complete and nothing forbids it the connection is
	// reused, otherwise the stream is reset or its connection closed.
	Close()
}

// Transport opens streams to one endpoint. Implementations are an HTTP/1 pool
// and an HTTP/2 session set. It is safe for concurrent use.
type Transport interface {
	// Open returns a stream on which no byte was sent yet. It blocks at most
	// until deadline (monotonic nanoseconds as in Now, 0 for none), whether it
	// dials or waits for a free connection.
	Open(deadline int64) (Stream, error)

	// Drain closes idle connections now and the others when they become idle.
	// The transport opens no stream afterwards.
	Drain()
}

// Side says who caused a failure.
type Side uint8

// The sides of an exchange.
const (
	Downstream Side = iota + 1 // the client
	Upstream                   // the endpoint
	Local                      // this proxy: its limits, policy or configuration
)

func (s Side) String() string {
	switch s {
	case Downstream:
		return "downstream"
	case Upstream:
		return "upstream"
	case Local:
		return "local"
	}
	return "unknown"
}

// Kind says what failed, in words that logs and metrics use as they are.
type Kind uint8

// The kinds of failure, a closed list: each has a word, a default status and a
// line in docs/faults.md.
const (
	KindUnknown       Kind = iota
	KindProtocol           // the peer broke the protocol
	KindTooLarge           // a head, a field count or a body passed a limit
	KindTimeout            // a deadline passed
	KindReset              // the peer reset the stream or the connection
	KindClosed             // the peer closed the connection in the middle
	KindRefused            // REFUSED_STREAM, or GOAWAY below our stream: not processed
	KindConnect            // the endpoint could not be reached
	KindTLS                // the handshake failed
	KindNoRoute            // nothing matches the request
	KindNoEndpoint         // no endpoint is usable
	KindDenied             // policy refuses
	KindOverflow           // a limit on connections, streams or pending requests
	KindUnsupported        // a valid message that Leno does not carry
	KindDraining           // this proxy is shutting down
	KindConfiguration      // the configuration names something that is not there
	kindCount
)

// kindWords is never written after it is made.
var kindWords = [kindCount]string{
	"unknown", "protocol_error", "too_large", "timeout", "reset", "closed", "refused", "connect_failed", "tls_failed",
	"no_route", "no_endpoint", "denied", "overflow", "unsupported", "draining", "configuration",
}

func (k Kind) String() string {
	if int(k) < len(kindWords) {
		return kindWords[k]
	}
	return kindWords[KindUnknown]
}

// Error is a failure on one side of an exchange.
type Error struct {
	Side Side
	Kind Kind
	// Unsent says that the peer provably processed nothing of the exchange:
	// no byte of it was sent, or the peer said so (REFUSED_STREAM, GOAWAY).
	// Only then may any request be repeated.
	Unsent bool
	// Reused says that a kept-alive connection failed before a byte of the
	// response came: most likely the peer had closed it as idle, so that an
	// idempotent request may be repeated (RFC 9112, section 9.3.1).
	Reused bool
	// Status is the response that suits the failure of a request that cannot
	// be parsed (400, 408, 413, 414, 417, 431, 501, 505); 0 leaves the
	// choice to the kind.
	Status int
	// Reason is one plain sentence fragment for people, without secrets:
	// "the request has both Content-Length and Transfer-Encoding".
	Reason string
	// Err is the cause beneath, if any.
	Err error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %s: %v", e.Side, e.Kind, e.Reason, e.Err)
	}
	return fmt.Sprintf("%s: %s: %s", e.Side, e.Kind, e.Reason)
}

func (e *Error) Unwrap() error { return e.Err }

// AsError returns err as an *Error; what is none becomes an unknown one on side.
func AsError(err error, side Side) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Side: side, Kind: KindUnknown, Reason: "the exchange failed", Err: err}
}

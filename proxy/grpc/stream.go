package grpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/http"
)

// MaxMessage is the default bound on one message from the server.
const MaxMessage = 16 << 20

// Options describes a call.
type Options struct {
	// Method is the full name: "/package.Service/Method".
	Method string
	// Scheme is "https" where left empty, "http" for a plaintext connection.
	Scheme string
	// Authority is the :authority of the request.
	Authority string
	// Deadline ends the call (clock.Now); 0 for none.
	Deadline int64
	// MaxMessage bounds a message from the server; 0 means MaxMessage.
	MaxMessage int
	// Metadata is added to the request's head, lower-case names and values
	// alternating.
	Metadata []string
}

// Stream is one call. One goroutine may send and another receive; Cancel may be
// called from any goroutine at any time. Every Stream must be closed.
type Stream struct {
	st   http.Stream
	max  int
	late *time.Timer // nil without a deadline
	by   int64       // the deadline

	mu     sync.Mutex // orders Abort before Close
	closed bool

	// Of the receiving goroutine.
	head   http.Head
	begun  bool
	err    error
	lent   []byte // what ReadData lent and was not taken
	header [prefix]byte

	// Of the sending goroutine.
	frame []byte
}

const prefix = 5 // compressed flag and length

// OpenStream begins a call; its request head is on the way when it returns.
func OpenStream(transport http.Transport, o Options) (*Stream, error) {
	st, err := transport.Open(o.Deadline)
	if err != nil {
		return nil, err
	}
	s := &Stream{st: st, max: o.MaxMessage, by: o.Deadline}
	if s.max == 0 {
		s.max = MaxMessage
	}
	if err := s.sendHead(&o); err != nil {
		st.Close()
		return nil, fmt.Errorf("begin %s: %w", o.Method, err)
	}
	if o.Deadline != 0 {
		s.late = time.AfterFunc(time.Duration(o.Deadline-clock.Now()), func() {
			s.abort(errLate)
		})
	}
	return s, nil
}

func (s *Stream) sendHead(o *Options) error {
	var h http.Head
	h.Length = -1
	h.SetMethodString("POST")
	if h.SetSchemeString("https"); o.Scheme != "" {
		h.SetSchemeString(o.Scheme)
	}
	h.SetAuthorityString(o.Authority)
	h.SetPathString(o.Method)
	h.AddString("content-type", "application/grpc")
	h.AddString("te", "trailers")
	if o.Deadline != 0 {
		h.AddNamed(http.GRPCTimeout, appendTimeout(nil, o.Deadline-clock.Now()))
	}
	for i := 0; i+1 < len(o.Metadata); i += 2 {
		h.AddString(o.Metadata[i], o.Metadata[i+1])
	}
	return s.st.WriteHead(&h, false)
}

// Send sends one message. io.EOF means that the server has ended the call: Recv
// tells its status.
func (s *Stream) Send(message []byte) error { return s.send(message, false) }

// keepFrame is how large a buffer a Stream keeps between messages.
const keepFrame = 64 << 10

func (s *Stream) send(message []byte, end bool) error {
	s.frame = binary.BigEndian.AppendUint32(append(s.frame[:0], 0), uint32(len(message)))
	s.frame = append(s.frame, message...)
	err := s.st.WriteData(s.frame, end)
	if cap(s.frame) > keepFrame {
		s.frame = nil
	}
	if err == nil {
		err = s.st.Flush()
	}
	if err != nil {
		return sendError(err)
	}
	return nil
}

// sendError leaves the reason to Recv where the server may have said one.
func sendError(err error) error {
	var e *http.Error
	if errors.As(err, &e) && e.Kind == http.KindReset {
		return io.EOF
	}
	return err
}

// CloseSend says that no more messages follow.
func (s *Stream) CloseSend() error {
	if err := s.st.WriteData(nil, true); err != nil {
		return sendError(err)
	}
	return nil
}

// Recv returns the next message, which is the caller's. io.EOF ends a call whose
// status is OK; another status is a *Status.
func (s *Stream) Recv() ([]byte, error) {
	if s.err != nil {
		return nil, s.err
	}
	m, err := s.recv()
	if err != nil {
		s.err = err
	}
	return m, err
}

func (s *Stream) recv() ([]byte, error) {
	if !s.begun {
		if err := s.readHead(); err != nil {
			return nil, err
		}
	}
	n, err := s.read(s.header[:])
	if err == io.EOF && n == 0 {
		return nil, s.end()
	}
	if err != nil {
		return nil, s.broken(err)
	}
	if s.header[0] != 0 {
		return nil, s.violate(Internal, "the server sent a compressed message, which was not asked for")
	}
	size := binary.BigEndian.Uint32(s.header[1:])
	if int64(size) > int64(s.max) {
		return nil, s.violate(ResourceExhausted, fmt.Sprintf("the server sent a message of %d bytes, more than the %d allowed", size, s.max))
	}
	return s.readMessage(int(size))
}

// firstPiece is how much memory a message's mere length can claim.
const firstPiece = 1 << 20

func (s *Stream) readMessage(size int) ([]byte, error) {
	m := make([]byte, min(size, firstPiece))
	for at := 0; ; {
		n, err := s.read(m[at:])
		if err != nil {
			return nil, s.broken(err)
		}
		if at += n; at == size {
			return m, nil
		}
		m = append(m, make([]byte, min(size-at, at))...)
	}
}

// read fills p; io.EOF comes with what there was before the end.
func (s *Stream) read(p []byte) (n int, err error) {
	for n < len(p) {
		if len(s.lent) == 0 {
			if s.lent, err = s.st.ReadData(); err != nil {
				s.lent = nil
				return n, err
			}
		}
		k := copy(p[n:], s.lent)
		s.lent = s.lent[k:]
		n += k
	}
	return n, nil
}

// readHead reads the response head, which may be the whole answer.
func (s *Stream) readHead() error {
	for {
		if err := s.st.ReadHead(&s.head); err != nil {
			return s.broken(err)
		}
		if s.head.Status >= 200 {
			break
		}
	}
	s.begun = true
	if code, ok := s.head.GetNamed(http.GRPCStatus); ok && s.head.Length == 0 {
		message, _ := s.head.GetNamed(http.GRPCMessage)
		return outcome(parseStatus(code, message))
	}
	if s.head.Status != 200 {
		return s.violate(fromHTTP(s.head.Status), fmt.Sprintf("the server answered HTTP status %d", s.head.Status))
	}
	if t, _ := s.head.GetNamed(http.ContentType); len(t) < len(contentType) || string(t[:len(contentType)]) != contentType {
		return s.violate(Unknown, "the server's answer is not gRPC")
	}
	if e, ok := s.head.Get("grpc-encoding"); ok && string(e) != "identity" {
		return s.violate(Internal, "the server compresses, which was not asked for")
	}
	return nil
}

const contentType = "application/grpc"

// end reads the status after the last message.
func (s *Stream) end() error {
	if err := s.st.ReadTrailers(&s.head); err != nil {
		return s.broken(err)
	}
	code, ok := s.head.GetNamed(http.GRPCStatus)
	if !ok {
		return &Status{Internal, "the server ended the call without a status"}
	}
	message, _ := s.head.GetNamed(http.GRPCMessage)
	return outcome(parseStatus(code, message))
}

func outcome(s *Status) error {
	if s.Code == OK {
		return io.EOF
	}
	return s
}

// violate ends a call whose server does not keep to the protocol.
func (s *Stream) violate(code Code, message string) error {
	st := &Status{code, message}
	s.abort(st)
	return st
}

// broken makes a *Status of what ended the stream, with err beneath.
func (s *Stream) broken(err error) error {
	var own *Status
	switch {
	case errors.As(err, &own):
		return own
	case s.by != 0 && clock.Now() >= s.by:
		return errLate // the server saw it first
	case errors.Is(err, io.EOF):
		return &Status{Internal, "the server ended the call in the middle of a message"}
	}
	return fmt.Errorf("%w: %w", &Status{Unavailable, "the connection to the server failed"}, err)
}

// errLate is never written.
var errLate = &Status{DeadlineExceeded, "the deadline of the call has passed"}

// Cancel ends the call; blocked and later calls of Send and Recv fail.
func (s *Stream) Cancel() { s.abort(&Status{Canceled, "the call was canceled"}) }

func (s *Stream) abort(cause *Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.st.Abort(cause)
	}
}

// Close frees the stream after the last Send and Recv have returned. A call that
// has not ended is canceled.
func (s *Stream) Close() {
	if s.late != nil {
		s.late.Stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.st.Close()
	}
}

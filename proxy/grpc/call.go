package grpc

import (
	"errors"
	"io"

	"github.com/leno-mesh/leno/proxy/http"
)

// Call sends one request and returns the one answer. A failure said by the server
// is a *Status, as errors.As finds it; where the transport failed there is an
// *http.Error too.
func Call(transport http.Transport, o Options, request []byte) ([]byte, error) {
	s, err := OpenStream(transport, o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.send(request, true); err != nil && err != io.EOF {
		return nil, err
	}
	answer, err := s.Recv()
	if err == io.EOF {
		return nil, &Status{Internal, "the server answered without a message"}
	}
	if err != nil {
		return nil, err
	}
	switch _, err := s.Recv(); {
	case err == nil:
		return nil, s.violate(Internal, "the server sent two messages where one was asked for")
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return answer, nil
}

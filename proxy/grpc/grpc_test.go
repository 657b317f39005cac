package grpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	google "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/clock"
	"github.com/leno-mesh/leno/proxy/conn"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h2"
)

type service struct {
	testpb.UnimplementedTestServiceServer
	canceled chan error
}

func (s service) UnaryCall(ctx context.Context, q *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	switch q.ResponseSize {
	case -1:
		return nil, status.Error(codes.NotFound, "100% gone: ü\n")
	case -2:
		if _, ok := ctx.Deadline(); !ok {
			return nil, status.Error(codes.FailedPrecondition, "no deadline came")
		}
		<-ctx.Done()
		return nil, ctx.Err()
	case -3:
		md, _ := metadata.FromIncomingContext(ctx)
		return &testpb.SimpleResponse{Hostname: md.Get("x-proxy")[0] + md.Get(":authority")[0]}, nil
	}
	return &testpb.SimpleResponse{Payload: q.Payload}, nil
}

func (s service) FullDuplexCall(st testpb.TestService_FullDuplexCallServer) error {
	for {
		q, err := st.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			s.canceled <- err
			return err
		}
		if err := st.Send(&testpb.StreamingOutputCallResponse{Payload: q.Payload}); err != nil {
			return err
		}
	}
}

const (
	unary = "/grpc.testing.TestService/UnaryCall"
	bidi  = "/grpc.testing.TestService/FullDuplexCall"
)

func start(t *testing.T) (http.Transport, service) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := service{canceled: make(chan error, 1)}
	srv := google.NewServer()
	testpb.RegisterTestServiceServer(srv, s)
	go func() { _ = srv.Serve(l) }()
	var bufs buf.Pool
	tr := h2.NewTransport(h2.TransportOptions{Dial: func(int64) (*conn.Conn, error) {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		return conn.New(nc, &bufs), nil
	}})
	t.Cleanup(func() { tr.Drain(); srv.Stop() })
	return tr, s
}

func options(method string) Options {
	return Options{Method: method, Scheme: "http", Authority: "leno.test", Metadata: []string{"x-proxy", "p1"}}
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestCallReturnsTheAnswer(t *testing.T) {
	tr, _ := start(t)
	for _, n := range []int{0, 1, 70000, 3 << 20} {
		q := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: bytes.Repeat([]byte("x"), n)}}
		b, err := Call(tr, options(unary), marshal(t, q))
		var r testpb.SimpleResponse
		if err != nil || proto.Unmarshal(b, &r) != nil || len(r.Payload.GetBody()) != n {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
}

func TestCallSendsMetadataAndAuthority(t *testing.T) {
	tr, _ := start(t)
	b, err := Call(tr, options(unary), marshal(t, &testpb.SimpleRequest{ResponseSize: -3}))
	var r testpb.SimpleResponse
	if err != nil || proto.Unmarshal(b, &r) != nil || r.Hostname != "p1leno.test" {
		t.Fatalf("%q %v", r.Hostname, err)
	}
}

func TestCallReturnsTheStatus(t *testing.T) {
	tr, _ := start(t)
	late := options(unary)
	late.Deadline = clock.Now() + int64(50*time.Millisecond)
	small := options(unary)
	small.MaxMessage = 100
	for name, c := range map[string]struct {
		o    Options
		q    *testpb.SimpleRequest
		code Code
		text string
	}{
		"of the server":        {options(unary), &testpb.SimpleRequest{ResponseSize: -1}, NotFound, "100% gone: ü\n"},
		"of the deadline":      {late, &testpb.SimpleRequest{ResponseSize: -2}, DeadlineExceeded, ""},
		"of a large message":   {small, &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 200)}}, ResourceExhausted, ""},
		"of an unknown method": {options("/grpc.testing.TestService/Nothing"), &testpb.SimpleRequest{}, Unimplemented, ""},
	} {
		_, err := Call(tr, c.o, marshal(t, c.q))
		var s *Status
		if !errors.As(err, &s) || s.Code != c.code || c.text != "" && s.Message != c.text {
			t.Errorf("status %s: %v", name, err)
		}
	}
}

func TestCallFailsWhenNothingListens(t *testing.T) {
	refused := errors.New("connection refused")
	tr := h2.NewTransport(h2.TransportOptions{Dial: func(int64) (*conn.Conn, error) { return nil, refused }})
	if _, err := Call(tr, options(unary), nil); !errors.Is(err, refused) {
		t.Fatal(err)
	}
}

func TestStreamEchoesAndEnds(t *testing.T) {
	tr, _ := start(t)
	s, err := OpenStream(tr, options(bidi))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 100 {
		m := marshal(t, &testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: make([]byte, i*1000)}})
		if err := s.Send(m); err != nil {
			t.Fatal(err)
		}
		b, err := s.Recv()
		var r testpb.StreamingOutputCallResponse
		if err != nil || proto.Unmarshal(b, &r) != nil || len(r.Payload.GetBody()) != i*1000 {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Recv(); err != io.EOF {
			t.Fatalf("end: %v", err)
		}
	}
}

func TestCancelEndsBothSides(t *testing.T) {
	tr, srv := start(t)
	s, err := OpenStream(tr, options(bidi))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := s.Recv()
		ended <- err
	}()
	s.Cancel()
	var st *Status
	if err := <-ended; !errors.As(err, &st) || st.Code != Canceled {
		t.Errorf("ours: %v", err)
	}
	if err := <-srv.canceled; status.Code(err) != codes.Canceled {
		t.Errorf("theirs: %v", err)
	}
	s.Close()
	s.Cancel()
}

func TestTimeoutHasEightDigitsAtMost(t *testing.T) {
	for ns, want := range map[int64]string{
		1: "1n", 99999999: "99999999n", 100000000: "100000u", 99999999001: "100000m", -5: "1n",
		int64(30 * time.Hour): "108000S",
	} {
		if got := string(appendTimeout(nil, ns)); got != want {
			t.Errorf("%d: %s, want %s", ns, got, want)
		}
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add("a%20b%C3%BC%")
	f.Fuzz(func(t *testing.T, s string) {
		if out := unescape([]byte(s)); len(out) > 3*len(s) {
			t.Errorf("%q grew to %q", s, out)
		}
	})
}

package h2

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	stdhttp "net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/leno-mesh/leno/proxy/http"
)

func xnetClient() *stdhttp.Client {
	var only stdhttp.Protocols
	only.SetUnencryptedHTTP2(true)
	return &stdhttp.Client{Transport: &stdhttp.Transport{Protocols: &only}}
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func TestOtherClientEchoesBodiesAndTrailers(t *testing.T) {
	addr := serve(t, ServerOptions{}, echo)
	client := xnetClient()
	defer client.CloseIdleConnections()
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			want := noise(i * 20011)
			req, _ := stdhttp.NewRequest("POST", "http://"+addr+fmt.Sprintf("/%d", i), io.MultiReader(bytes.NewReader(want)))
			req.Header.Add("Cookie", "a=1")
			req.Header.Add("Cookie", "b=2")
			req.Trailer = stdhttp.Header{"X-Sum": {"42"}}
			resp, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			got, err := io.ReadAll(resp.Body)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d: got %d bytes, want %d: %v", i, len(got), len(want), err)
			}
			if s := resp.Trailer.Get("X-Sum"); s != "42" {
				t.Errorf("trailer %q", s)
			}
			if s := resp.Header.Get("X-Cookie"); s != "a=1; b=2" {
				t.Errorf("cookies %q", s)
			}
			if s := resp.Header.Get("X-Path"); s != fmt.Sprintf("/%d", i) {
				t.Errorf("path %q", s)
			}
		})
	}
	all.Wait()
}

func TestOurClientReadsOtherServer(t *testing.T) {
	h := stdhttp.HandlerFunc(func(w stdhttp.ResponseWriter, r *stdhttp.Request) {
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Link", "</style>")
		w.WriteHeader(103)
		w.WriteHeader(201)
		n, _ := io.Copy(w, r.Body)
		w.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer.Get("X-Up")))
	})
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(stdhttp.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Config.HTTP2 = &stdhttp.HTTP2Config{MaxConcurrentStreams: 10}
	srv.Start()
	defer srv.Close()
	tr := transport(t, strings.TrimPrefix(srv.URL, "http://"), TransportOptions{Connections: 2})
	var all sync.WaitGroup
	for i := range 60 {
		all.Go(func() {
			st := open(t, tr)
			defer st.Close()
			var writing sync.WaitGroup
			defer writing.Wait()
			want := noise(i * 20011)
			writing.Go(func() {
				q := request("POST", "/", "trailer", "x-up")
				q.Length = int64(len(want))
				if err := st.WriteHead(q, false); err != nil {
					t.Error(err)
				}
				if err := st.WriteData(want, false); err != nil {
					t.Error(err)
				}
				if err := st.WriteTrailers(response(0, "x-up", "!")); err != nil {
					t.Error(err)
				}
			})
			var r http.Head
			if err := st.ReadHead(&r); err != nil || r.Status != 103 {
				t.Errorf("interim %d %v", r.Status, err)
			}
			if err := st.ReadHead(&r); err != nil || r.Status != 201 {
				t.Errorf("final %d %v", r.Status, err)
			}
			got, err := body(st)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d: got %d bytes, want %d: %v", i, len(got), len(want), err)
			}
			if err := st.ReadTrailers(&r); err != nil {
				t.Error(err)
			}
			if v, _ := r.Get("x-sum"); string(v) != fmt.Sprint(len(want), "!") {
				t.Errorf("trailer %q", v)
			}
		})
	}
	all.Wait()
	if n := tr.Connections(); n < 1 || n > 2 {
		t.Errorf("%d connections", n)
	}
}

// relay is the smallest proxy: everything that comes from one stream goes to the
// other.
func relay(tr *Transport) func(http.Stream) {
	return func(down http.Stream) {
		defer down.Close()
		up, err := tr.Open(0)
		if err != nil {
			down.Abort(err)
			return
		}
		defer up.Close()
		down.(Linker).Link(up)
		defer down.(Linker).Link(nil)
		var done sync.WaitGroup
		done.Go(func() { forward(down, up, true) })
		forward(up, down, false)
		done.Wait()
	}
}

func forward(from, to http.Stream, request bool) {
	var h http.Head
	for {
		if err := from.ReadHead(&h); err != nil {
			to.Abort(err)
			return
		}
		end := h.Length == 0 && h.Protocol == "" && string(h.Method()) != "CONNECT"
		if err := to.WriteHead(&h, end); err != nil {
			from.Abort(err)
			return
		}
		if end && (request || h.Status >= 200) {
			return
		}
		if request || h.Status >= 200 || h.Status == 101 {
			break
		}
	}
	for {
		if to.Flush() != nil {
			return
		}
		p, err := from.ReadData()
		if err == io.EOF {
			break
		}
		if err != nil {
			to.Abort(err)
			return
		}
		if err := to.WriteData(p, false); err != nil {
			from.Abort(err)
			return
		}
	}
	if err := from.ReadTrailers(&h); err != nil {
		to.Abort(err)
		return
	}
	_ = to.WriteTrailers(&h)
}

type grpcService struct {
	testpb.UnimplementedTestServiceServer
	canceled chan struct{}
}

func (g grpcService) UnaryCall(ctx context.Context, q *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	switch q.ResponseSize {
	case -1:
		return nil, status.Error(codes.NotFound, "no such thing: ü")
	case -2:
		<-ctx.Done()
		close(g.canceled)
		return nil, ctx.Err()
	}
	return &testpb.SimpleResponse{Payload: q.Payload}, nil
}

func (g grpcService) FullDuplexCall(s testpb.TestService_FullDuplexCallServer) error {
	for {
		q, err := s.Recv()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&testpb.StreamingOutputCallResponse{Payload: q.Payload}); err != nil {
			return err
		}
	}
}

func TestRelayCarriesGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	service := grpcService{canceled: make(chan struct{})}
	srv := grpc.NewServer()
	testpb.RegisterTestServiceServer(srv, service)
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()

	addr := serve(t, ServerOptions{}, relay(transport(t, l.Addr().String(), TransportOptions{})))
	cc, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	client := testpb.NewTestServiceClient(cc)
	payload := &testpb.Payload{Body: noise(1 << 20)}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			r, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{Payload: payload})
			if err != nil || !bytes.Equal(r.Payload.Body, payload.Body) {
				t.Errorf("unary: %v", err)
			}
		})
	}
	all.Wait()
	if _, err := client.UnaryCall(t.Context(), &testpb.SimpleRequest{ResponseSize: -1}); status.Code(err) != codes.NotFound || status.Convert(err).Message() != "no such thing: ü" {
		t.Errorf("status %v", err)
	}
	bidi, err := client.FullDuplexCall(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if err := bidi.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: payload.Body[:i*100]}}); err != nil {
			t.Fatal(err)
		}
		r, err := bidi.Recv()
		if err != nil || len(r.Payload.GetBody()) != i*100 {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if err := bidi.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := bidi.Recv(); err != io.EOF {
		t.Fatalf("end: %v", err)
	}

	// A client that gives up is heard by the server although nothing moves.
	ctx, cancel := context.WithCancel(t.Context())
	all.Go(func() {
		_, err := client.UnaryCall(ctx, &testpb.SimpleRequest{ResponseSize: -2})
		if status.Code(err) != codes.Canceled {
			t.Errorf("canceled call: %v", err)
		}
	})
	cancel()
	all.Wait()
}

package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/leno-mesh/leno/proxy/conn"
	leno "github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/http/h2"
)

// grpcBackend serves /test.Echo/Unary and /test.Echo/Stream.
func grpcBackend(t *testing.T, cancelled chan<- struct{}) string {
	ln := listen(t)
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			switch in.Value {
			case "fail":
				return nil, grpcstatus.Error(codes.NotFound, "no such thing: 100 %")
			case "wait":
				<-ctx.Done()
				cancelled <- struct{}{}
				return nil, ctx.Err()
			}
			return in, nil
		}}},
		Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			for {
				m := new(wrapperspb.StringValue)
				err := s.RecvMsg(m)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				if m.Value == "end" {
					return grpcstatus.Error(codes.Aborted, "enough")
				}
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
		}}},
	}, nil)
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(ln) })
	t.Cleanup(func() { s.Stop(); done.Wait() })
	return ln.Addr().String()
}

func TestGRPCPasses(t *testing.T) {
	cancelled := make(chan struct{}, 1)
	r := newRig(t, web("- match: {prefix: /, grpc: {}}\n  route: {cluster: app, timeout: 0s}\n")+clusters(cluster("app", speaksH2, grpcBackend(t, cancelled))))
	c, err := grpc.NewClient(r.serve("web"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	call := func(ctx context.Context, text string) (string, error) {
		out := new(wrapperspb.StringValue)
		err := c.Invoke(ctx, "/test.Echo/Unary", wrapperspb.String(text), out)
		return out.Value, err
	}
	for _, text := range []string{"", "hello", strings.Repeat("x", 3<<20)} {
		if have, err := call(ctx, text); err != nil || have != text {
			t.Errorf("%d bytes: %d back, %v", len(text), len(have), err)
		}
	}
	if _, err := call(ctx, "fail"); grpcstatus.Code(err) != codes.NotFound || grpcstatus.Convert(err).Message() != "no such thing: 100 %" {
		t.Errorf("a status: %v", err)
	}
	short, stop := context.WithCancel(ctx)
	time.AfterFunc(100*time.Millisecond, stop)
	if _, err := call(short, "wait"); grpcstatus.Code(err) != codes.Canceled {
		t.Errorf("a call that was cancelled: %v", err)
	}
	select {
	case <-cancelled:
	case <-ctx.Done():
		t.Error("the server works on after the cancellation")
	}
	for _, last := range []string{"", "end"} {
		s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Echo/Stream")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 50 {
			text, out := fmt.Sprint(i), new(wrapperspb.StringValue)
			if err := s.SendMsg(wrapperspb.String(text)); err != nil {
				t.Fatal(err)
			}
			if err := s.RecvMsg(out); err != nil || out.Value != text {
				t.Fatalf("%q %v", out.Value, err)
			}
		}
		want := io.EOF
		if last == "end" { // the server ends first, with the client's half still open
			_ = s.SendMsg(wrapperspb.String(last))
			want = nil
		} else {
			_ = s.CloseSend()
		}
		err = s.RecvMsg(new(wrapperspb.StringValue))
		if want != nil && !errors.Is(err, want) || want == nil && grpcstatus.Code(err) != codes.Aborted {
			t.Errorf("the end: %v", err)
		}
	}
	r.eventually("gRPC statuses to be counted", func() bool {
		for _, e := range r.e.Stats.Deltas() {
			if e.Protocol == "grpc" && e.Destination == "app" {
				return true
			}
		}
		return false
	})
}

// upgradable is a WebSocket-like application over HTTP/1.1.
func upgradable(t *testing.T) string {
	return tcpBackend(t, func(c net.Conn) {
		in := bufio.NewReader(c)
		req, err := http.ReadRequest(in)
		if err != nil || req.Header.Get("upgrade") != "chat" || req.Method != "GET" {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\nhello\n")
		_, _ = io.Copy(c, in)
		_ = c.(*net.TCPConn).CloseWrite()
	})
}

func TestExtendedConnectBecomesAnUpgrade(t *testing.T) {
	r := newRig(t, webWith("upgrade_configs: [{upgrade_type: chat}]", to("app"))+clusters(cluster("app", "", upgradable(t))))
	address := r.serve("web")
	tr := h2.NewTransport(h2.TransportOptions{Dial: func(deadline int64) (*conn.Conn, error) {
		nc, err := conn.Dial("tcp", address, deadline)
		if err != nil {
			return nil, err
		}
		return conn.New(nc, &r.e.Buffers), nil
	}})
	defer tr.Drain()
	open := func(protocol string) (leno.Stream, *leno.Head) {
		s, err := tr.Open(0)
		if err != nil {
			t.Fatal(err)
		}
		var h leno.Head
		h.SetMethodString("CONNECT")
		h.Protocol = protocol
		h.SetSchemeString("http")
		h.SetAuthorityString("app")
		h.SetPathString("/chat")
		h.Length = -1
		if err := s.WriteHead(&h, false); err != nil {
			t.Fatal(err)
		}
		if err := s.ReadHead(&h); err != nil {
			t.Fatal(err)
		}
		return s, &h
	}
	s, h := open("chat")
	if h.Status != 101 { // as both codecs call it
		t.Fatalf("answered %d", h.Status)
	}
	if err := s.WriteData([]byte("ping\n"), true); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for {
		p, err := s.ReadData()
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
		got = append(got, p...)
	}
	s.Close()
	if string(got) != "hello\nping\n" {
		t.Errorf("%q", got)
	}
	s, h = open("other")
	if h.Status != 501 {
		t.Errorf("a protocol that is not listed: %d", h.Status)
	}
	s.Close()
}

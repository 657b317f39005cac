package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
)

// progressing answers Wait with messages, and then stays silent unless the last
// one is final.
type progressing struct {
	adminv1connect.UnimplementedAdminHandler
	messages []*adminv1.WaitResponse
}

func (p *progressing) Wait(ctx context.Context, _ *adminv1.WaitRequest, stream *connect.ServerStream[adminv1.WaitResponse]) error {
	for _, m := range p.messages {
		if err := stream.Send(m); err != nil || m.GetFinished() {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// clientOf serves a handler on a loopback port.
func clientOf(t *testing.T, h adminv1connect.AdminHandler) adminv1connect.AdminClient {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(adminv1connect.NewAdminHandler(h))
	srv := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		srv.Close()
		<-done
	})
	return adminv1connect.NewAdminClient(&http.Client{Transport: transport}, "http://"+l.Addr().String())
}

func TestWaitShowsProgressOnATerminal(t *testing.T) {
	client := clientOf(t, &progressing{messages: []*adminv1.WaitResponse{
		{Done: 1, Total: 6, Waiting: []string{"a", "b", "c", "d", "e"}},
		{Done: 6, Total: 6, Finished: true},
	}})
	env, _, said := fakeEnv()
	env.ErrTerminal, env.flags.output = true, "table"
	if err := env.wait(t.Context(), client, 7, time.Minute); err != nil {
		t.Fatal(err)
	}
	if want := "\r\x1b[K1 of 6 proxies run it; waiting for a, b, c and 2 more\r\x1b[K6 of 6 proxies run it.\n"; said.String() != want {
		t.Errorf("%q", said)
	}
}

func TestProgressNeverWraps(t *testing.T) {
	env, _, said := fakeEnv()
	env.ErrTerminal, env.OutWidth = true, 40
	env.progress("run it", &adminv1.WaitResponse{Done: 1, Total: 2, Waiting: []string{strings.Repeat("long", 10)}})
	if want := "\r\x1b[K1 of 2 proxies run it; waiting for long"; said.String() != want {
		t.Errorf("%q, want %q", said, want)
	}
}

func TestWaitSaysWhoIsMissingWhenTimeIsUp(t *testing.T) {
	client := clientOf(t, &progressing{messages: []*adminv1.WaitResponse{{Done: 1, Total: 2, Waiting: []string{"web-1"}}}})
	env, _, _ := fakeEnv()
	err := env.wait(t.Context(), client, 7, 100*time.Millisecond)
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != ExitTimeout || !strings.Contains(err.Error(), "1 of 2 proxies run the change; waiting for web-1") {
		t.Errorf("%v", err)
	}
}

func TestWaitThatIsInterruptedSaysWhatIsStored(t *testing.T) {
	client := clientOf(t, &progressing{messages: []*adminv1.WaitResponse{{Done: 1, Total: 2, Waiting: []string{"web-1"}}}})
	ctx, interrupt := context.WithCancelCause(t.Context())
	env, _, _ := fakeEnv()
	said := &stopper{until: "waiting for web-1", stop: func() { interrupt(errors.New("interrupt signal received")) }}
	env.Err, env.ErrTerminal = said, true
	err := env.wait(ctx, client, 7, time.Minute)
	if code := exitCode(err); code != ExitTimeout || env.explain(err) != "Stored as revision 7; not waiting any longer." {
		t.Errorf("exit code %d, %v", code, err)
	}
}

func TestAnInterruptedCallMayHaveBeenDone(t *testing.T) {
	ctx, interrupt := context.WithCancelCause(t.Context())
	interrupt(errors.New("interrupt signal received"))
	_, err := clientOf(t, &progressing{}).Apply(ctx, &adminv1.ApplyRequest{})
	env, _, _ := fakeEnv()
	if code := exitCode(err); code != ExitTimeout || env.explain(err) != "Interrupted before the answer came; a change that was asked for may still be made." {
		t.Errorf("exit code %d: %s", code, env.explain(err))
	}
}

func TestWaitIsNotDoneBeforeItsLastMessage(t *testing.T) {
	client := clientOf(t, &endsEarly{})
	env, _, _ := fakeEnv()
	if code := exitCode(env.wait(t.Context(), client, 7, time.Minute)); code != ExitUnreachable {
		t.Errorf("exit code %d", code)
	}
}

type endsEarly struct{ progressing }

func (endsEarly) Wait(_ context.Context, _ *adminv1.WaitRequest, stream *connect.ServerStream[adminv1.WaitResponse]) error {
	return stream.Send(&adminv1.WaitResponse{Done: 1, Total: 2})
}

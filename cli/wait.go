package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
)

// wait follows a revision until every concerned proxy runs it.
func (e *Env) wait(ctx context.Context, client adminv1connect.AdminClient, revision uint64, timeout time.Duration) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	last, err := e.follow(limited, client, revision)
	e.endProgress()
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled): // by the user
		return &ExitError{ExitTimeout, fmt.Errorf("stored as revision %d; not waiting any longer", revision)}
	case connect.CodeOf(err) == connect.CodeDeadlineExceeded, err != nil && errors.Is(limited.Err(), context.DeadlineExceeded):
		return &ExitError{ExitTimeout, fmt.Errorf("after %s, %d of %d proxies run the change; waiting for %s", timeout, last.GetDone(), last.GetTotal(), waitingFor(last))}
	case err != nil:
		return err
	}
	if len(last.GetRejected()) > 0 {
		return &ExitError{ExitDifferent, fmt.Errorf("%d of %d proxies run the change; %s", last.GetDone(), last.GetTotal(), rejections(last.GetRejected()))}
	}
	if !last.GetFinished() {
		return &ExitError{ExitUnreachable, errors.New("the control plane ended the answer before it was complete")}
	}
	switch {
	case e.flags.output != "table":
	case last.GetTotal() == 0:
		fmt.Fprintln(e.Err, "No proxy is connected that would have to run it.")
	default:
		fmt.Fprintf(e.Err, "%d of %d proxies run it.\n", last.GetDone(), last.GetTotal())
	}
	return nil
}

// follow shows progress and returns the last of it.
func (e *Env) follow(ctx context.Context, client adminv1connect.AdminClient, revision uint64) (*adminv1.WaitResponse, error) {
	last := &adminv1.WaitResponse{}
	stream, err := client.Wait(ctx, &adminv1.WaitRequest{Revision: revision})
	if err != nil {
		return last, err
	}
	defer stream.Close()
	for !last.GetFinished() && stream.Receive() {
		last = stream.Msg()
		if !last.GetFinished() {
			e.progress("run it", last)
		}
	}
	return last, stream.Err()
}

// progress says how many proxies do something, on a terminal.
func (e *Env) progress(do string, p *adminv1.WaitResponse) {
	if !e.ErrTerminal {
		return
	}
	line := fmt.Sprintf("%d of %d proxies %s; waiting for %s", p.GetDone(), p.GetTotal(), do, waitingFor(p))
	if e.OutWidth > 1 {
		line = cut([]string{line}, e.OutWidth-1)[0] // a line that wraps could not be taken back
	}
	fmt.Fprintf(e.Err, "\r\x1b[K%s", line)
}

func (e *Env) endProgress() {
	if e.ErrTerminal {
		fmt.Fprint(e.Err, "\r\x1b[K")
	}
}

func waitingFor(p *adminv1.WaitResponse) string {
	names := p.GetWaiting()
	left := int(p.GetTotal()) - int(p.GetDone())
	if len(names) > 3 {
		names = names[:3]
	}
	list := printable(strings.Join(names, ", "))
	switch {
	case list == "":
		return "the control plane"
	case left > len(names):
		return fmt.Sprintf("%s and %d more", list, left-len(names))
	}
	return list
}

func rejections(rejected []*adminv1.Rejection) string {
	var parts []string
	for _, r := range rejected {
		parts = append(parts, printable(fmt.Sprintf("%s refused %s %s: %s", r.GetProxy(), r.GetType(), r.GetResource(), r.GetReason())))
	}
	return strings.Join(parts, "; ")
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"

	"connectrpc.com/connect"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

// Exit codes.
const (
	ExitOK          = 0
	ExitDifferent   = 1 // diff found some, or a condition does not hold
	ExitUsage       = 2
	ExitRefused     = 3
	ExitUnreachable = 4
	ExitTimeout     = 5 // or interrupted: it may be done nevertheless
)

// ExitError ends the command with a code. An empty Err prints nothing.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

func usage(format string, args ...any) error {
	return &ExitError{ExitUsage, fmt.Errorf(format, args...)}
}

// exitCode chooses the code for what a verb returned.
func exitCode(err error) int {
	var exit *ExitError
	var dial *net.OpError
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return exit.Code
	case errors.As(err, &dial) && dial.Op == "dial":
		return ExitUnreachable
	case errors.Is(err, context.DeadlineExceeded), connect.CodeOf(err) == connect.CodeDeadlineExceeded, interrupted(err):
		return ExitTimeout
	case connect.CodeOf(err) == connect.CodeUnavailable:
		return ExitUnreachable
	}
	return ExitRefused
}

// interrupted says that the user ended a call of the API before its answer.
func interrupted(err error) bool { return connect.CodeOf(err) == connect.CodeCanceled }

// explain turns what a verb returned into lines for people: one sentence, then
// the problems that the server named.
func (e *Env) explain(err error) string {
	var b strings.Builder
	var remote *connect.Error
	var exit *ExitError
	switch {
	case errors.As(err, &exit) && exit.Err != nil:
		b.WriteString(sentence(printable(exit.Error())))
	case interrupted(err):
		b.WriteString("Interrupted before the answer came; a change that was asked for may still be made.")
	case exitCode(err) == ExitUnreachable && errors.Is(err, fs.ErrPermission):
		fmt.Fprintf(&b, "You may not open %s: only the user that runs the control plane may.", e.address())
	case exitCode(err) == ExitUnreachable && !connect.IsWireError(err):
		fmt.Fprintf(&b, "No control plane answers on %s: start one with `leno up`, or name another with --server.", e.address())
	case errors.As(err, &remote):
		b.WriteString(sentence(printable(remote.Message())))
		for _, p := range problemsOf(remote) {
			b.WriteString("\n  " + problemLine(p))
		}
	default:
		b.WriteString(sentence(printable(err.Error())))
	}
	return b.String()
}

func problemsOf(err *connect.Error) []*adminv1.Problem {
	var problems []*adminv1.Problem
	for _, detail := range err.Details() {
		if value, err := detail.Value(); err == nil {
			if p, ok := value.(*adminv1.Problems); ok {
				problems = append(problems, p.GetProblems()...)
			}
		}
	}
	return problems
}

// problemLine is FILE:LINE: KIND/NAMESPACE/NAME: FIELD: REASON, without what is
// unknown.
func problemLine(p *adminv1.Problem) string {
	var parts []string
	if p.GetSource() != "" {
		source := p.GetSource()
		if p.GetLine() > 0 {
			source = fmt.Sprintf("%s:%d", source, p.GetLine())
		}
		parts = append(parts, source)
	}
	if p.GetObject().GetKind() != "" {
		parts = append(parts, refString(p.GetObject()))
	}
	if p.GetField() != "" {
		parts = append(parts, p.GetField())
	}
	return printable(strings.Join(append(parts, p.GetReason()), ": "))
}

// sentence begins with a capital and ends with a full stop.
func sentence(text string) string {
	if text == "" {
		return "It failed without saying why."
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") {
		text += "."
	}
	return text
}

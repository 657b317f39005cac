package adminapi

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect"

	"github.com/leno-mesh/leno/api"
	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/control/store"
)

// ErrNoToken says that there is no token of that ID.
var ErrNoToken = errors.New("no such token")

// refusal is invalid_argument with the problems that are the reason.
func refusal(problems []*adminv1.Problem) error {
	what := "one problem"
	if len(problems) > 1 {
		what = fmt.Sprintf("%d problems", len(problems))
	}
	err := connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("nothing was changed because of %s", what))
	if detail, failed := connect.NewErrorDetail(&adminv1.Problems{Problems: problems}); failed == nil {
		err.AddDetail(detail)
	}
	return err
}

func invalid(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

// failure gives an error of the control plane its code.
func failure(err error) error {
	var conflict *store.ConflictError
	code := connect.CodeInternal
	switch {
	case errors.As(err, &conflict):
		code = connect.CodeAborted
		err = fmt.Errorf("%w; try again", err)
	case errors.Is(err, store.ErrNotFound), errors.Is(err, ErrNoToken):
		code = connect.CodeNotFound
	case errors.Is(err, store.ErrClosed):
		code = connect.CodeUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		code = connect.CodeDeadlineExceeded
	case errors.Is(err, context.Canceled):
		code = connect.CodeCanceled
	}
	return connect.NewError(code, err)
}

// lookup finds a kind by what a user typed.
func lookup(kind string) (api.KindInfo, error) {
	name, _, _ := strings.Cut(kind, ".")
	info, ok := api.Lookup(name)
	if ok && (name == kind || strings.EqualFold(kind, name+"."+group(info))) {
		return info, nil
	}
	if kind == "" {
		return api.KindInfo{}, invalid("the kind is missing")
	}
	var words []string
	for _, info := range api.Kinds() {
		words = append(append(words, strings.ToLower(string(info.Kind)), info.Plural), info.Short...)
	}
	if near := api.Nearest(strings.ToLower(name), words); near != "" {
		return api.KindInfo{}, invalid("there is no kind %q; did you mean %s?", kind, near)
	}
	var plurals []string
	for _, info := range api.Kinds() {
		plurals = append(plurals, info.Plural)
	}
	return api.KindInfo{}, invalid("there is no kind %q; the kinds are %s", kind, strings.Join(plurals, ", "))
}

// group is the API group of a kind, empty for core.
func group(info api.KindInfo) string {
	g, _, ok := strings.Cut(info.APIVersion, "/")
	if !ok {
		return ""
	}
	return g
}

// refOf reads a reference of a request.
func refOf(r *adminv1.Reference) (api.Ref, error) {
	info, err := lookup(r.GetKind())
	if err != nil {
		return api.Ref{}, err
	}
	if r.GetName() == "" {
		return api.Ref{}, invalid("the name of the %s is missing", strings.ToLower(string(info.Kind)))
	}
	return api.Ref{Kind: info.Kind, Namespace: home(info, r.GetNamespace()), Name: r.GetName()}, nil
}

// home is the namespace of an object for which the user named one, or none.
func home(info api.KindInfo, named string) string {
	switch {
	case !info.Namespaced:
		return ""
	case info.Kind == api.Mesh:
		return v1alpha1.SystemNamespace
	}
	return namespaceOr(named)
}

func namespaceOr(namespace string) string {
	if namespace == "" {
		return "default"
	}
	return namespace
}

func reference(ref api.Ref) *adminv1.Reference {
	return &adminv1.Reference{Kind: string(ref.Kind), Namespace: ref.Namespace, Name: ref.Name}
}

func problem(p model.Problem) *adminv1.Problem {
	return &adminv1.Problem{Object: reference(p.Ref), Field: p.Path, Reason: p.Message}
}

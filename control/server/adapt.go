package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/leno-mesh/leno/api"
	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/control/ca"
	"github.com/leno-mesh/leno/control/store"
)

// enroller gives the rules of enrolment a gRPC face.
type enroller struct {
	rules *ca.Enrolment
	log   *slog.Logger
}

// Issue implements serve.Enroller.
func (e *enroller) Issue(_ context.Context, peer []*x509.Certificate, token string, csr []byte) (*agentv1.IssueResponse, error) {
	issued, err := e.rules.Issue(peer, token, csr)
	if refusal, ok := errors.AsType[*ca.Refusal](err); ok {
		return nil, status.Error(refusalCode(refusal.Code), refusal.Reason)
	}
	if err != nil {
		e.log.Error("cannot issue a certificate", "error", err)
		return nil, status.Error(codes.Unavailable, "the server cannot issue certificates now; its log says why")
	}
	return &agentv1.IssueResponse{
		Certificates: issued.Chain, Roots: issued.Roots, SpiffeId: issued.ID.String(), RenewAt: issued.RenewAt.UnixMilli(),
	}, nil
}

func refusalCode(c ca.Code) codes.Code {
	switch c {
	case ca.Malformed:
		return codes.InvalidArgument
	case ca.Overloaded:
		return codes.ResourceExhausted
	}
	return codes.PermissionDenied
}

// objects is the registry's view of the store.
type objects struct{ store store.Store }

// Get implements serve.Objects.
func (o objects) Get(_ context.Context, ref api.Ref) (api.Object, error) {
	object, err := o.store.Get(ref)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return object, err
}

// Put implements serve.Objects.
func (o objects) Put(_ context.Context, object api.Object) error {
	_, err := o.store.Put(object)
	return err
}

// Delete implements serve.Objects.
func (o objects) Delete(_ context.Context, ref api.Ref) error {
	_, err := o.store.Transaction([]store.Op{{Ref: ref, If: store.AnyVersion}})
	return err
}

// Workloads implements serve.Objects.
func (o objects) Workloads(context.Context) ([]*v1alpha1.Workload, error) {
	list, err := o.store.List(api.Workload, "")
	if err != nil {
		return nil, err
	}
	workloads := make([]*v1alpha1.Workload, 0, len(list.Objects))
	for _, object := range list.Objects {
		w, ok := object.(*v1alpha1.Workload)
		if !ok {
			return nil, fmt.Errorf("the store lists a %T as a Workload", object)
		}
		workloads = append(workloads, w)
	}
	return workloads, nil
}

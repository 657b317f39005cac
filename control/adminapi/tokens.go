package adminapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"k8s.io/apimachinery/pkg/util/validation"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

// Bounds of a join token: it is a secret in someone's script or image.
const (
	maxTTL  = 30 * 24 * time.Hour
	maxUses = 10000
)

// CreateToken makes a join token.
func (s *Server) CreateToken(ctx context.Context, r *adminv1.CreateTokenRequest) (*adminv1.CreateTokenResponse, error) {
	request, err := tokenRequest(r)
	if err != nil {
		return nil, err
	}
	secret, info, err := s.cfg.Tokens.Create(ctx, request)
	if err != nil {
		return nil, failure(fmt.Errorf("create token: %w", err))
	}
	return &adminv1.CreateTokenResponse{Token: secret, Info: info, ProxyAddress: s.cfg.ProxyAddress}, nil
}

// tokenRequest fills in defaults and checks.
func tokenRequest(r *adminv1.CreateTokenRequest) (TokenRequest, error) {
	request := TokenRequest{
		Namespace: namespaceOr(r.GetNamespace()), Service: r.GetService(), Account: r.GetAccount(),
		TTL: time.Hour, Uses: 1,
	}
	if request.Account == "" {
		request.Account = request.Service
	}
	for _, part := range []struct{ what, name string }{
		{"namespace", request.Namespace}, {"service", request.Service}, {"account", request.Account},
	} {
		if part.name == "" {
			return TokenRequest{}, invalid("the %s is missing", part.what)
		}
		if len(validation.IsDNS1123Label(part.name)) > 0 {
			return TokenRequest{}, invalid("%q cannot be the name of the %s: a name has lower-case letters, digits and -, at most 63", part.name, part.what)
		}
	}
	if seconds := r.GetTtlSeconds(); seconds != 0 {
		if seconds < 0 || seconds > int64(maxTTL/time.Second) {
			return TokenRequest{}, invalid("a token may live from a second to %d days", maxTTL/(24*time.Hour))
		}
		request.TTL = time.Duration(seconds) * time.Second
	}
	if r.GetUses() > maxUses {
		return TokenRequest{}, invalid("a token may be used %d times at most", maxUses)
	}
	if r.GetUses() > 0 {
		request.Uses = int(r.GetUses())
	}
	return request, nil
}

// ListTokens returns the tokens that can still be used.
func (s *Server) ListTokens(ctx context.Context, _ *adminv1.ListTokensRequest) (*adminv1.ListTokensResponse, error) {
	tokens, err := s.cfg.Tokens.List(ctx)
	if err != nil {
		return nil, failure(fmt.Errorf("list tokens: %w", err))
	}
	return &adminv1.ListTokensResponse{Tokens: tokens}, nil
}

// RevokeToken ends a token.
func (s *Server) RevokeToken(ctx context.Context, r *adminv1.RevokeTokenRequest) (*adminv1.RevokeTokenResponse, error) {
	err := s.cfg.Tokens.Revoke(ctx, r.GetId())
	switch {
	case errors.Is(err, ErrNoToken):
		return nil, connect.NewError(connect.CodeNotFound, fmt.Errorf("there is no token %s", r.GetId()))
	case err != nil:
		return nil, failure(fmt.Errorf("revoke token %s: %w", r.GetId(), err))
	}
	return &adminv1.RevokeTokenResponse{}, nil
}

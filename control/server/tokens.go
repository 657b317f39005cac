package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/control/adminapi"
	"github.com/leno-mesh/leno/control/ca"
	"github.com/leno-mesh/leno/control/store"
)

const (
	// remembered is how long the record of an ended token is kept, so that who
	// still tries it learns why it is refused.
	remembered = 7 * 24 * time.Hour
	sweepEvery = time.Hour
)

// tokens keeps the records of join tokens in a section of the store.
type tokens struct {
	section store.Section
	now     func() time.Time

	mu    sync.Mutex // guards swept
	swept time.Time
}

// PutToken implements ca.TokenStore.
func (t *tokens) PutToken(r ca.TokenRecord) error {
	if err := t.sweep(); err != nil {
		return err
	}
	value, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode join token: %w", err)
	}
	_, err = t.section.Put(r.ID, value, store.Absent)
	return err
}

// GetToken implements ca.TokenStore.
func (t *tokens) GetToken(id string) (ca.TokenRecord, error) {
	r, _, err := t.get(id)
	return r, err
}

func (t *tokens) get(id string) (r ca.TokenRecord, version string, err error) {
	entry, err := t.section.Get(id)
	if errors.Is(err, store.ErrNotFound) {
		return r, "", ca.ErrNoToken
	}
	if err != nil {
		return r, "", err
	}
	r, err = decodeToken(entry)
	return r, entry.Version, err
}

func decodeToken(entry store.Entry) (r ca.TokenRecord, err error) {
	if err := json.Unmarshal(entry.Value, &r); err != nil {
		return r, fmt.Errorf("read join token %s: %w", entry.Key, err)
	}
	return r, nil
}

// SwapToken implements ca.TokenStore.
func (t *tokens) SwapToken(old, new ca.TokenRecord) (bool, error) {
	stored, version, err := t.get(old.ID)
	if err != nil || stored != old {
		return false, err
	}
	value, err := json.Marshal(new)
	if err != nil {
		return false, fmt.Errorf("encode join token: %w", err)
	}
	_, err = t.section.Put(new.ID, value, version)
	if _, lost := errors.AsType[*store.ConflictError](err); lost {
		return false, nil
	}
	return err == nil, err
}

func (t *tokens) all() ([]ca.TokenRecord, error) {
	entries, err := t.section.List("", "", 0)
	if err != nil {
		return nil, err
	}
	records := make([]ca.TokenRecord, 0, len(entries))
	for _, entry := range entries {
		r, err := decodeToken(entry)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
	}
	return records, nil
}

// sweep now and then forgets tokens that ended long ago.
func (t *tokens) sweep() error {
	now := t.now()
	t.mu.Lock()
	due := now.Sub(t.swept) >= sweepEvery
	if due {
		t.swept = now
	}
	t.mu.Unlock()
	if !due {
		return nil
	}
	records, err := t.all()
	if err != nil {
		return err
	}
	for _, r := range records {
		if now.After(time.UnixMilli(r.ExpiresAt).Add(remembered)) {
			if err := t.section.Delete(r.ID, store.AnyVersion); err != nil {
				return fmt.Errorf("forget join token: %w", err)
			}
		}
	}
	return nil
}

// adminTokens is the admin API's view of join tokens.
type adminTokens struct {
	rules *ca.Enrolment
	kept  *tokens
}

// Create implements adminapi.Tokens.
func (a adminTokens) Create(_ context.Context, r adminapi.TokenRequest) (string, *adminv1.Token, error) {
	token, record, err := a.rules.CreateToken(ca.TokenSpec{
		Namespace: r.Namespace, Service: r.Service, Account: r.Account, TTL: r.TTL, Uses: r.Uses,
	})
	if err != nil {
		return "", nil, err
	}
	return token.Reveal(), tokenInfo(record), nil
}

// List implements adminapi.Tokens.
func (a adminTokens) List(context.Context) ([]*adminv1.Token, error) {
	records, err := a.kept.all()
	if err != nil {
		return nil, err
	}
	now := a.kept.now().UnixMilli()
	var usable []*adminv1.Token
	for _, r := range records {
		if !r.Revoked && r.Used < r.Uses && now < r.ExpiresAt {
			usable = append(usable, tokenInfo(r))
		}
	}
	return usable, nil
}

// Revoke implements adminapi.Tokens.
func (a adminTokens) Revoke(_ context.Context, id string) error {
	err := a.rules.RevokeToken(id)
	if errors.Is(err, ca.ErrNoToken) {
		return adminapi.ErrNoToken
	}
	return err
}

func tokenInfo(r ca.TokenRecord) *adminv1.Token {
	return &adminv1.Token{
		Id: r.ID, Namespace: r.Namespace, Service: r.Service, Account: r.Account,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, UsesLeft: uint32(max(r.Uses-r.Used, 0)),
	}
}

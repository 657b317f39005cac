package ca

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/leno-mesh/leno/lib/jointoken"
	"github.com/leno-mesh/leno/lib/spiffe"
)

// TokenRecord is what the server keeps of a join token. It is comparable, and
// holds nothing by which one could join.
type TokenRecord struct {
	ID         string `json:"id"`
	SecretHash string `json:"secretHash"` // SHA-256 in hexadecimal
	Namespace  string `json:"namespace"`
	Service    string `json:"service"`
	Account    string `json:"account"`
	CreatedAt  int64  `json:"createdAt"` // milliseconds since 1970
	ExpiresAt  int64  `json:"expiresAt"` // milliseconds since 1970
	Uses       int    `json:"uses"`      // allowed
	Used       int    `json:"used"`
	Revoked    bool   `json:"revoked"`
}

// TokenStore keeps the records. It is safe for concurrent use, and what it
// confirmed survives a crash.
type TokenStore interface {
	// PutToken stores a new record; one with that ID is an error.
	PutToken(TokenRecord) error
	// GetToken returns ErrNoToken for an ID that is not there.
	GetToken(id string) (TokenRecord, error)
	// SwapToken replaces old by new, which has the same ID, if the stored
	// record still equals old; otherwise it returns false.
	SwapToken(old, new TokenRecord) (bool, error)
}

// ErrNoToken is returned by a TokenStore.
var ErrNoToken = errors.New("there is no such join token")

// TokenSpec says what a token is for.
type TokenSpec struct {
	Namespace, Service string
	Account            string        // empty is the service's name
	TTL                time.Duration // 0 is DefaultTokenTTL
	Uses               int           // 0 is 1
}

// Bounds of tokens.
const (
	DefaultTokenTTL = time.Hour
	MaxTokenTTL     = 365 * 24 * time.Hour
	MaxTokenUses    = 1_000_000
)

// CreateToken makes a join token and stores its record. The returned token is
// the only copy of the secret.
func (e *Enrolment) CreateToken(spec TokenSpec) (jointoken.Token, TokenRecord, error) {
	if spec.Account == "" {
		spec.Account = spec.Service
	}
	if spec.TTL == 0 {
		spec.TTL = DefaultTokenTTL
	}
	if spec.Uses == 0 {
		spec.Uses = 1
	}
	if err := e.checkSpec(spec); err != nil {
		return jointoken.Token{}, TokenRecord{}, &Refusal{Malformed, "create join token: " + err.Error()}
	}
	now := e.authority.now()
	token := jointoken.New(e.authority.RootHash())
	hash := token.SecretHash()
	record := TokenRecord{
		ID: token.ID(), SecretHash: hex.EncodeToString(hash[:]),
		Namespace: spec.Namespace, Service: spec.Service, Account: spec.Account,
		CreatedAt: now.UnixMilli(), ExpiresAt: now.Add(spec.TTL).UnixMilli(), Uses: spec.Uses,
	}
	if err := e.tokens.PutToken(record); err != nil {
		return jointoken.Token{}, TokenRecord{}, fmt.Errorf("create join token: %w", err)
	}
	return token, record, nil
}

func (e *Enrolment) checkSpec(spec TokenSpec) error {
	if spec.Service == "" {
		return errors.New("it names no service")
	}
	id, err := spiffe.Workload(e.authority.domain, spec.Namespace, spec.Account)
	if err != nil {
		return err
	}
	if _, err := spiffe.Workload(e.authority.domain, spec.Namespace, spec.Service); err != nil {
		return err
	}
	if id == e.authority.server {
		return fmt.Errorf("%s is the server's own identity", id)
	}
	if spec.TTL < time.Second || spec.TTL > MaxTokenTTL {
		return fmt.Errorf("a life of %v is not between 1 s and %v", spec.TTL, MaxTokenTTL)
	}
	if spec.Uses < 1 || spec.Uses > MaxTokenUses {
		return fmt.Errorf("%d uses are not between 1 and %d", spec.Uses, MaxTokenUses)
	}
	return nil
}

// RevokeToken ends a token. Certificates that were issued by it live on.
func (e *Enrolment) RevokeToken(id string) error {
	for {
		record, err := e.tokens.GetToken(id)
		if err != nil {
			return fmt.Errorf("revoke join token: %w", err)
		}
		ended := record
		ended.Revoked = true
		if done, err := e.tokens.SwapToken(record, ended); err != nil || done {
			return err
		}
	}
}

// examine returns the record of a token whose secret is right and which may
// still be used. What is wrong with the token beyond its secret is told only to
// whom the secret is known.
func (e *Enrolment) examine(token jointoken.Token) (TokenRecord, error) {
	record, err := e.tokens.GetToken(token.ID())
	if errors.Is(err, ErrNoToken) {
		return TokenRecord{}, &Refusal{Unproven, "this server knows no such join token: create a new one"}
	}
	if err != nil {
		return TokenRecord{}, fmt.Errorf("read join token: %w", err)
	}
	hash := token.SecretHash()
	known, err := hex.DecodeString(record.SecretHash)
	if err != nil || len(known) != sha256.Size {
		return TokenRecord{}, fmt.Errorf("read join token %s: its record is damaged", record.ID)
	}
	switch {
	case subtle.ConstantTimeCompare(known, hash[:]) != 1:
		return TokenRecord{}, &Refusal{Unproven, "the join token's secret is wrong"}
	case record.Revoked:
		return TokenRecord{}, &Refusal{Unproven, "the join token was revoked: create a new one"}
	case e.authority.now().UnixMilli() >= record.ExpiresAt:
		at := time.UnixMilli(record.ExpiresAt).UTC().Format(time.RFC3339)
		return TokenRecord{}, &Refusal{Unproven, "the join token expired at " + at + ": create a new one"}
	case record.Used >= record.Uses:
		return TokenRecord{}, &Refusal{Unproven, "the join token was used already: create a new one"}
	}
	return record, nil
}

// consume takes one use of the token, against everybody else who tries.
func (e *Enrolment) consume(token jointoken.Token) (TokenRecord, error) {
	for {
		record, err := e.examine(token)
		if err != nil {
			return TokenRecord{}, err
		}
		used := record
		used.Used++
		done, err := e.tokens.SwapToken(record, used)
		if err != nil {
			return TokenRecord{}, fmt.Errorf("use join token: %w", err)
		}
		if done {
			return used, nil
		}
	}
}

// MemoryTokens is a TokenStore that forgets everything at the end of the
// process, for tests and demonstrations.
type MemoryTokens struct {
	mu      sync.Mutex
	records map[string]TokenRecord
}

func (m *MemoryTokens) PutToken(r TokenRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records == nil {
		m.records = make(map[string]TokenRecord)
	}
	if _, ok := m.records[r.ID]; ok {
		return fmt.Errorf("store join token: %s is there already", r.ID)
	}
	m.records[r.ID] = r
	return nil
}

func (m *MemoryTokens) GetToken(id string) (TokenRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.records[id]
	if !ok {
		return TokenRecord{}, ErrNoToken
	}
	return r, nil
}

func (m *MemoryTokens) SwapToken(old, new TokenRecord) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[old.ID] != old {
		return false, nil
	}
	m.records[old.ID] = new
	return true, nil
}

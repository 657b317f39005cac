// Package adminapi serves the admin API: to the user of this machine on a unix
// socket, whose file mode is the authorisation, and on a loopback port to who
// has the admin token.
package adminapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
	"github.com/leno-mesh/leno/control/model"
	"github.com/leno-mesh/leno/control/store"
	"github.com/leno-mesh/leno/lib/cell"
)

// bodyLimit bounds one request, decompressed.
const bodyLimit = 8 << 20

// Proxies knows the proxies of the mesh and what they run. Its methods may be
// called from any goroutine.
type Proxies interface {
	// List returns the proxies that are known, connected or not. Those of Leno
	// have a mode; others tell nothing of themselves.
	List() []*adminv1.Proxy
	// Dump asks a proxy what it runs, and returns JSON.
	Dump(ctx context.Context, proxy, what string) ([]byte, error)
	// Served returns the store revision of what a proxy that connects now gets,
	// and a channel that is closed when there is a newer one.
	Served() (revision uint64, changed <-chan struct{})
	// Progress tells how far the proxies are with a revision of the store, and
	// returns a channel that is closed when that may have changed.
	Progress(revision uint64) (*adminv1.WaitResponse, <-chan struct{})
}

// Traffic knows what flows between services.
type Traffic interface {
	// Table returns the rates of the last window.
	Table() (window time.Duration, rows []*adminv1.TrafficRow)
}

// TokenRequest says what a join token is for.
type TokenRequest struct {
	Namespace, Service, Account string
	TTL                         time.Duration
	Uses                        int
}

// Tokens keeps join tokens.
type Tokens interface {
	Create(ctx context.Context, r TokenRequest) (secret string, info *adminv1.Token, err error)
	List(ctx context.Context) ([]*adminv1.Token, error)
	// Revoke fails with ErrNoToken when there is no such token.
	Revoke(ctx context.Context, id string) error
}

// Config wires the admin API to the control plane.
type Config struct {
	Version   string
	StartedAt time.Time
	Store     store.Store
	// StoreInfo tells where the objects are and how large the file is.
	StoreInfo func() (path string, size int64)
	// ProxyAddress is HOST:PORT where proxies of this machine connect.
	ProxyAddress string
	// Snapshots is what the control plane made of the store.
	Snapshots *cell.Cell[model.Snapshot]
	Trust     func() *adminv1.Trust
	Proxies   Proxies
	Traffic   Traffic
	Tokens    Tokens
}

// Server answers the calls of the admin API.
type Server struct {
	cfg Config
	// writing is held from reading what is there until the transaction, so that
	// the users of this server do not run into each other.
	writing sync.Mutex
}

// New returns a server.
func New(cfg Config) *Server { return &Server{cfg: cfg} }

// Handler serves the API to whoever reaches it: on the unix socket as it is, on
// TCP behind Guard.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(adminv1connect.NewAdminHandler(s, connect.WithReadMaxBytes(bodyLimit)))
	return mux
}

var _ adminv1connect.AdminHandler = (*Server)(nil)

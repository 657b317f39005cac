// Package plan compiles Envoy resources into the immutable structure that the
// data plane asks on every connection and request.
package plan

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/authz"
	"github.com/leno-mesh/leno/proxy/balance"
	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/route"
	"github.com/leno-mesh/leno/proxy/tls"
	"github.com/leno-mesh/leno/xds/wire"
)

// Plan answers every question that the hot path asks. It never changes; a
// request loads it once and finishes with it. Objects refer to each other by
// name, so that an update compiles only what it names.
type Plan struct {
	// Listeners, Routes and Clusters are keyed by resource name. A nil value
	// stands for a resource that the server says does not exist.
	Listeners map[string]*Listener
	Routes    map[string]*RouteConfig
	Clusters  map[string]*Cluster
}

// Empty returns a plan without resources.
func Empty() *Plan {
	return &Plan{Listeners: map[string]*Listener{}, Routes: map[string]*RouteConfig{}, Clusters: map[string]*Cluster{}}
}

// Listener is what happens to connections of one address or name.
type Listener struct {
	Name string
	// Address is where a static listener binds; empty for others.
	Address string
	// Chains are chosen from by Select; Default is used where none matches, and
	// may be nil: such connections are closed.
	Chains  []*Chain
	Default *Chain
	// Encrypted says that some chain terminates TLS.
	Encrypted bool
	// Detect says that chains look at whether the first bytes are HTTP.
	Detect bool

	source *wire.Listener
}

// Chain is what happens to one kind of connection of a listener.
type Chain struct {
	Name string
	// Serves is what inbound traffic of the chain counts under: the name
	// without /requests or /bytes, empty where the name has neither.
	Serves string
	// ServerNames are exact names and *.suffixes, ALPN protocols; empty
	// matches any. Transport is "tls", "raw_buffer" or empty for both.
	ServerNames []string
	ALPN        []string
	Transport   string
	Port        uint16 // of the destination, 0 for any
	Destination []netip.Prefix
	Sources     []netip.Prefix

	// TLS terminates the connection's encryption; nil for plaintext.
	TLS *tls.Server
	// Policy decides on the connection before anything is dialed: an empty one allows.
	Policy authz.Chain
	// Of HTTP and TCP exactly one is set.
	HTTP *HTTP
	TCP  *TCP
}

// HTTP is how requests of a chain are read and routed.
type HTTP struct {
	// Codec is h1, h2 or both, chosen by ALPN or the preface.
	Codec Codec
	// Routes names the RouteConfig; Inline is it where the listener carries it.
	Routes string
	Inline *RouteConfig
	// Policy decides on each request: an empty one allows. PolicyNames are the
	// filters that it comes from.
	Policy      authz.Chain
	PolicyNames []string
	Limits      http.Limits
	// AcceptHTTP10 serves HTTP/1.0 requests.
	AcceptHTTP10 bool
	// ServerName is written as the server field; empty leaves the endpoint's.
	ServerName string
	// XFCC says what happens to x-forwarded-client-cert.
	XFCC XFCC
	// UseRemoteAddress makes this proxy an edge: x-forwarded-for is appended to
	// and the client's address is the socket's.
	UseRemoteAddress bool
	SkipXFFAppend    bool
	// RequestID adds x-request-id where there is none.
	RequestID bool
	// KeepRequestID leaves a client's x-request-id at an edge.
	KeepRequestID bool
	NormalizePath bool
	MergeSlashes  bool
	StripPort     bool
	// Upgrades are the protocols that may be upgraded to, lower case.
	Upgrades []string
}

// Codec says which HTTP versions a chain speaks.
type Codec uint8

// The codecs.
const (
	CodecAuto Codec = iota
	CodecHTTP1
	CodecHTTP2
)

// XFCC says what happens to x-forwarded-client-cert.
type XFCC uint8

// What can happen to x-forwarded-client-cert.
const (
	XFCCSanitize XFCC = iota
	XFCCSanitizeSet
	XFCCForwardOnly
	XFCCAppendForward
	XFCCAlwaysForwardOnly
)

// TCP is where bytes of a chain go.
type TCP struct {
	// Backends are chosen by weight.
	Backends *route.Weighted[string]
	// Tunnel is the authority of the CONNECT request that carries the bytes;
	// empty sends them as they are.
	Tunnel      string
	IdleTimeout time.Duration // without a byte in either direction, 0 for none
	Retries     int           // other endpoints tried when one cannot be reached
}

// RouteConfig maps requests to routes.
type RouteConfig struct {
	Name     string
	Table    *route.Table[*Route]
	Clusters []string // that its routes name
	source   *wire.RouteConfiguration
}

// Route is what happens to requests that match a rule.
type Route struct {
	Name string
	// Of Backends, Redirect and Direct exactly one is set.
	Backends *route.Weighted[*Backend]
	Redirect *Redirect
	Direct   *Direct

	Timeout     time.Duration // whole exchange, 0 for no bound
	IdleTimeout time.Duration // 0 leaves the listener's
	Retry       Retry
	// Connect terminates CONNECT here: the backend gets the tunnel's bytes.
	Connect  bool
	Upgrades []string

	PrefixRewrite string
	// PathRewrite rewrites the path without its query; nil leaves it.
	PathRewrite   *Substitution
	matchedPrefix string
	HostRewrite   string
	// NotFound is the status of the answer where the cluster does not exist.
	NotFound int
	// Edit are the header edits, outermost last.
	Edit   Edits
	Policy authz.Chain
}

// Rewrites reports that requests leave with another path or host.
func (r *Route) Rewrites() bool {
	return r.PrefixRewrite != "" || r.PathRewrite != nil || r.HostRewrite != ""
}

// MatchedPrefix is the part of the path that PrefixRewrite replaces.
func (r *Route) MatchedPrefix() string { return r.matchedPrefix }

// Backend is one cluster that a route may choose.
type Backend struct {
	Cluster string
	Edit    Edits
}

// Retry says how often an exchange is repeated. Whatever it says, a request is
// only repeated when it was provably not processed, or is idempotent by method,
// and nothing of an answer has been passed on.
type Retry struct {
	Attempts int // beyond the first
	// Reset repeats idempotent requests whose connection broke before an
	// answer began.
	Reset bool
	// Codes are statuses after which an idempotent request is repeated.
	Codes []int
}

// Direct is an answer without a backend.
type Direct struct {
	Status int
	Body   []byte
}

// Redirect is an answer that names another place.
type Redirect struct {
	Status                     int
	Scheme, Host, Path, Prefix string
	Rewrite                    *Substitution // nil for none
	Port                       int
	HTTPS, DropQuery           bool
}

// Edits are header edits, compiled.
type Edits struct {
	Request, Response []Edit
}

// Edit sets, appends or removes one field.
type Edit struct {
	Name   string
	Value  string
	Action EditAction
}

// EditAction says what an Edit does.
type EditAction uint8

// The edits, by the words of Envoy's HeaderAppendAction.
const (
	EditAppend EditAction = iota
	EditAddIfAbsent
	EditOverwrite
	EditOverwriteIfPresent
	EditRemove
)

// Cluster is a set of endpoints and how to reach them.
type Cluster struct {
	Name string
	// EDS names the ClusterLoadAssignment; empty for endpoints known here.
	EDS string
	// Members is what picks are made from. The cell outlives plans: a change
	// of endpoints swaps its value and builds no plan.
	Members *cell.Cell[Members]
	Balance balance.Policy
	// DNS lists names to resolve for STRICT_DNS, nil otherwise.
	DNS        []DNSName
	DNSRefresh time.Duration

	ConnectTimeout time.Duration
	// TLS encrypts; nil for plaintext. HTTP2 multiplexes.
	TLS   *tls.Client
	HTTP2 bool
	// Limits are those towards the endpoints: upstream is a peer too.
	Limits http.Limits
	// MaxConnections and MaxPending are for each endpoint over HTTP/1,
	// MaxRequests and MaxRetries for the cluster, counted in Use; 0 is no bound.
	MaxConnections, MaxPending, MaxRequests, MaxRetries int
	Use                                                 *Use

	source     *wire.Cluster
	generation uint64 // of the configuration under this name
}

// Use counts what is under way in a cluster; it outlives plans.
type Use struct{ Requests, Retries atomic.Int64 }

// Members is the membership of a cluster at one time.
type Members struct {
	Set    *balance.Set
	Picker balance.Picker
	source *wire.ClusterLoadAssignment
}

// DNSName is one name of a STRICT_DNS cluster.
type DNSName struct {
	Host     string
	Port     uint16
	Weight   uint32
	Priority uint32
}

package tls

import (
	"crypto"
	stdtls "crypto/tls"
	"crypto/x509"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/buf"
	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/spiffe"
	"github.com/leno-mesh/leno/proxy/conn"
)

// trusting returns an identity signed by a that trusts the given roots.
func trusting(t testing.TB, a *authority, uri string, roots ...*authority) *Identity {
	t.Helper()
	c := a.certificate(t, leaf(uri))
	var certs []*x509.Certificate
	for _, r := range roots {
		certs = append(certs, r.cert)
	}
	n, err := NewIdentity(c.Certificate, c.PrivateKey.(crypto.Signer), map[string][]*x509.Certificate{"a.test": certs})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSessionsEndWithTheTrustTheyWereMadeUnder(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	serverCell := cell.New(trusting(t, old, cartURI, old))
	clientCell := cell.New(trusting(t, old, webURI, old, next))
	s := mustServer(t, ServerConfig{Identity: serverCell})
	c := mustClient(t, ClientConfig{Identity: clientCell, ExpectedIDs: []spiffe.ID{id(t, cartURI)}, SNI: "80.cart.shop.mesh.internal"})
	try := func(what string, resumed, ok bool) {
		t.Helper()
		e := shake(t, c, s)
		if (e.serverErr == nil) != ok {
			t.Fatalf("%s: server %v, client %v", what, e.serverErr, e.clientErr)
		}
		if ok && e.server.TLSState().DidResume != resumed {
			t.Errorf("%s: resumed is %v", what, !resumed)
		}
		if ok && (e.server.Peer != id(t, webURI) || e.client.Peer != id(t, cartURI)) {
			t.Errorf("%s: peers %s and %s", what, e.server.Peer, e.client.Peer)
		}
	}
	try("first", false, true)
	try("second", true, true)
	serverCell.Store(trusting(t, old, cartURI, old, next))
	try("after the server's bundle grew", false, true)
	try("again", true, true)
	clientCell.Store(trusting(t, old, webURI, old, next))
	try("after the client's certificate was renewed", false, true)
	try("again", true, true)
	serverCell.Store(trusting(t, next, cartURI, next))
	try("after the server dropped the client's root", false, false)
	clientCell.Store(trusting(t, next, webURI, next))
	try("after the client was renewed below the new root", false, true)
	try("again", true, true)
}

func TestAResumedSessionIsVerifiedLikeANewOne(t *testing.T) {
	a := newAuthority(t)
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test"), Now: now})
	c := mustClient(t, ClientConfig{Identity: a.cell(t, webURI, "a.test"), ExpectedIDs: []spiffe.ID{id(t, cartURI)}, SNI: "cart"})
	for range 2 {
		if e := shake(t, c, s); e.serverErr != nil {
			t.Fatal(e.serverErr)
		}
	}
	ahead.Store(int64(61 * time.Minute)) // the leaves live for 60
	if e := shake(t, c, s); e.serverErr == nil || !strings.Contains(e.serverErr.Error(), "expired at") {
		t.Errorf("an expired client was accepted: %v", e.serverErr)
	}
}

func TestSessionsAreNotSharedBetweenPolicies(t *testing.T) {
	a := newAuthority(t)
	serverCell, clientCell := a.cell(t, cartURI, "a.test"), a.cell(t, webURI, "a.test")
	open := mustServer(t, ServerConfig{Identity: serverCell})
	closed := mustServer(t, ServerConfig{Identity: serverCell, AllowedIDs: []spiffe.ID{}})
	c := mustClient(t, ClientConfig{Identity: clientCell, ExpectedIDs: []spiffe.ID{id(t, cartURI)}, SNI: "cart"})
	if e := shake(t, c, open); e.serverErr != nil {
		t.Fatal(e.serverErr)
	}
	if e := shake(t, c, closed); e.serverErr == nil {
		t.Error("a session of one server was good for another")
	}
}

func TestTrustThatEndsDuringAHandshakeIsNotUsed(t *testing.T) {
	a, next := newAuthority(t), newAuthority(t)
	serverCell := cell.New(trusting(t, a, cartURI, a))
	s := mustServer(t, ServerConfig{Identity: serverCell})
	cert := a.certificate(t, leaf(webURI))
	after := trusting(t, next, cartURI, next)
	nc, ns := pair(t)
	client := stdtls.Client(nc, &stdtls.Config{
		InsecureSkipVerify: true, Certificates: []stdtls.Certificate{cert},
		// The server has chosen its configuration by now but seen no certificate.
		VerifyConnection: func(stdtls.ConnectionState) error { serverCell.Store(after); return nil },
	})
	go func() { _ = client.Handshake() }()
	err := s.Handshake(conn.New(ns, &buf.Pool{}), time.Now().Add(20*time.Second))
	if err == nil || !strings.Contains(err.Error(), "no trusted root") {
		t.Errorf("%v", err)
	}
}

func TestConnectionsOutliveARotation(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	serverCell := cell.New(trusting(t, old, cartURI, old, next))
	clientCell := cell.New(trusting(t, old, webURI, old, next))
	s := mustServer(t, ServerConfig{Identity: serverCell})
	c := mustClient(t, ClientConfig{Identity: clientCell, ExpectedIDs: []spiffe.ID{id(t, cartURI)}})
	living := []ends{shake(t, c, s)}
	steps := []func(){
		func() { serverCell.Store(trusting(t, next, cartURI, old, next)) },
		func() { clientCell.Store(trusting(t, next, webURI, old, next)) },
		func() { serverCell.Store(trusting(t, next, cartURI, next)) },
		func() { clientCell.Store(trusting(t, next, webURI, next)) },
	}
	for _, step := range steps {
		step()
		living = append(living, shake(t, c, s))
	}
	for i, e := range living {
		if e.serverErr != nil || e.clientErr != nil {
			t.Fatalf("connection %d: %v, %v", i, e.serverErr, e.clientErr)
		}
		e.server.Consume(len(e.server.Buffered()))
		if _, err := e.client.Write([]byte("still here")); err != nil {
			t.Fatal(err)
		}
		if err := e.server.Fill(); err != nil || string(e.server.Buffered()) != "still here" {
			t.Errorf("connection %d after the rotation: %q, %v", i, e.server.Buffered(), err)
		}
	}
}

func TestAnIdleConnectionStaysSmall(t *testing.T) {
	a := newAuthority(t)
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test")})
	c := mustClient(t, ClientConfig{Identity: a.cell(t, webURI, "a.test"), ExpectedIDs: []spiffe.ID{id(t, cartURI)}})
	const pairs = 100
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	shake(t, c, s)
	before := heap()
	living := make([]ends, pairs)
	for i := range living {
		living[i] = shake(t, c, s)
		if living[i].serverErr != nil {
			t.Fatal(living[i].serverErr)
		}
		for _, e := range []*conn.Conn{living[i].client, living[i].server} {
			// Waiting for bytes is what gives all buffers back.
			e.Consume(len(e.Buffered()))
			e.Expire()
			if err := e.Fill(); err == nil {
				t.Fatal("bytes came after the end of the conversation")
			}
		}
	}
	each := (heap() - before) / (2 * pairs)
	t.Logf("%d bytes of heap for each end", each)
	if each > 24<<10 {
		t.Errorf("an idle connection holds %d bytes", each)
	}
	runtime.KeepAlive(living)
}

func TestTheNewestConfigurationIsReachedWithoutAllocation(t *testing.T) {
	a := newAuthority(t)
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test")})
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.newest.load(); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

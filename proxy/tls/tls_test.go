package tls

import (
	stdtls "crypto/tls"
	"testing"

	"github.com/leno-mesh/leno/lib/spiffe"
)

const (
	webURI  = "spiffe://a.test/ns/shop/sa/web"
	cartURI = "spiffe://a.test/ns/shop/sa/cart"
)

func id(t testing.TB, s string) spiffe.ID {
	t.Helper()
	i, err := spiffe.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestBothSidesLearnThePeer(t *testing.T) {
	a := newAuthority(t)
	s := mustServer(t, ServerConfig{Identity: a.cell(t, cartURI, "a.test"), ALPN: []string{"h2", "http/1.1"}})
	c := mustClient(t, ClientConfig{
		Identity: a.cell(t, webURI, "a.test"), ExpectedIDs: []spiffe.ID{id(t, cartURI)},
		SNI: "80.cart.shop.mesh.internal", ALPN: []string{"h2"},
	})
	e := shake(t, c, s)
	if e.clientErr != nil || e.serverErr != nil {
		t.Fatalf("client: %v; server: %v", e.clientErr, e.serverErr)
	}
	if e.client.Peer != id(t, cartURI) || e.server.Peer != id(t, webURI) {
		t.Errorf("client saw %s, server saw %s", e.client.Peer, e.server.Peer)
	}
	if e.server.SNI != "80.cart.shop.mesh.internal" || e.server.ALPN != "h2" || e.client.ALPN != "h2" {
		t.Errorf("SNI %q, ALPN %q and %q", e.server.SNI, e.server.ALPN, e.client.ALPN)
	}
	state := e.server.TLSState()
	if state.Version != stdtls.VersionTLS13 || state.CurveID != stdtls.X25519MLKEM768 {
		t.Errorf("version %x, key exchange %v", state.Version, state.CurveID)
	}
}

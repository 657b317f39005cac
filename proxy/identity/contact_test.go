package identity

import (
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/lib/jointoken"
	"github.com/leno-mesh/leno/proxy/tls"
)

// contact shakes hands with a server that shows the chain.
func contact(t *testing.T, client *stdtls.Config, chain [][]byte, key any) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = stdtls.Server(c, &stdtls.Config{
			Certificates: []stdtls.Certificate{{Certificate: chain, PrivateKey: key}}, NextProtos: []string{"h2"},
			ClientAuth: stdtls.RequestClientCert, SessionTicketsDisabled: true,
		}).Handshake()
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	err = stdtls.Client(c, client).Handshake()
	c.Close()
	<-done
	return err
}

func TestAtFirstContactOnlyTheTokensServerIsAccepted(t *testing.T) {
	i, other := newIssuer(t), newIssuer(t)
	leafOf := func(by *issuer, uri string, life time.Duration) [][]byte {
		i := &issuer{cert: by.cert, key: by.key, uri: uri, life: life}
		der, err := i.sign(i.key.Public()) // the server's key is the issuer's, for brevity
		if err != nil {
			t.Fatal(err)
		}
		return [][]byte{der, i.cert.Raw}
	}
	token := jointoken.New(sha256.Sum256(i.cert.Raw))
	config, err := ServerVerifier(token.Reveal(), nil)
	if err != nil {
		t.Fatal(err)
	}
	good := leafOf(i, serverURI, time.Hour)
	stolen := append(leafOf(other, serverURI, time.Hour), i.cert.Raw)
	for name, c := range map[string]struct {
		chain [][]byte
		by    *issuer
		ok    bool
	}{
		"the server":                        {good, i, true},
		"another domain of the pinned root": {leafOf(i, "spiffe://b.test/ns/leno-system/sa/leno-server", time.Hour), i, true},
		"another mesh":                      {leafOf(other, serverURI, time.Hour), other, false},
		"another mesh showing our root":     {stolen, other, false},
		"without the root":                  {good[:1], i, false},
		"a workload of the mesh":            {leafOf(i, webURI, time.Hour), i, false},
		"a name that begins alike":          {leafOf(i, serverURI+"2", time.Hour), i, false},
		"an account elsewhere":              {leafOf(i, "spiffe://a.test/ns/shop/sa/leno-server", time.Hour), i, false},
		"expired":                           {leafOf(i, serverURI, -time.Second), i, false},
		"the root as its own server":        {[][]byte{i.cert.Raw, i.cert.Raw}, i, false},
		"too many certificates":             {append(append([][]byte{}, good...), good[1], good[1], good[1], good[1], good[1], good[1], good[1]), i, false},
	} {
		if err := contact(t, config, c.chain, c.by.key); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ServerVerifier("leno1.x", nil); err == nil {
		t.Error("a malformed token was taken")
	}

	own := &cell.Cell[tls.Identity]{}
	later := ServerByIdentity(own, nil)
	if err := contact(t, later, good, i.key); err == nil {
		t.Error("a server was accepted without an identity")
	}
	web := leafOf(i, webURI, time.Hour)
	n, err := tls.NewIdentity(web[:1], i.key, map[string][]*x509.Certificate{"a.test": {i.cert}})
	if err != nil {
		t.Fatal(err)
	}
	own.Store(n)
	for name, c := range map[string]struct {
		chain [][]byte
		by    *issuer
		ok    bool
	}{
		"the server":             {good, i, true},
		"without the root":       {good[:1], i, true},
		"a workload of the mesh": {web, i, false},
		"another domain":         {leafOf(i, "spiffe://b.test/ns/leno-system/sa/leno-server", time.Hour), i, false},
		"another mesh":           {leafOf(other, serverURI, time.Hour), other, false},
		"another, with our root": {stolen, other, false},
	} {
		if err := contact(t, later, c.chain, c.by.key); (err == nil) != c.ok {
			t.Errorf("later, %s: %v", name, err)
		}
	}
}

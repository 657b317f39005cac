package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
	agentv1 "github.com/leno-mesh/leno/api/agent/v1"
	"github.com/leno-mesh/leno/xds"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t *testing.T) Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "leno") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Config{Data: filepath.Join(dir, "data"), Listen: "127.0.0.1:0", AdminSocket: filepath.Join(dir, "admin.sock"), Version: "v0"}
}

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func stop(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// admin returns a client over the socket.
func admin(t *testing.T, s *Server) adminv1connect.AdminClient {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.AdminSocket())
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return adminv1connect.NewAdminClient(&http.Client{Transport: transport}, "http://localhost")
}

const cart = `
apiVersion: v1
kind: Service
metadata: {name: cart}
spec:
  selector: {app: cart}
  ports: [{port: 80, appProtocol: http}]
`

func apply(t *testing.T, c adminv1connect.AdminClient, yaml string) uint64 {
	t.Helper()
	applied, err := c.Apply(t.Context(), &adminv1.ApplyRequest{Documents: []*adminv1.Document{{Source: "test", Content: yaml}}})
	if err != nil {
		t.Fatal(err)
	}
	return applied.GetRevision()
}

// enrol joins with a token and returns the certificate.
func enrol(t *testing.T, s *Server, token string) (tls.Certificate, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := agentv1.NewEnrolmentClient(dial(t, s)).Issue(t.Context(), &agentv1.IssueRequest{Token: token, Csr: csr})
	return tls.Certificate{Certificate: issued.GetCertificates(), PrivateKey: key}, err
}

func dial(t *testing.T, s *Server, certificates ...tls.Certificate) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(s.XDSAddress(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		InsecureSkipVerify: true, Certificates: certificates, // who the server is does not matter here
	})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// listener asks for one listener over ADS, and reports whether there is one.
func listener(t *testing.T, conn *grpc.ClientConn, name string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: "test"}, TypeUrl: xds.ListenerType, ResourceNamesSubscribe: []string{name},
	})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	return len(answer.GetResources()) == 1 && answer.GetResources()[0].GetName() == name
}

func TestWhatWasAppliedIsServedAndOutlivesTheServer(t *testing.T) {
	cfg := config(t)
	s := start(t, cfg)
	client := admin(t, s)
	revision := apply(t, client, cart)
	created, err := client.CreateToken(t.Context(), &adminv1.CreateTokenRequest{Service: "web", Uses: 2})
	if err != nil {
		t.Fatal(err)
	}
	if wait, err := client.Wait(t.Context(), &adminv1.WaitRequest{Revision: revision}); err != nil {
		t.Fatal(err)
	} else {
		for wait.Receive() {
		}
		wait.Close()
	}
	certificate, err := enrol(t, s, created.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	const name = "cart.default.mesh.internal:80"
	if !listener(t, dial(t, s, certificate), name) {
		t.Error("the applied service is not served")
	}
	domain := s.TrustDomain()
	stop(t, s)

	s = start(t, cfg)
	if s.TrustDomain() != domain {
		t.Errorf("the trust domain was %s and is %s", domain, s.TrustDomain())
	}
	if !listener(t, dial(t, s, certificate), name) {
		t.Error("the applied service is not served after a restart, to a certificate of before")
	}
	if _, err := enrol(t, s, created.GetToken()); err != nil {
		t.Errorf("the second use of a token after a restart: %v", err)
	}
	if _, err := enrol(t, s, created.GetToken()); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "used already") {
		t.Errorf("the third use of a token for two: %v", err)
	}
	stop(t, s)
}

func TestAMeshBeginsStrict(t *testing.T) {
	s := start(t, config(t))
	got, err := admin(t, s).Get(t.Context(), &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "Mesh", Namespace: "leno-system", Name: "default"}})
	if err != nil {
		t.Fatal(err)
	}
	if o := got.GetObject().GetJson(); !strings.Contains(o, `"STRICT"`) || !strings.Contains(o, s.TrustDomain()) {
		t.Errorf("the mesh is %s", o)
	}
	listed, err := admin(t, s).List(t.Context(), &adminv1.ListRequest{Kind: "Namespace"})
	if err != nil || len(listed.GetObjects()) != 2 {
		t.Errorf("namespaces %v, %v", listed, err)
	}
	stop(t, s)
}

func TestStatusTellsOfEveryPart(t *testing.T) {
	cfg := config(t)
	s := start(t, cfg)
	got, err := admin(t, s).Status(t.Context(), &adminv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetVersion() != "v0" || got.GetStore().GetSize() == 0 || got.GetStore().GetPath() != filepath.Join(cfg.Data, "leno.db") ||
		got.GetTrust().GetDomain() != s.TrustDomain() || len(got.GetTrust().GetRootSha256()) != 64 ||
		got.GetTrust().GetIssuerExpiresAt() < time.Now().UnixMilli() {
		t.Errorf("status %v", got)
	}
	stop(t, s)
}

func TestTheFilesAreTheOwnersAlone(t *testing.T) {
	cfg := config(t)
	s := start(t, cfg)
	for path, want := range map[string]os.FileMode{
		cfg.Data: 0o700, filepath.Join(cfg.Data, "ca"): 0o700, filepath.Join(cfg.Data, "leno.db"): 0o600, cfg.AdminSocket: 0o600,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %04o", path, info.Mode().Perm(), err, want)
		}
	}
	stop(t, s)
	if _, err := os.Stat(cfg.AdminSocket); !os.IsNotExist(err) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestTheAdminAPIOverTCPTakesAToken(t *testing.T) {
	cfg := config(t)
	cfg.AdminTCP = "127.0.0.1:0"
	s := start(t, cfg)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := adminv1connect.NewAdminClient(&http.Client{Transport: transport}, "http://"+s.AdminTCP())
	if _, err := client.Status(t.Context(), &adminv1.StatusRequest{}); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("without a token: %v", err)
	}
	token, err := os.ReadFile(s.AdminTokenFile())
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.AdminTCP()+"/leno.admin.v1.Admin/Status", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Content-Type", "application/json")
	answer, err := transport.RoundTrip(request)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("with the token: %v, %v", answer, err)
	}
	answer.Body.Close()
	stop(t, s)
}

func TestStartSaysInASentenceWhyItCannot(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, cfg *Config)
		want  string
	}{
		{"locked store", func(t *testing.T, cfg *Config) {
			other := *cfg
			other.AdminSocket += "2"
			start(t, other)
		}, "is in use by another leno process"},
		{"damaged store", func(t *testing.T, cfg *Config) {
			write(t, filepath.Join(cfg.Data, "leno.db"), "this is not a database")
		}, "leno.db is damaged"},
		{"port in use", func(t *testing.T, cfg *Config) {
			other := config(t)
			cfg.Listen = start(t, other).XDSAddress()
		}, "the port is in use; is another control plane running?"},
		{"socket in use", func(t *testing.T, cfg *Config) {
			other := config(t)
			cfg.AdminSocket = start(t, other).AdminSocket()
		}, "another control plane is already listening"},
		{"open directory", func(t *testing.T, cfg *Config) {
			write(t, filepath.Join(cfg.Data, "x"), "")
			if err := os.Chmod(cfg.Data, 0o755); err != nil {
				t.Fatal(err)
			}
		}, "run chmod 700 on it"},
		{"directory that is a file", func(t *testing.T, cfg *Config) {
			write(t, filepath.Join(cfg.Data, "x"), "")
			cfg.Data = filepath.Join(cfg.Data, "x")
		}, "cannot be used"},
		{"no address", func(_ *testing.T, cfg *Config) { cfg.Listen = "15012" }, "give HOST:PORT"},
		{"open console", func(_ *testing.T, cfg *Config) { cfg.AdminTCP = "0.0.0.0:0" }, "give a loopback address"},
		{"other trust domain", func(t *testing.T, cfg *Config) {
			stop(t, start(t, *cfg))
			cfg.TrustDomain = "other.example"
		}, "not other.example, and cannot change it"},
		{"half a root", func(_ *testing.T, cfg *Config) { cfg.RootCertificate = "root.pem" }, "both its certificate and its key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := config(t)
			c.spoil(t, &cfg)
			s, err := Start(t.Context(), cfg)
			if err == nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one sentence with %q", err, c.want)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestARefusedStartLeavesEverythingFree(t *testing.T) {
	cfg := config(t)
	good := cfg
	cfg.AdminTCP = "10.0.0.1:1"
	if s, err := Start(t.Context(), cfg); err == nil {
		s.Close()
		t.Fatal("started")
	}
	stop(t, start(t, good))
}

func TestTheServerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, err := Start(ctx, config(t))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := s.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

func TestOldTokensAreForgotten(t *testing.T) {
	s := start(t, config(t))
	client := admin(t, s)
	first, err := client.CreateToken(t.Context(), &adminv1.CreateTokenRequest{Service: "web", TtlSeconds: 60})
	if err != nil {
		t.Fatal(err)
	}
	s.tokens.now = func() time.Time { return time.Now().Add(8 * 24 * time.Hour) }
	if _, err := client.CreateToken(t.Context(), &adminv1.CreateTokenRequest{Service: "web", TtlSeconds: 60}); err != nil {
		t.Fatal(err)
	}
	kept, err := s.tokens.all()
	if err != nil || len(kept) != 1 || kept[0].ID == first.GetInfo().GetId() {
		t.Errorf("kept %v, %v", kept, err)
	}
	stop(t, s)
}

func TestTokensAreListedWhileTheyCanBeUsed(t *testing.T) {
	s := start(t, config(t))
	client := admin(t, s)
	var ids []string
	for range 3 {
		created, err := client.CreateToken(t.Context(), &adminv1.CreateTokenRequest{Service: "web"})
		if err != nil {
			t.Fatal(err)
		}
		if ids = append(ids, created.GetInfo().GetId()); len(ids) == 2 {
			if _, err := enrol(t, s, created.GetToken()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := client.RevokeToken(t.Context(), &adminv1.RevokeTokenRequest{Id: ids[2]}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.RevokeToken(t.Context(), &adminv1.RevokeTokenRequest{Id: "unknown"}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("revoking what is not there: %v", err)
	}
	listed, err := client.ListTokens(t.Context(), &adminv1.ListTokensRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, token := range listed.GetTokens() {
		got = append(got, token.GetId())
	}
	if !slices.Equal(got, ids[:1]) {
		t.Errorf("listed %v of %v", got, ids)
	}
	stop(t, s)
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/control/adminapi"
	"github.com/leno-mesh/leno/control/assemble"
	"github.com/leno-mesh/leno/control/source"
	"github.com/leno-mesh/leno/control/store/bolt"
)

var update = flag.Bool("update", false, "write what the commands say into the scripts")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestScripts runs the scripts of testdata. A script holds files, each after a
// line "-- NAME --", and commands after "$ "; "$ NAME<FILE" lines give standard
// input. What follows a command is what it writes: standard output, then
// standard error after "! ", then "[exit N]" unless that is 0.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range scripts {
		path, err := filepath.Abs(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(want))
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the commands say something else (-want +got); -update takes it over:\n%s", diff)
			}
		})
	}
}

func runScript(t *testing.T, script string) string {
	m := startMesh(t)
	commands, files, _ := strings.Cut(script, "\n-- ")
	dir := t.TempDir()
	if files != "" {
		writeFiles(t, dir, "-- "+files)
		files = "\n-- " + files
	}
	t.Chdir(dir)
	var out strings.Builder
	skipping := false
	for line := range strings.Lines(commands + "\n") {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "$ "):
			fmt.Fprintln(&out, line)
			out.WriteString(m.run(t, line[2:]))
			skipping = true
		case strings.HasPrefix(line, "#"):
			if skipping {
				out.WriteString("\n")
			}
			fmt.Fprintln(&out, line)
			skipping = false
		case !skipping:
			fmt.Fprintln(&out, line)
		}
	}
	return strings.TrimSuffix(out.String(), "\n") + "\n" + strings.TrimPrefix(files, "\n")
}

func writeFiles(t *testing.T, dir, archive string) {
	for part := range strings.SplitSeq("\n"+archive, "\n-- ") {
		if name, content, ok := strings.Cut(part, " --\n"); ok {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(content+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// testMesh is a control plane on a real store, whose proxies are made up.
type testMesh struct {
	socket string
	tcp    string
}

const (
	now       = 1600000000000 // milliseconds
	testToken = "0123456789abcdef0123456789abcdef"
)

func startMesh(t *testing.T) *testMesh {
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, "mesh.db"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	assembler := assemble.New(source.NewStore(db))
	running.Go(func() {
		if err := assembler.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	server := adminapi.New(adminapi.Config{
		Version: "v0.1.0", StartedAt: time.UnixMilli(now - 3600_000), Store: db,
		StoreInfo: func() (string, int64) { return "mesh.db", 65536 },
		Snapshots: assembler.Snapshots(),
		Trust: func() *adminv1.Trust {
			return &adminv1.Trust{Domain: "test.leno.internal", RootSha256: "ab12", RootExpiresAt: now + 3650*24*3600_000, IssuerExpiresAt: now + 90*24*3600_000}
		},
		ProxyAddress: "127.0.0.1:15012", Proxies: madeUp{}, Traffic: madeUp{}, Tokens: madeTokens{},
	})
	unix, err := adminapi.ListenUnix(filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running.Go(func() { adminapi.Serve(ctx, unix, server.Handler()) })
	running.Go(func() { adminapi.Serve(ctx, tcp, adminapi.Guard(testToken, server.Handler())) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		db.Close()
	})
	return &testMesh{socket: unix.Addr().String(), tcp: tcp.Addr().String()}
}

// run executes one command line and returns what it says.
func (m *testMesh) run(t *testing.T, line string) string {
	line, input, _ := strings.Cut(line, " < ")
	var in []byte
	if input != "" {
		var err error
		if in, err = os.ReadFile(input); err != nil {
			t.Fatal(err)
		}
	}
	variables := map[string]string{"LENO_SERVER": m.socket}
	args := strings.Fields(strings.NewReplacer("$TCP", "http://"+m.tcp, "$TOKEN", testToken).Replace(line))
	for strings.Contains(args[0], "=") {
		name, value, _ := strings.Cut(args[0], "=")
		variables[name] = value
		args = args[1:]
	}
	if args[0] != "leno" {
		t.Fatalf("%q is not a leno command", line)
	}
	var stdout, stderr bytes.Buffer
	env := &Env{
		In: bytes.NewReader(in), Out: &stdout, Err: &stderr,
		Getenv:  func(name string) string { return variables[name] },
		Now:     func() time.Time { return time.UnixMilli(now) },
		Version: "v0.1.0",
	}
	code := Main(t.Context(), env, args[1:])
	said := stdout.String()
	for line := range strings.Lines(stderr.String()) {
		said += "! " + line
	}
	if code != 0 {
		said += fmt.Sprintf("[exit %d]\n", code)
	}
	said = strings.NewReplacer(m.socket, "SOCKET", m.tcp, "TCP").Replace(said)
	return m.settle(said)
}

// What differs from run to run.
var (
	uid     = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}`)
	created = regexp.MustCompile(`creationTimestamp: "[^"]+"|"creationTimestamp": "[^"]+"`)
	goLine  = regexp.MustCompile(`\(go[^)]*\)`)
)

func (m *testMesh) settle(said string) string {
	said = uid.ReplaceAllString(said, "UID")
	said = created.ReplaceAllStringFunc(said, func(s string) string {
		name, _, _ := strings.Cut(s, ": ")
		return name + `: "TIME"`
	})
	return goLine.ReplaceAllString(said, "(GO)")
}

// madeUp stands for proxies, traffic and tokens.
type madeUp struct{}

func (madeUp) List() []*adminv1.Proxy {
	return []*adminv1.Proxy{
		{
			Name: "cart-1", Identity: "spiffe://test.leno.internal/ns/shop/sa/cart", Namespace: "shop", Service: "cart", Workload: "cart-1", Mode: "sidecar", Version: "v0.1.0",
			Connected: true, Healthy: true, Synced: true, CertificateExpiresAt: now + 20*3600_000, ResidentBytes: 9 << 20, Connections: 12,
			Versions: []*adminv1.TypeVersion{{Type: "listener", Wanted: "a1", Acked: "a1"}},
		},
		{
			Name: "web-1", Namespace: "shop", Service: "web", Mode: "sidecar", Version: "v0.1.0", Connected: true, Healthy: false, Reason: "connection refused on port 8080\x1b[2J",
			CertificateExpiresAt: now + 60_000, Bypassable: true,
			Rejected: []*adminv1.Rejection{{Proxy: "web-1", Type: "cluster", Resource: "shop/cart/80", Reason: "unknown policy"}},
		},
		{Name: "envoy-1", Namespace: "shop", Connected: true, Synced: true},
		{Name: "dns-1", Namespace: "infra", Service: "dns", Mode: "sidecar", Version: "v0.0.9"},
	}
}

func (madeUp) Dump(_ context.Context, proxy, what string) ([]byte, error) {
	if proxy != "cart-1" {
		return nil, errors.New("the proxy hung up")
	}
	return os.ReadFile(what + ".json")
}

func (madeUp) Served() (uint64, <-chan struct{}) { return math.MaxUint64, nil }

func (madeUp) Progress(uint64) (*adminv1.WaitResponse, <-chan struct{}) {
	return &adminv1.WaitResponse{Done: 1, Total: 2, Rejected: []*adminv1.Rejection{{Proxy: "web-1", Type: "cluster", Resource: "shop/cart/80", Reason: "unknown policy"}}}, nil
}

func (madeUp) Table() (time.Duration, []*adminv1.TrafficRow) { return time.Second, nil }

// madeTokens stands for join tokens.
type madeTokens struct{}

func (madeTokens) Create(_ context.Context, r adminapi.TokenRequest) (string, *adminv1.Token, error) {
	return "leno1.3kq9x2.SECRET.ROOT", token(r), nil
}

func token(r adminapi.TokenRequest) *adminv1.Token {
	return &adminv1.Token{
		Id: "3kq9x2", Namespace: r.Namespace, Service: r.Service, Account: r.Account, UsesLeft: uint32(r.Uses),
		CreatedAt: now, ExpiresAt: now + r.TTL.Milliseconds(),
	}
}

func (madeTokens) List(context.Context) ([]*adminv1.Token, error) {
	return []*adminv1.Token{token(adminapi.TokenRequest{Namespace: "shop", Service: "cart", Account: "cart", TTL: 10 * time.Minute, Uses: 3})}, nil
}

func (madeTokens) Revoke(_ context.Context, id string) error {
	if id != "3kq9x2" {
		return adminapi.ErrNoToken
	}
	return nil
}

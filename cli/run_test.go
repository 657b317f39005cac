package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/cli/supervise"
	"github.com/leno-mesh/leno/lib/jointoken"
)

func TestRunRefusesWhatItCannotUnderstand(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"-- prog", "The service is missing: give --service NAME."},
		{"--service cart", "The command is missing: give it after --."},
		{"--service Cart! -- prog", `"Cart!" cannot be the name of a service`},
		{"--service cart --port 99999 -- prog", `The port "99999" is not N or N/PROTOCOL.`},
		{"--service cart --port 0 -- prog", `The port "0" is not N or N/PROTOCOL.`},
		{"--service cart --port 80/smtp -- prog", `There is no protocol "smtp"; choose http, http2, grpc or tcp.`},
		{"--service cart --port 80/ -- prog", `There is no protocol ""`},
		{"--service cart --upstream stock=1 -- prog", `The upstream "stock=1" is not NAME:PORT=LOCALPORT.`},
		{"--service cart --upstream stock:1=x -- prog", `The upstream "stock:1=x" is not NAME:PORT=LOCALPORT.`},
		{"--service cart --label x -- prog", `The label "x" is not KEY=VALUE.`},
		{"--service cart --address host -- prog", `The address "host" is not an IP address of this machine.`},
		{"--service cart --address 0.0.0.0 -- prog", `The address "0.0.0.0" is not an IP address of this machine.`},
		{"--service cart --token a --token-file b -- prog", "Choose either --token or --token-file."},
		{"--service cart --server unix:///run/leno.sock -- prog", "LENO_SERVER names the one for commands"},
	} {
		env, _, stderr := fakeEnv()
		code := Main(t.Context(), env, append([]string{"run"}, strings.Fields(c.args)...))
		if code != ExitUsage || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: exit %d: %s", c.args, code, stderr)
		}
	}
}

func TestRunReadsItsFlagsAndLeavesTheCommandsAlone(t *testing.T) {
	env, _, _ := fakeEnv()
	env.flags.namespace = "shop"
	o := runOptions{service: "cart", ports: []string{"80", "81/grpc"}, address: "127.0.0.1", server: defaultProxyServer}
	cfg, protocols, err := o.config(env, []string{"prog", "--flag"})
	if err != nil {
		t.Fatal(err)
	}
	w := cfg.Workload
	if w.Namespace != "shop" || w.Account != "cart" || !strings.HasPrefix(w.Name, "cart-") || len(w.Name) != len("cart-")+6 ||
		!slices.Equal(w.Ports, []int{80, 81}) || !slices.Equal(cfg.Command, []string{"prog", "--flag"}) {
		t.Errorf("%+v", cfg)
	}
	if diff := cmp.Diff(map[int]string{81: "grpc"}, protocols); diff != "" {
		t.Error(diff)
	}
	other, _, err := o.config(env, []string{"prog"})
	if err != nil || other.Workload.Name == w.Name {
		t.Errorf("two runs have the name %s, %v", w.Name, err)
	}
}

// admitted runs admit against a mesh.
func admitted(t *testing.T, server string, o runOptions, protocols map[int]string) (*supervise.Config, *Env, error) {
	t.Helper()
	env, _, _ := fakeEnv()
	env.Getenv = func(name string) string { return map[string]string{"LENO_SERVER": server}[name] }
	o.service, o.address, o.server = "pay", "127.0.0.1", defaultProxyServer
	cfg, _, err := o.config(env, []string{"prog"})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Workload.Ports = []int{8080, 9090}
	return cfg, env, env.admit(t.Context(), &o, cfg, protocols)
}

func TestRunAsksForATokenUnlessItHasOne(t *testing.T) {
	m := startMesh(t)
	given, filed := jointoken.New([32]byte{1}).Reveal(), jointoken.New([32]byte{2}).Reveal()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(" "+filed+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	nowhere := filepath.Join(state, "nowhere.sock")
	for _, c := range []struct {
		name, server string
		o            runOptions
		want         string
		fails        string
	}{
		{"asked for", m.socket, runOptions{}, "leno1.3kq9x2.SECRET.ROOT", ""},
		{"given", m.socket, runOptions{token: given}, given, ""},
		{"in a file", nowhere, runOptions{tokenFile: file}, filed, ""},
		{"in a file that is not there", m.socket, runOptions{tokenFile: file + "2"}, "", file + "2"},
		{"spoiled", m.socket, runOptions{token: given[:20]}, "", "--token holds no join token"},
		{"no server", nowhere, runOptions{}, "", "leno token create --service pay"},
		{"no server, nothing kept", nowhere, runOptions{state: filepath.Join(state, "empty")}, "", "leno token create"},
		{"no server, identity kept", nowhere, runOptions{state: filepath.Dir(file)}, "", ""},
	} {
		cfg, _, err := admitted(t, c.server, c.o, nil)
		switch {
		case c.fails == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: %v, want %q", c.name, err, c.fails)
		case cfg.Token != c.want:
			t.Errorf("%s: token %q, want %q", c.name, cfg.Token, c.want)
		}
	}
}

func TestRunSaysWhereATokenComesFrom(t *testing.T) {
	env, _, stderr := fakeEnv()
	code := Main(t.Context(), env, []string{"run", "--service", "cart", "--", "true"})
	if code != ExitUnreachable || !strings.Contains(stderr.String(), "`leno token create --service cart`") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestRunHasTheExitCodesOfAShell(t *testing.T) {
	for command, want := range map[string]int{"no-such-program": 127, t.TempDir(): 126} {
		env, _, stderr := fakeEnv()
		code := Main(t.Context(), env, []string{"run", "--service", "cart", "--", command})
		if code != want || !strings.HasPrefix(stderr.String(), "Cannot run the command: ") {
			t.Errorf("%s: exit %d: %s", command, code, stderr)
		}
	}
}

func TestRunGivesTheServiceThatItMakesToItsAccount(t *testing.T) {
	for account, want := range map[string]bool{"": false, "payer": true} {
		m := startMesh(t)
		_, env, err := admitted(t, m.socket, runOptions{account: account, token: jointoken.New([32]byte{}).Reveal()}, map[int]string{8080: "http"})
		if err != nil {
			t.Fatal(err)
		}
		client, err := env.Client()
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Get(t.Context(), &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "Service", Namespace: "default", Name: "pay"}})
		if err != nil {
			t.Fatal(err)
		}
		if json := got.GetObject().GetJson(); strings.Contains(json, `"leno.dev/account":"payer"`) != want {
			t.Errorf("account %q: %s", account, json)
		}
	}
}

func TestRunMakesTheServiceWhoseProtocolItKnows(t *testing.T) {
	m := startMesh(t)
	for range 2 { // the second finds it there
		_, env, err := admitted(t, m.socket, runOptions{token: jointoken.New([32]byte{}).Reveal()}, map[int]string{8080: "http"})
		if err != nil {
			t.Fatal(err)
		}
		client, err := env.Client()
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.Get(t.Context(), &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "Service", Namespace: "default", Name: "pay"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{`"leno.dev/service":"pay"`, `"name":"port-8080","protocol":"TCP","appProtocol":"http","port":8080`, `"name":"port-9090","protocol":"TCP","port":9090`} {
			if json := strings.Join(strings.Fields(got.GetObject().GetJson()), ""); !strings.Contains(json, want) {
				t.Errorf("%s is missing in %s", want, json)
			}
		}
	}
}

func TestWithoutAServerTheProtocolIsLeftToDetection(t *testing.T) {
	if _, _, err := admitted(t, "/nowhere/admin.sock", runOptions{token: jointoken.New([32]byte{}).Reveal()}, map[int]string{8080: "http"}); err != nil {
		t.Error(err)
	}
}

func TestTheDataPlaneHasItsOwnArguments(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // what the proxy gets; "-" when it is not asked
	}{
		{"proxy sidecar --help", "sidecar --help"},
		{"proxy -c file.yaml", "-c file.yaml"},
		{"proxy list --help", "-"},
		{"proxy --help", "-"},
		{"version", "-"},
	} {
		env, _, _ := fakeEnv()
		got := "-"
		env.Proxy = func(args []string) int { got = strings.Join(args, " "); return 7 }
		code := Main(t.Context(), env, strings.Fields(c.args))
		if got != c.want || (c.want == "-") != (code == 0) {
			t.Errorf("%s: the proxy got %q, exit %d", c.args, got, code)
		}
	}
}

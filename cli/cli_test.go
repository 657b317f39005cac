package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
)

func fakeEnv() (*Env, *bytes.Buffer, *bytes.Buffer) {
	var out, err bytes.Buffer
	return &Env{
		In: strings.NewReader(""), Out: &out, Err: &err,
		Getenv: func(string) string { return "" },
		Now:    func() time.Time { return time.UnixMilli(now) },
	}, &out, &err
}

func TestEveryVerbHasAnExampleAndASummary(t *testing.T) {
	env, _, _ := fakeEnv()
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Short == "" || !strings.Contains(cmd.Example, "leno") {
			t.Errorf("%s lacks a summary or an example", cmd.CommandPath())
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(Root(env))
}

func TestAnExtraCommandKeepsTheSubcommandsOfItsName(t *testing.T) {
	env, out, _ := fakeEnv()
	ran := false
	extra := &cobra.Command{Use: "proxy", Short: "Run a proxy", RunE: func(*cobra.Command, []string) error { ran = true; return nil }}
	if code := Main(t.Context(), env, []string{"proxy"}, extra); code != 0 || !ran {
		t.Errorf("exit %d, ran %v", code, ran)
	}
	if code := Main(t.Context(), env, []string{"proxy", "list", "--help"}, extra); code != 0 || !strings.Contains(out.String(), "List the proxies") {
		t.Errorf("exit %d: %s", code, out)
	}
}

func TestTablesAreBoxedOnATerminalOnly(t *testing.T) {
	demo := &table{header: []string{"NAME", "STATE"}}
	demo.add(text("cart"), cell{"ok", good})
	demo.add(text("évé"), cell{})
	tests := []struct {
		name, color, noColor string
		width                int
		want                 string
	}{
		{"a pipe", "auto", "", 0, "NAME   STATE\ncart   ok\névé    -\n"},
		{"a pipe in colour", "always", "", 0, "NAME   STATE\ncart   \x1b[32mok\x1b[m\névé    -\n"},
		{"a terminal without colour", "never", "", 80, "NAME   STATE\ncart   ok\névé    -\n"},
		{"NO_COLOR", "auto", "1", 80, "NAME   STATE\ncart   ok\névé    -\n"},
	}
	for _, test := range tests {
		env, out, _ := fakeEnv()
		env.OutWidth, env.flags.color = test.width, test.color
		env.Getenv = func(name string) string { return map[string]string{"NO_COLOR": test.noColor}[name] }
		env.print(demo)
		if out.String() != test.want {
			t.Errorf("%s: %q, want %q", test.name, out, test.want)
		}
	}
	env, out, _ := fakeEnv()
	env.OutWidth, env.flags.color = 10, "auto"
	env.print(demo)
	if strings.Contains(out.String(), "╭") || !strings.Contains(out.String(), "\x1b[32m") {
		t.Errorf("a narrow terminal:\n%s", out)
	}
	env, out, _ = fakeEnv()
	env.OutWidth, env.flags.color = 80, "auto"
	env.print(demo)
	if !strings.Contains(out.String(), "╭") || !strings.Contains(out.String(), "\x1b[32m") {
		t.Errorf("a terminal:\n%s", out)
	}
}

func TestTextOfOthersCannotCommandTheTerminal(t *testing.T) {
	if got := printable("a\x1b[31mb\u202ec\nd\x07"); got != "a[31mbc d" {
		t.Errorf("%q", got)
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, ExitOK},
		{usage("x"), ExitUsage},
		{&ExitError{Code: ExitDifferent}, ExitDifferent},
		{connect.NewError(connect.CodeInvalidArgument, context.Canceled), ExitRefused},
		{connect.NewError(connect.CodeUnavailable, &net.OpError{Op: "dial", Err: context.Canceled}), ExitUnreachable},
		{connect.NewError(connect.CodeUnavailable, context.Canceled), ExitUnreachable},
		{connect.NewError(connect.CodeDeadlineExceeded, context.Canceled), ExitTimeout},
		{context.DeadlineExceeded, ExitTimeout},
	}
	for _, test := range tests {
		if got := exitCode(test.err); got != test.want {
			t.Errorf("%v: %d, want %d", test.err, got, test.want)
		}
	}
}

func TestASocketNobodyListensOnIsUnreachable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dead.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	env, _, said := fakeEnv()
	if code := Main(t.Context(), env, []string{"status", "--server", path}); code != ExitUnreachable || !strings.Contains(said.String(), "leno up") {
		t.Errorf("exit %d: %s", code, said)
	}
}

func FuzzDumpOfAProxyIsShownWhateverItIs(f *testing.F) {
	f.Add([]byte(`{"configs":[{"kind":"listeners","resources":[{"name":"a:1","resource":{}},{"absent":true}]}]}`))
	f.Add([]byte(`{"configs":[{"kind":"routes","resources":[{"resource":{"virtual_hosts":[{"routes":[{"name":"a/b/0","match":{"safe_regex":{"regex":"."}}}]}]}}]}]}`))
	f.Add([]byte(`{"cluster_statuses":[{"host_statuses":[{"rq_total":1}]}],"certificates":[{"subject_alt_names":[{}]}]}`))
	f.Fuzz(func(t *testing.T, dump []byte) {
		var object map[string]any
		if json.Unmarshal(dump, &object) != nil {
			return
		}
		env, out, _ := fakeEnv()
		if err := env.printDump(dump); err != nil || out.Len() == 0 {
			t.Fatalf("%v, %q", err, out)
		}
		if strings.ContainsRune(out.String(), '\x1b') {
			t.Fatalf("commands the terminal: %q", out)
		}
	})
}

// stopper ends a command once it has written what is waited for.
type stopper struct {
	bytes.Buffer
	until string
	stop  context.CancelFunc
}

func (s *stopper) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.until) {
		s.stop()
	}
	return n, err
}

func TestWatchGoesOnUntilItIsStopped(t *testing.T) {
	m := startMesh(t)
	dir := t.TempDir()
	writeFiles(t, dir, "-- cart.yaml --\napiVersion: v1\nkind: Service\nmetadata: {name: cart}\nspec: {ports: [{port: 80}]}\n-- web.yaml --\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}")
	m.run(t, "leno apply -f "+filepath.Join(dir, "cart.yaml"))
	ctx, cancel := context.WithCancel(t.Context())
	env, _, said := fakeEnv()
	env.Out = &stopper{until: "web", stop: cancel}
	seen := make(chan int)
	go func() { seen <- Main(ctx, env, []string{"get", "svc", "-w", "--server", m.socket}) }()
	m.run(t, "leno apply -f "+filepath.Join(dir, "web.yaml"))
	if code := <-seen; code != 0 || !strings.Contains(env.Out.(*stopper).String(), "added      cart  80") {
		t.Errorf("exit %d: %s%s", code, env.Out, said)
	}
}

func TestShellsAreCompleted(t *testing.T) {
	env, out, _ := fakeEnv()
	if code := Main(t.Context(), env, []string{"__complete", "get", ""}); code != 0 || !strings.Contains(out.String(), "httproutes\n") {
		t.Errorf("exit %d: %s", code, out)
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		env, out, _ := fakeEnv()
		if code := Main(t.Context(), env, []string{"completion", shell}); code != 0 || !strings.Contains(out.String(), "leno") {
			t.Errorf("%s: exit %d", shell, code)
		}
	}
}

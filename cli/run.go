package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
	"github.com/leno-mesh/leno/api/v1alpha1"
	"github.com/leno-mesh/leno/cli/supervise"
	"github.com/leno-mesh/leno/lib/jointoken"
)

// defaultProxyServer is where proxies of this machine find leno up.
const defaultProxyServer = "127.0.0.1:15012"

// joinSeconds is how long a token that run asks for may wait to be used.
const joinSeconds = 300

type runOptions struct {
	service, account, name, address, health string
	metrics                                 string
	ports, upstreams, labels                []string
	server, token, tokenFile, state         string
	logLevel                                string
	verbose                                 bool
}

func runCommand(env *Env) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run --service NAME [--port N] -- COMMAND...",
		Short: "Run a program as a workload of the mesh",

		DisableFlagsInUseLine: true, // they come before the command
		Long: `Run starts a proxy, then the command beside it, and makes the two a workload of
the service. The command's HTTP calls go through the proxy by HTTP_PROXY, where a
service is reached by its name; other protocols by the local ports of --upstream.
Run ends with the command and with its exit code: 127 when there is no such
command, 126 when it cannot be executed, 128 and more when a signal ended it.

Without a join token, run asks the control plane of this user for one
(LENO_SERVER names another).`,
		Example: `  leno run --service cart --port 8080/http -- ./cart --listen 127.0.0.1:8080
  leno run --service web --port 8080 --upstream orders:5432=15432 -- ./web
  leno run --service job --token-file job.token --server mesh.example:15012 -- ./job`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, protocols, err := o.config(env, args)
			if err != nil {
				return err
			}
			// Before a token is made for it.
			if code, err := supervise.Look(args[0]); err != nil {
				return &ExitError{code, err}
			}
			if err := env.admit(cmd.Context(), &o, cfg, protocols); err != nil {
				return err
			}
			code, err := supervise.Run(*cfg)
			if code == 0 {
				return err
			}
			return &ExitError{code, err}
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&o.service, "service", "", "service that the program is an instance of, or calls as")
	f.StringArrayVar(&o.ports, "port", nil, "port on 127.0.0.1 that the program listens on: N or N/PROTOCOL, of http, http2, grpc and tcp; may be repeated")
	f.StringVar(&o.account, "account", "", "account of its identity (default: the service's name)")
	f.StringVar(&o.name, "name", "", "name of the workload (default: the service's name and something random)")
	f.StringVar(&o.address, "address", "127.0.0.1", "IP address that other machines reach this one at")
	f.StringVar(&o.health, "health", "", "path that answers 200 when the program is healthy (default: something listens on its ports)")
	f.StringVar(&o.metrics, "metrics", "", "HOST:PORT where the proxy serves /metrics (OpenMetrics) and /ready (default: on its admin socket alone)")
	f.StringArrayVar(&o.upstreams, "upstream", nil, "NAME:PORT=LOCALPORT opens a local port that leads to a service; may be repeated")
	f.StringArrayVar(&o.labels, "label", nil, "KEY=VALUE on the workload; may be repeated")
	f.StringVar(&o.server, "server", "", "HOST:PORT of the control plane that proxies connect to (default: what the control plane of this user says, or "+defaultProxyServer+")")
	f.StringVar(&o.token, "token", "", "join token; better in a file")
	f.StringVar(&o.tokenFile, "token-file", "", "file that holds the join token")
	f.StringVar(&o.state, "state", "", "directory that keeps the identity from run to run (default: none)")
	f.StringVar(&o.logLevel, "log-level", "warn", "of the proxy: debug, info, warn or error")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say what is done")
	return cmd
}

// config checks what the user said. protocols are by port.
func (o *runOptions) config(env *Env, args []string) (*supervise.Config, map[int]string, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program's file: %w", err)
	}
	if err := o.check(args); err != nil {
		return nil, nil, err
	}
	numbers, protocols, err := readPorts(o.ports)
	if err != nil {
		return nil, nil, err
	}
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	cfg := &supervise.Config{
		Sidecar: supervise.Find(executable), Server: cmp.Or(o.server, defaultProxyServer), State: o.state, LogLevel: o.logLevel,
		Workload: supervise.Workload{
			Namespace: env.Namespace(), Service: o.service, Account: cmp.Or(o.account, o.service),
			Name:    cmp.Or(o.name, o.service+"-"+strings.ToLower(rand.Text()[:6])),
			Address: o.address, Ports: numbers, Labels: o.labels, Upstreams: o.upstreams, Health: o.health,
			Metrics: o.metrics,
		},
		Command: args, Environ: os.Environ(), In: env.In, Out: env.Out, Err: env.Err,
		Log: slog.New(slog.NewTextHandler(env.Err, &slog.HandlerOptions{Level: level})),
	}
	cfg.Log.Info("the sidecar's program", "command", strings.Join(cfg.Sidecar, " "))
	return cfg, protocols, nil
}

func (o *runOptions) check(args []string) error {
	switch {
	case o.service == "":
		return usage("the service is missing: give --service NAME")
	case len(validation.IsDNS1123Label(o.service)) > 0:
		return usage("%q cannot be the name of a service: a name has lower-case letters, digits and -, at most 63", o.service)
	case len(args) == 0:
		return usage("the command is missing: give it after --")
	case o.token != "" && o.tokenFile != "":
		return usage("choose either --token or --token-file")
	}
	if _, port, err := net.SplitHostPort(cmp.Or(o.server, defaultProxyServer)); err != nil || portNumber(port) == 0 {
		return usage("the server %q is not HOST:PORT; it is the control plane's address for proxies, and LENO_SERVER names the one for commands", o.server)
	}
	if o.metrics != "" {
		if _, port, err := net.SplitHostPort(o.metrics); err != nil || portNumber(port) == 0 {
			return usage("--metrics %q is not HOST:PORT", o.metrics)
		}
	}
	if address, err := netip.ParseAddr(o.address); err != nil || address.IsUnspecified() {
		return usage("the address %q is not an IP address of this machine", o.address)
	}
	for _, upstream := range o.upstreams {
		service, local, ok := strings.Cut(upstream, "=")
		name, port, named := strings.Cut(service, ":")
		if !ok || !named || name == "" || portNumber(port) == 0 || portNumber(local) == 0 {
			return usage("the upstream %q is not NAME:PORT=LOCALPORT", upstream)
		}
	}
	for _, label := range o.labels {
		if key, _, ok := strings.Cut(label, "="); !ok || key == "" {
			return usage("the label %q is not KEY=VALUE", label)
		}
	}
	return nil
}

// readPorts reads N or N/PROTOCOL.
func readPorts(texts []string) (numbers []int, protocols map[int]string, err error) {
	protocols = make(map[int]string)
	for _, text := range texts {
		number, protocol, said := strings.Cut(text, "/")
		n := portNumber(number)
		if n == 0 {
			return nil, nil, usage("the port %q is not N or N/PROTOCOL", text)
		}
		switch protocol {
		case "http", "http2", "grpc", "tcp":
			protocols[n] = protocol
		default:
			if said {
				return nil, nil, usage("there is no protocol %q; choose http, http2, grpc or tcp", protocol)
			}
		}
		numbers = append(numbers, n)
	}
	return numbers, protocols, nil
}

// portNumber is 0 for what is none.
func portNumber(text string) int {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return int(n)
}

// admit gets what the workload needs from the control plane: a join token, and
// its Service where only the user can say what it speaks.
func (e *Env) admit(ctx context.Context, o *runOptions, cfg *supervise.Config, protocols map[int]string) error {
	client, err := e.Client()
	if err != nil {
		return err
	}
	if cfg.Token, err = o.joinToken(ctx, e, client, cfg); err != nil {
		return err
	}
	if len(protocols) == 0 {
		return nil
	}
	if err := ensureService(ctx, client, &cfg.Workload, protocols); err != nil {
		if exitCode(err) != ExitUnreachable {
			return fmt.Errorf("make service %s: %w", o.service, err)
		}
		cfg.Log.Warn("the protocol of the ports could not be told to the control plane; it is detected unless the Service says it", "server", e.address())
	}
	return nil
}

// joinToken is the one that the user gave, or a new one. Who has been here
// before may need none. Whoever makes a token also knows where its proxies
// connect, which counts unless the user said otherwise.
func (o *runOptions) joinToken(ctx context.Context, e *Env, client adminv1connect.AdminClient, cfg *supervise.Config) (string, error) {
	w := &cfg.Workload
	if o.tokenFile != "" {
		token, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return "", unreadable(o.tokenFile, err)
		}
		return checkedToken(string(token), "the file "+o.tokenFile)
	}
	if o.token != "" {
		return checkedToken(o.token, "--token")
	}
	created, err := client.CreateToken(ctx, &adminv1.CreateTokenRequest{
		Namespace: w.Namespace, Service: w.Service, Account: w.Account, TtlSeconds: joinSeconds, Uses: 1,
	})
	switch {
	case err == nil:
		if o.server == "" && created.GetProxyAddress() != "" {
			cfg.Server = created.GetProxyAddress()
		}
		return created.GetToken(), nil
	case exitCode(err) == ExitUnreachable && hasFiles(o.state):
		return "", nil
	case exitCode(err) == ExitUnreachable:
		return "", &ExitError{ExitUnreachable, fmt.Errorf("no control plane answers on %s to give a join token: start one with `leno up`, or make a token there with `leno token create --service %s` and give it by --token-file", e.address(), o.service)}
	}
	return "", err
}

// checkedToken finds here and now what no server would take.
func checkedToken(text, from string) (string, error) {
	text = strings.TrimSpace(text)
	if _, err := jointoken.Parse(text); err != nil {
		return "", usage("%s holds no join token: %w", from, err)
	}
	return text, nil
}

func hasFiles(dir string) bool {
	if dir == "" {
		return false
	}
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) > 0
}

// ensureService creates the Service, unless there is one: then what it says
// counts.
func ensureService(ctx context.Context, client adminv1connect.AdminClient, w *supervise.Workload, protocols map[int]string) error {
	_, err := client.Get(ctx, &adminv1.GetRequest{Reference: &adminv1.Reference{Kind: "Service", Namespace: w.Namespace, Name: w.Service}})
	if connect.CodeOf(err) != connect.CodeNotFound {
		return err
	}
	type object = map[string]any
	var ports []object
	for _, n := range w.Ports {
		port := object{"name": fmt.Sprintf("port-%d", n), "port": n}
		if protocol := protocols[n]; protocol != "" {
			port["appProtocol"] = protocol
		}
		ports = append(ports, port)
	}
	metadata := object{"name": w.Service, "namespace": w.Namespace}
	if w.Account != w.Service {
		metadata["annotations"] = object{v1alpha1.AccountAnnotation: w.Account} // else only the account of its name may register
	}
	content, err := json.Marshal(object{
		"apiVersion": "v1", "kind": "Service", "metadata": metadata,
		"spec": object{"selector": object{v1alpha1.ServiceLabel: w.Service}, "ports": ports},
	})
	if err != nil {
		return err
	}
	_, err = client.Apply(ctx, &adminv1.ApplyRequest{Documents: []*adminv1.Document{{Source: "leno run", Content: string(content)}}})
	if errors.Is(err, context.Canceled) {
		return ctx.Err()
	}
	return err
}

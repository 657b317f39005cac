package agent

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/leno-mesh/leno/lib/log"
)

const usage = `leno-proxy moves the traffic of a service mesh.

  leno-proxy -c FILE [-check] [-log-level LEVEL] [-drain-timeout D]
      run alone on an Envoy v3 bootstrap (YAML or JSON)
  leno-proxy sidecar -server HOST:PORT -state DIR -namespace NS -workload NAME [flags]
      join a mesh beside an application; leno run starts it so
  leno-proxy -version

Exit codes: 0 ended in order, 1 failed, 2 usage.
`

// Main runs leno-proxy with the arguments after the program's name and returns
// its exit code.
func Main(args []string, version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return Run(ctx, args, version, os.Stdout, os.Stderr)
}

// Run is Main with its surroundings given.
func Run(ctx context.Context, args []string, version string, out, errOut io.Writer) int {
	var err error
	if len(args) > 0 && args[0] == "sidecar" {
		err = runSidecar(ctx, args[1:], version, errOut)
	} else {
		err = runStatic(ctx, args, version, out, errOut)
	}
	var wrong *usageError
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(out, usage)
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintf(errOut, "leno-proxy: %s\n\n%s", wrong.text, usage)
		return 2
	}
	fmt.Fprintf(errOut, "leno-proxy: %v\n", err)
	return 1
}

type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func parse(f *flag.FlagSet, args []string) error {
	f.SetOutput(io.Discard)
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return &usageError{err.Error()}
	}
	if f.NArg() > 0 {
		return &usageError{"unexpected argument " + strconv.Quote(f.Arg(0))}
	}
	return nil
}

// shared adds the flags of every mode.
func shared(f *flag.FlagSet, o *Options, errOut io.Writer) (finish func() error) {
	level := f.String("log-level", "info", "")
	f.DurationVar(&o.Drain, "drain-timeout", 10*time.Second, "")
	return func() error {
		o.Level = new(log.Level)
		if !o.Level.Set(*level) {
			return &usageError{"-log-level is debug, info, warn or error"}
		}
		o.Log = log.New(errOut, o.Level)
		return nil
	}
}

func runStatic(ctx context.Context, args []string, version string, out, errOut io.Writer) error {
	f := flag.NewFlagSet("leno-proxy", flag.ContinueOnError)
	o := Options{Version: version}
	finish := shared(f, &o, errOut)
	file := f.String("c", "", "")
	check := f.Bool("check", false, "")
	show := f.Bool("version", false, "")
	if err := parse(f, args); err != nil {
		return err
	}
	if *show {
		fmt.Fprintln(out, "leno-proxy", version)
		return nil
	}
	if *file == "" {
		return &usageError{"-c FILE is missing"}
	}
	if err := finish(); err != nil {
		return err
	}
	b, ignored, err := LoadBootstrap(*file)
	if err != nil {
		return err
	}
	for _, path := range ignored {
		o.Log.Info("field has no effect in Leno", "field", path)
	}
	if *check {
		if err := Check(b); err != nil {
			return err
		}
		fmt.Fprintln(out, *file+": OK")
		return nil
	}
	return RunStatic(ctx, b, o, func(addresses map[string]net.Addr) {
		for name, a := range addresses {
			o.Log.Info("listening", "listener", name, "address", a.String())
		}
		returnMemory()
	})
}

// returnMemory gives the kernel back what reading the configuration left behind.
// An idle proxy allocates too little for the collector to come by itself: 1.8 MiB
// would stay with 100 clusters.
func returnMemory() { debug.FreeOSMemory() }

// list collects a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func runSidecar(ctx context.Context, args []string, version string, errOut io.Writer) error {
	f := flag.NewFlagSet("leno-proxy sidecar", flag.ContinueOnError)
	s := Sidecar{Options: Options{Version: version}}
	finish := shared(f, &s.Options, errOut)
	f.StringVar(&s.Server, "server", "", "")
	tokenFile := f.String("token-file", "", "")
	f.StringVar(&s.State, "state", "", "")
	f.StringVar(&s.Namespace, "namespace", "default", "")
	f.StringVar(&s.Service, "service", "", "")
	f.StringVar(&s.Account, "account", "", "")
	f.StringVar(&s.Workload, "workload", "", "")
	address := f.String("address", "127.0.0.1", "")
	var ports, labels, upstreams list
	f.Var(&ports, "port", "")
	f.Var(&labels, "label", "")
	f.Var(&upstreams, "upstream", "")
	f.StringVar(&s.HTTPProxy, "http-proxy", "", "")
	f.StringVar(&s.Admin, "admin", "", "")
	f.StringVar(&s.Metrics, "metrics", "", "")
	f.StringVar(&s.Health, "health", "", "")
	f.StringVar(&s.Zone, "zone", "", "")
	readyFD := f.Int("ready-fd", -1, "")
	if err := parse(f, args); err != nil {
		return err
	}
	tell := teller(*readyFD)
	err := finish()
	if err == nil {
		err = s.read(*address, *tokenFile, ports, labels, upstreams)
	}
	if err == nil {
		if os.Getenv("GOMAXPROCS") == "" {
			// One core serves some 80,000 requests a second; each further one
			// costs a quiet sidecar memory.
			runtime.GOMAXPROCS(1)
		}
		err = RunSidecar(ctx, s, func(b Bound) {
			tell(map[string]string{"http_proxy": b.HTTPProxy, "mesh": b.Mesh, "admin": b.Admin, "workload": b.Workload})
			returnMemory()
		})
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		tell(map[string]string{"error": err.Error()})
	}
	return err
}

// teller returns a function that writes one JSON line to a descriptor and
// closes it, the first time it is called.
func teller(fd int) func(map[string]string) {
	if fd < 0 {
		return func(map[string]string) {}
	}
	f := os.NewFile(uintptr(fd), "ready")
	return func(m map[string]string) {
		if f == nil {
			return
		}
		b := []byte{'{'}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if len(b) > 1 {
				b = append(b, ',')
			}
			b = append(appendJSONString(b, key), ':')
			b = appendJSONString(b, m[key])
		}
		_, _ = f.Write(append(b, "}\n"...))
		f.Close()
		f = nil
	}
}

// read checks and takes what the flags say in text.
func (s *Sidecar) read(address, tokenFile string, ports, labels, upstreams list) error {
	for _, needed := range []struct{ flag, value string }{{"server", s.Server}, {"state", s.State}, {"workload", s.Workload}} {
		if needed.value == "" {
			return &usageError{"-" + needed.flag + " is missing"}
		}
	}
	var err error
	if s.Address, err = netip.ParseAddr(address); err != nil {
		return &usageError{"-address " + strconv.Quote(address) + " is no IP address"}
	}
	if tokenFile != "" {
		b, err := os.ReadFile(tokenFile)
		if err != nil {
			return fmt.Errorf("read the join token: %w", err)
		}
		s.Token = strings.TrimSpace(string(b))
	}
	for _, p := range ports {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return &usageError{"-port " + strconv.Quote(p) + " is no port"}
		}
		s.Ports = append(s.Ports, uint16(n))
	}
	s.Labels = map[string]string{}
	for _, l := range labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok || k == "" {
			return &usageError{"-label " + strconv.Quote(l) + " is not KEY=VALUE"}
		}
		s.Labels[k] = v
	}
	for _, u := range upstreams {
		up, err := ParseUpstream(u)
		if err != nil {
			return &usageError{err.Error()}
		}
		s.Upstreams = append(s.Upstreams, up)
	}
	return nil
}

// ParseUpstream reads NAME:PORT=LOCALPORT or NAME:PORT=HOST:LOCALPORT.
func ParseUpstream(s string) (Upstream, error) {
	remote, local, ok := strings.Cut(s, "=")
	name, port, ok2 := strings.Cut(remote, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !ok || !ok2 || name == "" || err != nil || n == 0 {
		return Upstream{}, fmt.Errorf("-upstream %q is not NAME:PORT=LOCALPORT", s)
	}
	if !strings.Contains(local, ":") {
		local = net.JoinHostPort("127.0.0.1", local)
	}
	if _, p, err := net.SplitHostPort(local); err != nil || p == "" {
		return Upstream{}, fmt.Errorf("-upstream %q: %q is no local port", s, local)
	}
	return Upstream{Name: name, Port: uint16(n), Local: local}, nil
}

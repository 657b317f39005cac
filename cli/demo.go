package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
	"github.com/leno-mesh/leno/api/admin/v1/adminv1connect"
	"github.com/leno-mesh/leno/cli/scratch"
	"github.com/leno-mesh/leno/cli/supervise"
	"github.com/leno-mesh/leno/control/server"
)

const (
	demoStart  = 30 * time.Second // for the shop to be ready
	demoEnd    = 20 * time.Second // for the shop to end in order
	plainEvery = 3                // seconds between tables that are not drawn over

	shortestDemo = 3 * time.Second
)

type demoOptions struct {
	data     string
	duration time.Duration
	rate     int
}

func demoCommand(env *Env) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a whole mesh at work on this machine",
		Long: `Demo starts a control plane and a small shop of six services in separate
processes, each beside its proxy, and a shopper. It shows what flows between them
and what to try. Ctrl-C ends everything and leaves nothing behind.

With --for and -o json it runs unattended and reports; its exit code is 0 only if
every call that the shop makes was made, over mutual TLS, and succeeded.`,
		Example: `  leno demo
  leno demo --for 20s -o json`,
		Args: none,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.rate < 1 || o.rate > 1000 {
				return usage("--rate must be 1 to 1000 visits a second")
			}
			if o.duration != 0 && o.duration < shortestDemo {
				return usage("--for must be %s or more: proxies report once a second", shortestDemo)
			}
			return env.demo(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "", "directory that keeps the mesh (default: a temporary one)")
	f.DurationVar(&o.duration, "for", 0, "end after this time of traffic")
	f.IntVar(&o.rate, "rate", 20, "visits of the shopper a second")
	return cmd
}

// demo is one run of the demo. Its fields belong to one goroutine.
type demo struct {
	env        *Env
	options    demoOptions
	begun      time.Time
	opened     time.Time // when the first page came
	scratch    *scratch.Directory
	dir        string // of scratch
	executable string
	server     *server.Server
	client     adminv1connect.AdminClient
	instances  []*instance
	first      chan time.Time // when the first page came

	tally  *tally
	report demoReport
	screen *screen
	notes  []string
	wanted map[string]int // instances of each service
}

func (e *Env) demo(ctx context.Context, o demoOptions) (err error) {
	d := &demo{env: e, options: o, begun: time.Now(), first: make(chan time.Time, 1), tally: newTally()}
	d.report.Errors = []string{}
	if d.executable, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program's file: %w", err)
	}
	d.report.Sidecar = strings.Join(supervise.Find(d.executable), " ")
	if err := d.start(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.New("the demo was ended before the shop was open")
		}
		return d.failed(errors.Join(err, d.end()))
	}
	err = d.show(ctx)
	if ended := d.end(); ended != nil {
		d.report.Errors = append(d.report.Errors, ended.Error())
	}
	if err != nil {
		return d.failed(err)
	}
	return d.conclude()
}

// failed reports that the demo could not be shown, where a report is wanted.
func (d *demo) failed(err error) error {
	r := demoReport{
		Edges: []edgeReport{}, Splits: map[string]float64{}, Proxies: []demoProxy{}, Sidecar: d.report.Sidecar,
		StartedInMS: d.report.StartedInMS, FirstRequestMS: d.report.FirstRequestMS, Errors: append(d.report.Errors, err.Error()),
	}
	done, printed := d.env.printData(r)
	if printed != nil || !done {
		return errors.Join(err, printed)
	}
	return &ExitError{Code: ExitDifferent}
}

// start brings up the control plane and the shop.
func (d *demo) start(ctx context.Context) (err error) {
	instances, err := shopInstances(d.options.rate)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.env.Err, "Starting the shop: a control plane, %d programs and a proxy beside each …\n", len(instances))
	scratch.Sweep()
	if d.scratch, err = scratch.Make(scratch.Demo); err != nil {
		return err
	}
	d.dir = d.scratch.Path
	if err := os.Symlink(d.executable, filepath.Join(d.dir, "leno")); err != nil {
		return fmt.Errorf("link this program: %w", err)
	}
	if d.options.data == "" {
		d.options.data = filepath.Join(d.dir, "data")
	}
	d.server, err = server.Start(context.WithoutCancel(ctx), server.Config{
		Data: d.options.data, Listen: "127.0.0.1:0", AdminSocket: filepath.Join(d.dir, "admin.sock"), Version: d.env.Version,
		Log: slog.New(slog.NewTextHandler(d.env.Err, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return err
	}
	own := *d.env
	own.flags.server = d.server.AdminSocket()
	if d.client, err = own.Client(); err != nil {
		return err
	}
	if err := d.apply(ctx); err != nil {
		return err
	}
	for _, i := range instances {
		if err := d.launch(ctx, i); err != nil {
			return err
		}
		d.instances = append(d.instances, i)
	}
	_, d.wanted = running(d.instances)
	err = d.awaitShop(ctx)
	d.env.endProgress()
	if err != nil {
		return err
	}
	if err := d.awaitConfiguration(ctx); err != nil {
		return err
	}
	d.report.StartedInMS = time.Since(d.begun).Milliseconds()
	return d.awaitPage(ctx)
}

// apply writes the shop's objects, and files with changes to try.
func (d *demo) apply(ctx context.Context) error {
	for _, name := range []string{"shop.yaml", "shift.yaml", "deny.yaml"} {
		content, err := demoFiles.ReadFile("demo/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(d.dir, name), content, 0o600); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if name != "shop.yaml" {
			continue
		}
		if _, err := d.client.Apply(ctx, &adminv1.ApplyRequest{Documents: []*adminv1.Document{{Source: name, Content: string(content)}}}); err != nil {
			return err
		}
	}
	return nil
}

// awaitShop waits until every instance that is called is ready.
func (d *demo) awaitShop(ctx context.Context) error {
	timeout := time.NewTimer(demoStart)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	shown := -1
	for {
		listed, err := d.client.ListProxies(ctx, &adminv1.ListProxiesRequest{Namespace: demoNamespace})
		if err != nil {
			return err
		}
		ready := make(map[string]bool)
		for _, p := range listed.GetProxies() {
			// Before it has registered its workload, a proxy has no ills.
			ready[p.GetName()] = p.GetWorkload() != "" && p.GetHealthy() && p.GetSynced()
		}
		var missing []string
		for _, i := range d.instances {
			if i.gone() {
				return fmt.Errorf("%s ended before it was ready: %s", i.name, i.why())
			}
			if !ready[i.name] {
				missing = append(missing, i.name)
			}
		}
		if len(missing) != shown {
			shown = len(missing)
			d.env.progress("are in the mesh", &adminv1.WaitResponse{
				Done: uint32(len(d.instances) - shown), Total: uint32(len(d.instances)), Waiting: missing,
			})
		}
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout.C:
			return fmt.Errorf("after %s these are not ready: %s", demoStart, strings.Join(missing, ", "))
		}
	}
}

// awaitConfiguration waits until every proxy knows where the others are.
func (d *demo) awaitConfiguration(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, demoStart)
	defer cancel()
	stream, err := d.client.Wait(ctx, &adminv1.WaitRequest{})
	if err != nil {
		return err
	}
	defer stream.Close()
	last := &adminv1.WaitResponse{}
	for stream.Receive() && !last.GetFinished() {
		last = stream.Msg()
	}
	if len(last.GetRejected()) > 0 {
		return fmt.Errorf("the shop's configuration was refused: %s", rejections(last.GetRejected()))
	}
	if !last.GetFinished() {
		return fmt.Errorf("%d of %d proxies have their configuration; waiting for %s: %w", last.GetDone(), last.GetTotal(), waitingFor(last), stream.Err())
	}
	return nil
}

// awaitPage lets the shopper begin and waits for the first page.
func (d *demo) awaitPage(ctx context.Context) error {
	shopper := d.shopper()
	if _, err := fmt.Fprintln(shopper.input, "begin"); err != nil {
		return fmt.Errorf("let the shopper begin: %w: %s", err, shopper.why())
	}
	timeout := time.NewTimer(demoStart)
	defer timeout.Stop()
	select {
	case at := <-d.first:
		d.opened = at
		d.report.FirstRequestMS = at.Sub(d.begun).Milliseconds()
		return nil
	case <-shopper.Done():
		return fmt.Errorf("the shopper ended: %s", shopper.why())
	case <-timeout.C:
		return fmt.Errorf("no page came within %s", demoStart)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *demo) shopper() *instance { return d.instances[len(d.instances)-1] }

func (i *instance) gone() bool {
	select {
	case <-i.Done():
		return true
	default:
		return false
	}
}

// end ends the shopper, then the shop, then the control plane, and removes what
// they had. Ctrl-C once more ends them at once.
func (d *demo) end() error {
	if d.env.ErrTerminal {
		fmt.Fprintln(d.env.Err, "Ending the shop in order; Ctrl-C once more ends it at once.")
	}
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(again)
	timeout := time.NewTimer(demoEnd)
	defer timeout.Stop()
	var errs []error
	stop := func(instances []*instance) {
		for _, i := range instances {
			_ = i.Signal(syscall.SIGTERM)
		}
		for _, i := range instances {
			for killed := false; !i.gone(); {
				select {
				case <-i.Done():
					continue
				case <-again:
				case <-timeout.C:
					errs = append(errs, fmt.Errorf("the shop did not end within %s and was killed", demoEnd))
				}
				if !killed {
					killed = true
					for _, i := range instances {
						_ = i.Signal(syscall.SIGKILL)
					}
				}
			}
		}
	}
	if n := len(d.instances); n > 0 {
		if in := d.shopper().input; in != nil {
			in.Close()
		}
		stop(d.instances[n-1:])
		stop(d.instances[:n-1])
	}
	if d.server != nil {
		errs = append(errs, d.server.Close())
	}
	if d.scratch != nil {
		errs = append(errs, d.scratch.Remove())
	}
	return errors.Join(errs...)
}

// conclude prints the report. Only an unattended run has an exit code that
// judges.
func (d *demo) conclude() error {
	edges, wrong := d.tally.edges()
	d.report.Edges, d.report.Splits = edges, d.tally.splits()
	d.report.Errors = append(d.report.Errors, wrong...)
	d.report.OK = len(d.report.Errors) == 0
	done, err := d.env.printData(d.report)
	if err != nil {
		return err
	}
	if d.options.duration == 0 && !done || d.report.OK {
		if !done {
			fmt.Fprintln(d.env.Out, "Everything has ended.")
		}
		return nil
	}
	if !done {
		fmt.Fprintln(d.env.Err, sentence(strings.Join(d.report.Errors, "; ")))
	}
	return &ExitError{Code: ExitDifferent}
}

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
	"github.com/leno-mesh/leno/cli/supervise"
	"github.com/leno-mesh/leno/control/server"
)

const (
	demoStart  = 30 * time.Second // for the shop to be ready
	demoEnd    = 20 * time.Second // for the shop to end in order
	plainEvery = 3                // seconds between tables that are not drawn over
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
	dir        string // temporary, removed at the end
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
			err = &ExitError{Code: ExitDifferent} // Ctrl-C before the shop was open
		}
		return errors.Join(err, d.end())
	}
	err = d.show(ctx)
	if ended := d.end(); ended != nil {
		d.report.Errors = append(d.report.Errors, ended.Error())
	}
	if err != nil {
		return err
	}
	return d.conclude()
}

// start brings up the control plane and the shop.
func (d *demo) start(ctx context.Context) (err error) {
	if d.dir, err = os.MkdirTemp("", "leno-demo-"); err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
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
	instances, err := shopInstances(d.options.rate)
	if err != nil {
		return err
	}
	for _, i := range instances {
		if err := d.launch(ctx, i); err != nil {
			return err
		}
		d.instances = append(d.instances, i)
	}
	_, d.wanted = running(d.instances)
	if err := d.awaitShop(ctx); err != nil {
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

// show looks at the traffic once a second until the time is up or ctx ends.
func (d *demo) show(ctx context.Context) error {
	if d.env.flags.output == "table" {
		if d.screen = newScreen(d.env); d.screen != nil {
			defer d.screen.leave()
		} else {
			d.introduce()
		}
	}
	if d.options.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.options.duration)
		defer cancel()
	}
	for round := 0; ; round++ {
		if err := d.look(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		d.draw(round)
		if ctx.Err() != nil {
			return nil
		}
		// Just before a second ends, so that each is counted whole.
		next := time.NewTimer(time.Until(time.Now().Add(time.Second + 30*time.Millisecond).Truncate(time.Second).Add(-30 * time.Millisecond)))
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
		}
	}
}

// look takes the newest table and notes who has ended.
func (d *demo) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := d.client.Traffic(ctx, &adminv1.TrafficRequest{Namespace: demoNamespace, Once: true})
	if err != nil {
		return err
	}
	defer stream.Close()
	if !stream.Receive() {
		return fmt.Errorf("read the traffic: %w", stream.Err())
	}
	table := stream.Msg()
	window := time.Duration(table.GetWindowMilliseconds()) * time.Millisecond
	d.tally.add(table.GetAt()/1000, window, table.GetRows())
	for _, i := range d.instances {
		if !i.ended && i.gone() {
			i.ended = true
			note := fmt.Sprintf("%s has ended (%s)", i.name, i.How())
			d.notes = append(d.notes, note)
			d.report.Errors = append(d.report.Errors, note)
		}
	}
	listed, err := d.client.ListProxies(ctx, &adminv1.ListProxiesRequest{Namespace: demoNamespace})
	if err != nil {
		return err
	}
	d.report.Proxies = []demoProxy{}
	for _, p := range listed.GetProxies() {
		d.report.Proxies = append(d.report.Proxies, demoProxy{p.GetName(), p.GetService(), p.GetHealthy(), p.GetSynced(), p.GetResidentBytes()})
	}
	return nil
}

func (d *demo) draw(round int) {
	switch {
	case d.screen != nil:
		d.screen.draw(d.view(), round == 0)
	case d.env.flags.output == "table" && round > 0 && round%plainEvery == 0:
		fmt.Fprintln(d.env.Out, strings.Join(d.view().plainLines(), "\n"))
	}
}

func (d *demo) view() *demoView {
	services, count := running(d.instances)
	return &demoView{
		mesh: d.server.TrustDomain(), sidecar: d.report.Sidecar, up: time.Since(d.begun), flows: d.tally.last,
		services: services, instances: count, wanted: d.wanted, try: d.suggestions(), notes: d.notes,
	}
}

// suggestions are what to try, with commands that work as they are.
func (d *demo) suggestions() []suggestion {
	leno := d.executable + " --server " + d.server.AdminSocket()
	file := func(name string) string { return filepath.Join(d.dir, name) }
	pid := 0
	for _, i := range d.instances {
		if i.service == "cart" && !i.ended {
			pid = i.PID()
			break
		}
	}
	all := []suggestion{
		{"Shift traffic", leno + " apply -f " + file("shift.yaml"), "half of the catalogue's requests go to its second version"},
		{"Deny a caller", leno + " apply -f " + file("deny.yaml"), "the web front may not call the cart, so its pages fail; delete instead of apply ends it"},
	}
	if pid != 0 {
		all = append(all, suggestion{"Kill an instance", fmt.Sprintf("/bin/kill %d", pid), "one of two carts leaves, and no request fails"})
	}
	return all
}

// introduce says the same to a log.
func (d *demo) introduce() {
	fmt.Fprintf(d.env.Out, "The shop is open after %d ms: mesh %s, sidecars run %s.\n", d.report.FirstRequestMS, d.server.TrustDomain(), d.report.Sidecar)
	for _, s := range d.suggestions() {
		fmt.Fprintf(d.env.Out, "%s (%s):\n  %s\n", s.what, s.then, s.command)
	}
	fmt.Fprintln(d.env.Out)
}

// end ends the shopper, then the shop, then the control plane, and removes what
// they had. Ctrl-C once more ends them at once.
func (d *demo) end() error {
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
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
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

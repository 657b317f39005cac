package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	adminv1 "github.com/leno-mesh/leno/api/admin/v1"
)

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
	// Proxies report once a second, so what flows now is in the next table.
	flowed := max(time.Since(d.opened)-time.Second/2, time.Second)
	d.tally.add(table.GetAt()/1000, window, flowed, table.GetRows())
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
		services: services, instances: count, wanted: d.wanted, prepare: d.prepare(), try: d.suggestions(), notes: d.notes,
	}
}

// prepare is what another terminal needs, once, for the suggestions. Their
// files, this program and its control plane are in the demo's directory, so that
// the commands are short and yet exact.
func (d *demo) prepare() string {
	return "cd " + d.dir + " && export LENO_SERVER=" + filepath.Join("$PWD", filepath.Base(d.server.AdminSocket()))
}

// suggestions are what to try, with commands that work as they are.
func (d *demo) suggestions() []suggestion {
	pid := 0
	for _, i := range d.instances {
		if i.service == "cart" && !i.ended {
			pid = i.PID()
			break
		}
	}
	all := []suggestion{
		{"Shift traffic", "./leno apply -f shift.yaml", "half of the catalogue goes to its second version"},
		{"Deny a caller", "./leno apply -f deny.yaml", "web may not call the cart; delete -f undoes it"},
	}
	if pid != 0 {
		all = append(all, suggestion{"Kill an instance", fmt.Sprintf("kill %d", pid), "one of two carts leaves, and no request fails"})
	}
	return all
}

// introduce says the same to a log.
func (d *demo) introduce() {
	fmt.Fprintf(d.env.Out, "The shop is open after %d ms: mesh %s, sidecars run %s.\n", d.report.FirstRequestMS, d.server.TrustDomain(), d.report.Sidecar)
	fmt.Fprintf(d.env.Out, "Try in another terminal, after\n  %s\n", d.prepare())
	for _, s := range d.suggestions() {
		fmt.Fprintf(d.env.Out, "%s (%s):\n  %s\n", s.what, s.then, s.command)
	}
	fmt.Fprintln(d.env.Out)
}

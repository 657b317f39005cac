// Command bench measures leno-proxy; `make bench-proxy` and `make
// bench-footprint` run it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/leno-mesh/leno/test/bench"
)

const usage = `usage:
bench proxy [-leno NAME=PATH]... [-rounds N] [-duration D] [-only REGEXP] [-peers REGEXP] [-write FILE]
bench footprint [-proxy PATH] [-leno PATH] [-runs N] [-write FILE]`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	switch verb, rest := args[0], args[1:]; {
	case verb == "proxy":
		return proxy(rest)
	case verb == "footprint":
		return footprint(rest)
	case verb == "backend" && len(rest) == 1, verb == "relay" && len(rest) == 2:
		return serve(verb, rest)
	}
	return errors.New(usage)
}

// serve is what the measurement starts of itself.
func serve(verb string, args []string) error {
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return fmt.Errorf("%s is no TCP address", args[0])
	}
	if verb == "backend" {
		return bench.Backend(tcp)
	}
	to, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return err
	}
	return bench.Relay(tcp, to)
}

// binaries is the flag -leno.
type binaries struct {
	paths map[string]string
	order []string
}

func (b *binaries) String() string { return strings.Join(b.order, ",") }

func (b *binaries) Set(s string) error {
	name, path, ok := strings.Cut(s, "=")
	if !ok {
		name, path = "leno", s
	}
	b.paths[name] = path
	b.order = append(b.order, name)
	return nil
}

func proxy(args []string) error {
	f := flag.NewFlagSet("bench proxy", flag.ContinueOnError)
	lenos := &binaries{paths: map[string]string{}}
	f.Var(lenos, "leno", "a leno-proxy binary, as PATH or NAME=PATH; may be repeated to compare builds")
	o := bench.Options{Out: os.Stderr}
	f.IntVar(&o.Rounds, "rounds", 3, "rounds over all proxies")
	f.DurationVar(&o.Duration, "duration", time.Second, "of one load, in whole seconds")
	only := f.String("only", "", "regular expression of the work to do")
	peers := f.String("peers", "", "regular expression of the proxies to run")
	write := f.String("write", "", "document to write the tables into")
	if err := f.Parse(args); err != nil {
		return err
	}
	if len(lenos.order) == 0 {
		return errors.New("-leno is missing: build leno-proxy with `make build`")
	}
	if o.Rounds < 1 || o.Duration < time.Second {
		return errors.New("at least one round of one second is needed")
	}
	o.Lenos, o.Order = lenos.paths, lenos.order
	var err error
	if o.Only, err = pattern(*only); err != nil {
		return err
	}
	if o.Peers, err = pattern(*peers); err != nil {
		return err
	}
	if o.Self, err = os.Executable(); err != nil {
		return err
	}
	return interruptible(func(stop <-chan os.Signal) error {
		o.Stop = stop
		r, err := bench.Proxy(o)
		if err != nil {
			return err
		}
		return publish(*write, "bench-proxy", r.Markdown())
	})
}

// interruptible runs f, which ends early and cleans up when the user asks.
func interruptible(f func(stop <-chan os.Signal) error) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(stop)
	return f(stop)
}

func pattern(s string) (*regexp.Regexp, error) {
	if s == "" {
		return nil, nil
	}
	return regexp.Compile(s)
}

func publish(document, name, text string) error {
	fmt.Print(text)
	if document == "" {
		return nil
	}
	return bench.Publish(document, name, text)
}

func footprint(args []string) error {
	f := flag.NewFlagSet("bench footprint", flag.ContinueOnError)
	o := bench.FootprintOptions{}
	f.StringVar(&o.Proxy, "proxy", "bin/leno-proxy", "the leno-proxy binary")
	f.StringVar(&o.Leno, "leno", "", "the leno binary, to measure how long its verbs take to start")
	f.IntVar(&o.Runs, "runs", 5, "runs; medians are reported")
	write := f.String("write", "", "document to write the table into")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.Runs < 1 {
		return errors.New("at least one run is needed")
	}
	text, err := bench.Footprint(o)
	if err != nil {
		return err
	}
	return publish(*write, "bench-footprint", text)
}

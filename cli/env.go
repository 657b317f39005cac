// Package cli is the leno command. Each verb has a file and is a thin client of
// the admin API: what can be decided at the server is decided there.
//
// Exit codes: 0 done, 1 different or not as wanted, 2 wrong usage, 3 refused, 4
// no server reached, 5 out of time or interrupted.
package cli

import (
	"io"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/term"
)

// Env is the world that a command sees, so that tests give it another one.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Now      func() time.Time
	Version  string
	// OutWidth is the width of the terminal that Out is, 0 when it is none.
	OutWidth int
	// ErrTerminal says that Err is a terminal, where progress is shown.
	ErrTerminal bool
	// Proxy runs the data plane with the arguments of leno-proxy and returns its
	// exit code; nil where this program has none.
	Proxy func(args []string) int

	flags globals
}

// globals are the flags that every verb has.
type globals struct {
	server, token, tokenFile string
	namespace                string
	allNamespaces            bool
	output, color            string
}

// System returns the environment of this process. An empty version stands for
// the one that the Go tool built.
func System(version string) *Env {
	if version == "" {
		version = builtVersion()
	}
	env := &Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Getenv:      os.Getenv,
		Now:         time.Now,
		Version:     version,
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
		env.OutWidth = width
	}
	return env
}

func builtVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "devel"
	}
	return info.Main.Version
}

// Namespace is the namespace that the user chose, or default.
func (e *Env) Namespace() string {
	if e.flags.namespace != "" {
		return e.flags.namespace
	}
	return "default"
}

// scope is the namespace to list, empty for all.
func (e *Env) scope() string {
	if e.flags.allNamespaces {
		return ""
	}
	return e.Namespace()
}

// mayColor says whether Out takes colour.
func (e *Env) mayColor() bool {
	switch e.flags.color {
	case "always":
		return true
	case "never":
		return false
	}
	return e.OutWidth > 0 && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"
}

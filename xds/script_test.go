package xds

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the recorded output of the scripts")

var shortTypes = map[string]string{"CDS": ClusterType, "EDS": EndpointType, "LDS": ListenerType, "RDS": RouteType}

func shortType(url string) string {
	for short, long := range shortTypes {
		if long == url {
			return short
		}
	}
	return url
}

// testView holds resources by type and name.
type testView map[string]map[string]*Resource

func (v testView) Resource(typeURL, name string) *Resource { return v[typeURL][name] }

func (v testView) Names(typeURL string) []string {
	var names []string
	for name := range v[typeURL] {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (v testView) with(typeURL string, words ...string) testView {
	next := testView{}
	for url, m := range v {
		next[url] = m
	}
	next[typeURL] = map[string]*Resource{}
	for _, w := range words {
		name, version, _ := strings.Cut(w, "@")
		next[typeURL][name] = &Resource{Name: name, Version: version, TypeURL: typeURL, Body: []byte(version)}
	}
	return next
}

// runScripts runs each script of a directory: blocks of commands, "----", and
// the recorded output.
func runScripts(t *testing.T, dir string, newRun func() func(command string, args []string) string) {
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("scripts of %s: %v, %v", dir, files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			old, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			run := newRun()
			var b strings.Builder
			for block := range strings.SplitSeq(strings.TrimRight(string(old), "\n"), "\n\n") {
				commands, _, _ := strings.Cut(block, "\n----")
				if b.Len() > 0 {
					b.WriteByte('\n')
				}
				b.WriteString(commands + "\n")
				var out strings.Builder
				commented := true
				for line := range strings.SplitSeq(commands, "\n") {
					if strings.HasPrefix(line, "#") {
						continue
					}
					commented = false
					words := strings.Fields(line)
					out.WriteString(run(words[0], words[1:]))
				}
				if !commented {
					b.WriteString("----\n" + out.String())
				}
			}
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if b.String() != string(old) {
				t.Errorf("output differs; run with -update and read the difference\n%s", b.String())
			}
		})
	}
}

func resourceWords(resources []Resource, removed []string) string {
	var words []string
	for _, r := range resources {
		words = append(words, r.Name+"@"+r.Version)
	}
	for _, name := range removed {
		words = append(words, "-"+name)
	}
	return strings.Join(words, " ")
}

func TestSessionScripts(t *testing.T) {
	runScripts(t, "session", func() func(string, []string) string {
		s := NewSession(Limits{Names: 4, ResponseBytes: 5})
		view := testView{}
		sotw := false
		return func(command string, args []string) string {
			var out strings.Builder
			switch command {
			case "view":
				view = view.with(shortTypes[args[0]], args[1:]...)
			case "target":
				s.Target(view)
			case "request":
				if err := s.Request(scriptRequest(args)); err != nil {
					fmt.Fprintf(&out, "error: %v\n", err)
				}
			case "sotw":
				sotw = true
				d := scriptRequest(args)
				if err := s.RequestSotW(&SotWRequest{TypeURL: d.TypeURL, Names: d.Subscribe, Nonce: d.Nonce, Error: d.Error}); err != nil {
					fmt.Fprintf(&out, "error: %v\n", err)
				}
			case "states":
				for _, typeURL := range s.Types() {
					for _, st := range s.States(typeURL) {
						fmt.Fprintf(&out, "%s %s wanted=%s acked=%s refused=%s %s\n", shortType(typeURL), st.Name, st.Wanted, st.Acked, st.Refused, st.Detail)
					}
				}
				fmt.Fprintf(&out, "settled=%v\n", s.Settled())
				return out.String()
			default:
				return "unknown command " + command + "\n"
			}
			for sotw {
				r, ok := s.NextSotW()
				if !ok {
					return out.String()
				}
				fmt.Fprintf(&out, "%s #%s %s\n", shortType(r.TypeURL), r.Nonce, resourceWords(r.Resources, nil))
			}
			for r, ok := s.Next(); ok; r, ok = s.Next() {
				fmt.Fprintf(&out, "%s #%s %s\n", shortType(r.TypeURL), r.Nonce, resourceWords(r.Resources, r.Removed))
			}
			return out.String()
		}
	})
}

// scriptRequest reads "TYPE [#NONCE] [+NAME] [-NAME] [=NAME@VERSION] [!ERROR]".
// Underscores in an error stand for spaces.
func scriptRequest(args []string) *DeltaRequest {
	r := &DeltaRequest{TypeURL: shortTypes[args[0]], InitialVersions: map[string]string{}}
	for _, a := range args[1:] {
		switch a[0] {
		case '#':
			r.Nonce = a[1:]
		case '+':
			r.Subscribe = append(r.Subscribe, a[1:])
		case '-':
			r.Unsubscribe = append(r.Unsubscribe, a[1:])
		case '=':
			name, version, _ := strings.Cut(a[1:], "@")
			r.InitialVersions[name] = version
		case '!':
			r.Error = strings.ReplaceAll(a[1:], "_", " ")
		}
	}
	return r
}

func TestClientScripts(t *testing.T) {
	runScripts(t, "client", func() func(string, []string) string {
		var c Subscriptions
		return func(command string, args []string) string {
			typeURL := shortTypes[strings.Join(args[:min(1, len(args))], "")]
			var out strings.Builder
			switch command {
			case "subscribe":
				c.Subscribe(typeURL, args[1:]...)
			case "unsubscribe":
				c.Unsubscribe(typeURL, args[1:]...)
			case "restore":
				name, version, _ := strings.Cut(args[1], "@")
				c.Restore(typeURL, name, version)
			case "reconnected":
				c.Reconnected()
			case "response":
				r := &DeltaResponse{TypeURL: typeURL, Nonce: args[1]}
				for _, a := range args[2:] {
					if name, ok := strings.CutPrefix(a, "-"); ok {
						r.Removed = append(r.Removed, name)
						continue
					}
					name, version, _ := strings.Cut(a, "@")
					r.Resources = append(r.Resources, Resource{Name: name, Version: version})
				}
				for _, e := range c.HandleResponse(r) {
					fmt.Fprintf(&out, "%s %s@%s\n", e.Kind, e.Resource.Name, e.Resource.Version)
				}
			case "ack":
				c.Ack(typeURL, args[1])
			case "nack":
				var rejected []Rejection
				for _, a := range args[2:] {
					name, detail, _ := strings.Cut(a, ":")
					rejected = append(rejected, Rejection{name, detail})
				}
				c.Nack(typeURL, args[1], rejected)
			default:
				return "unknown command " + command + "\n"
			}
			for _, r := range c.Next() {
				fmt.Fprintf(&out, "> %s nonce=%q subscribe=%v unsubscribe=%v versions=%v error=%q\n",
					shortType(r.TypeURL), r.Nonce, r.Subscribe, r.Unsubscribe, r.InitialVersions, r.Error)
			}
			return out.String()
		}
	})
}

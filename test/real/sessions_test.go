//go:build real

package real

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"
)

// session is a connection to a database on which something waits.
type session struct {
	server string     // the replica that it is on
	done   chan error // gets how it ended
}

// cut is how long a connection to a dead server may look alive.
const cut = time.Second

// lose opens sessions, kills a server and demands that the sessions on it end
// with an error within a second, that the others go on to their end, and that
// new sessions reach the survivor, from the first moment on. It returns how many
// of those failed.
func (w *world) lose(kill func(), dead string, open func() (session, error), ask func() (server string, err error)) (failed, asked int) {
	w.Helper()
	var on, off []session
	for range 8 {
		s, err := open()
		if err != nil {
			w.Fatalf("open a session: %v", err)
		}
		if s.server == dead {
			on = append(on, s)
		} else {
			off = append(off, s)
		}
	}
	if len(on) == 0 || len(off) == 0 {
		w.Errorf("of 8 sessions, %d are on %s: connections are not spread", len(on), dead)
	}
	kill()
	killed := time.Now()
	for ; asked < 20; asked++ {
		server, err := ask()
		switch {
		case err != nil:
			failed++
			w.Logf("new session %d, %s after the kill of %s: %v", asked, time.Since(killed).Round(time.Millisecond), dead, err)
		case server == dead:
			w.Errorf("new session %d is on %s, which is dead", asked, dead)
		}
	}
	limit := time.After(time.Until(killed.Add(cut)))
	for i, s := range on {
		select {
		case err := <-s.done:
			if err == nil {
				w.Errorf("session %d on %s, which is dead, ended without an error", i, dead)
			}
		case <-limit:
			w.Errorf("%d sessions on %s, which is dead, hang", len(on)-i, dead)
			return failed, asked
		}
	}
	for _, s := range off {
		if err := <-s.done; err != nil {
			w.Errorf("a session on %s ended when %s was killed: %v", s.server, dead, err)
		}
	}
	return failed, asked
}

// open starts a client program that says its server in its first line, which
// begins with "on ", and then waits.
func (p *place) open(environ []string, args ...string) (session, error) {
	ctx, stop := context.WithTimeout(context.Background(), 30*time.Second)
	cmd := p.command(ctx, args...)
	cmd.Env = append(cmd.Env, environ...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		stop()
		return session{}, err
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		stop()
		return session{}, err
	}
	s := session{done: make(chan error, 1)}
	first := make(chan string, 1)
	go func() {
		defer stop()
		var line []byte
		var one [1]byte
		for {
			if n, err := out.Read(one[:]); n == 0 || err != nil || one[0] == '\n' {
				break
			}
			line = append(line, one[0])
		}
		first <- string(line)
		var rest bytes.Buffer
		_, _ = rest.ReadFrom(out)
		if err := cmd.Wait(); err != nil {
			s.done <- fmt.Errorf("%w: %s", err, said.String())
			return
		}
		s.done <- nil
	}()
	server, ok := strings.CutPrefix(strings.TrimSpace(<-first), "on ")
	if !ok {
		return s, fmt.Errorf("%s does not say its server: %w", args[0], <-s.done)
	}
	s.server = server
	return s, nil
}

// ask runs a client program that says its server.
func (p *place) ask(environ []string, args ...string) (string, error) {
	r := p.try(10*time.Second, environ, "", args...)
	server, ok := strings.CutPrefix(strings.TrimSpace(r.out), "on ")
	if r.code != 0 || !ok {
		return "", fmt.Errorf("exit %d after %s: %s %s", r.code, r.took.Round(time.Millisecond), r.out, r.err)
	}
	return server, nil
}

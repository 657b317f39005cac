package identity

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leno-mesh/leno/lib/cell"
	"github.com/leno-mesh/leno/proxy/tls"
)

// within runs a test in a bubble, whose clock moves only while all wait.
func within(t *testing.T, test func(t *testing.T, config Config, i *issuer)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t)
		test(t, Config{
			Directory: dir, Token: "the token", Issuer: i, Cell: &cell.Cell[tls.Identity]{}, Random: func() float64 { return 0.5 },
		}, i)
	})
}

// start runs a manager until the returned function is called.
func start(t *testing.T, config Config) (m *Manager, stop func()) {
	t.Helper()
	m, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	return m, func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	}
}

func TestAProxyEnrolsOnceAndRenewsByItsCertificate(t *testing.T) {
	within(t, func(t *testing.T, config Config, i *issuer) {
		begin := time.Now()
		m, stop := start(t, config)
		<-m.Ready()
		first := config.Cell.Load()
		if first.ID().String() != webURI || !time.Now().Equal(begin) {
			t.Errorf("%s after %v", first.ID(), time.Since(begin))
		}
		time.Sleep(5 * life) // of the bubble: nothing waits for it
		synctest.Wait()
		stop()
		if i.tokens[0] != "the token" {
			t.Errorf("enrolled with %q", i.tokens[0])
		}
		// Two thirds of 24 h and half of a tenth of the rest: 16 h 24 min.
		for n := 1; n < len(i.at); n++ {
			if i.tokens[n] != "" {
				t.Errorf("renewal %d spent a token", n)
			}
			if gap := i.at[n].Sub(i.at[n-1]); gap != 16*time.Hour+24*time.Minute {
				t.Errorf("renewal %d came after %v", n, gap)
			}
		}
		if len(i.at) != 8 {
			t.Errorf("%d certificates in five days", len(i.at))
		}
		last := config.Cell.Load()
		if last == first || last.Certificate().PrivateKey == first.Certificate().PrivateKey || last.Version() == first.Version() {
			t.Error("a renewal did not make a new key")
		}
		if s := m.Status(); s.ID != webURI || s.Problem != "" || s.Failures != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestARestartedProxyWorksWithoutAServer(t *testing.T) {
	within(t, func(t *testing.T, config Config, i *issuer) {
		m, stop := start(t, config)
		<-m.Ready()
		stop()
		before := config.Cell.Load()
		i.change(func() { i.down = true })
		config.Token, config.Cell = "", &cell.Cell[tls.Identity]{}
		m, stop = start(t, config)
		<-m.Ready()
		synctest.Wait()
		stop()
		if got := config.Cell.Load(); got.Version() != before.Version() || len(i.at) != 1 {
			t.Errorf("version %s instead of %s, %d calls", got.Version(), before.Version(), len(i.at))
		}
	})
}

func TestARestartSpendsNoToken(t *testing.T) {
	within(t, func(t *testing.T, config Config, i *issuer) {
		m, stop := start(t, config)
		<-m.Ready()
		stop()
		config.Cell = &cell.Cell[tls.Identity]{}
		_, stop = start(t, config)
		time.Sleep(17 * time.Hour)
		synctest.Wait()
		stop()
		if len(i.tokens) != 2 || i.tokens[1] != "" {
			t.Errorf("tokens spent: %q", i.tokens)
		}
	})
}

func TestAnExpiredIdentityIsToldPlainly(t *testing.T) {
	within(t, func(t *testing.T, config Config, i *issuer) {
		m, stop := start(t, config)
		<-m.Ready()
		stop()
		time.Sleep(life + time.Second)
		token := config.Token
		config.Token, config.Cell = "", &cell.Cell[tls.Identity]{}
		_, err := New(config)
		if err == nil || !strings.Contains(err.Error(), "expired at") || !strings.Contains(err.Error(), "join token") {
			t.Errorf("%v", err)
		}
		config.Token = token
		m, stop = start(t, config)
		<-m.Ready()
		stop()
		if got := i.tokens[len(i.tokens)-1]; got != token {
			t.Errorf("enrolled again with %q", got)
		}
	})
}

func TestWithNeitherIdentityNorTokenNothingStarts(t *testing.T) {
	within(t, func(t *testing.T, config Config, _ *issuer) {
		config.Token = ""
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), "join token") {
			t.Errorf("%v", err)
		}
	})
}

func TestFailuresAreRetriedWithoutAStorm(t *testing.T) {
	within(t, func(t *testing.T, config Config, i *issuer) {
		m, stop := start(t, config)
		<-m.Ready()
		current := config.Cell.Load()
		i.change(func() { i.down = true })
		time.Sleep(17 * time.Hour) // 36 minutes after the renewal was due
		synctest.Wait()
		if s := m.Status(); s.Failures < 100 || s.Failures > 160 || !strings.Contains(s.Problem, "cannot be reached") {
			t.Errorf("%+v", s)
		}
		if config.Cell.Load() != current {
			t.Error("the identity went away although it is valid")
		}
		time.Sleep(8 * time.Hour) // past the certificate's end
		synctest.Wait()
		calls := len(i.tokens)
		if got := i.tokens[calls-1]; got != "the token" {
			t.Errorf("after the end the credential is %q", got)
		}
		i.change(func() { i.down = false })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if s := m.Status(); s.Problem != "" || s.Failures != 0 || config.Cell.Load() == current {
			t.Errorf("after the server came back: %+v", s)
		}
		stop()
	})
}

func TestAnIdentityNeverChanges(t *testing.T) {
	within(t, func(t *testing.T, config Config, i *issuer) {
		m, stop := start(t, config)
		<-m.Ready()
		i.change(func() { i.uri = "spiffe://a.test/ns/shop/sa/admin" })
		time.Sleep(17 * time.Hour)
		synctest.Wait()
		stop()
		if got := config.Cell.Load().ID().String(); got != webURI {
			t.Errorf("the proxy became %s", got)
		}
		if s := m.Status(); !strings.Contains(s.Problem, "sa/admin") {
			t.Errorf("%+v", s)
		}
	})
}

func TestAFullDiskDoesNotEndTheMesh(t *testing.T) {
	within(t, func(t *testing.T, config Config, _ *issuer) {
		m, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(config.Directory); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- m.Run(ctx) }()
		<-m.Ready()
		synctest.Wait()
		cancel()
		<-done
		if s := m.Status(); s.ID != webURI || !strings.Contains(s.Problem, "could not be saved") {
			t.Errorf("%+v", s)
		}
	})
}

func TestRenewalsAreScheduledWithinTheLife(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	end := now.Add(30 * time.Hour)
	for name, c := range map[string]struct {
		asked  time.Time
		random float64
		want   time.Duration
	}{
		"as the server says":    {now.Add(20 * time.Hour), 0, 20 * time.Hour},
		"with all jitter":       {now.Add(20 * time.Hour), 1, 21 * time.Hour},
		"the past":              {now.Add(-time.Hour), 0, 20 * time.Hour},
		"now":                   {now, 0, 20 * time.Hour},
		"never said":            {time.Time{}, 0, 20 * time.Hour},
		"at the end":            {end, 0, 20 * time.Hour},
		"after the end":         {end.Add(time.Hour), 1, 21 * time.Hour},
		"just before the end":   {end.Add(-time.Second), 0, 30*time.Hour - time.Second},
		"just after it was had": {now.Add(1), 0, 1},
	} {
		if got := schedule(now, end, c.asked, c.random).Sub(now); got != c.want {
			t.Errorf("%s: after %v, want %v", name, got, c.want)
		}
	}
}

func TestADamagedStateIsNeverUsedNorReplaced(t *testing.T) {
	within(t, func(t *testing.T, config Config, _ *issuer) {
		m, stop := start(t, config)
		<-m.Ready()
		stop()
		path := filepath.Join(config.Directory, stateFile)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Errorf("the state's mode is %04o", info.Mode().Perm())
		}
		config.Cell = &cell.Cell[tls.Identity]{}
		damaged := map[string][]byte{"empty": {}, "head alone": good[:8], "with a tail": append(bytes.Clone(good), 0)}
		for _, at := range []int{0, 7, 8, 9, 20, len(good) / 2, len(good) - 1} {
			bad := bytes.Clone(good)
			bad[at] ^= 1
			damaged["bit flipped at "+string(rune('a'+at%26))] = bad
			damaged["cut at "+string(rune('a'+at%26))] = good[:at]
		}
		for name, bad := range damaged {
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := New(config)
			if err == nil || !strings.Contains(err.Error(), path) || config.Cell.Load() != nil {
				t.Errorf("%s: %v", name, err)
			}
			if kept, _ := os.ReadFile(path); !bytes.Equal(kept, bad) {
				t.Errorf("%s: the file was replaced", name)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	i := newIssuer(f)
	s := &state{key: i.key, chain: [][]byte{i.cert.Raw}, roots: [][]byte{i.cert.Raw}, renewAt: time.Unix(1, 0)}
	good, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-4])
	f.Add([]byte(stateMagic + "\x00\x01"))
	f.Add([]byte(stateMagic + "\x00\x01\x02\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, body []byte) {
		// With the right checksum, so that the parts are reached.
		sum := checksum(body)
		data := append(bytes.Clone(body), byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
		s, err := decode(data)
		if err != nil {
			return
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again); err != nil {
			t.Errorf("what was read cannot be read again: %v", err)
		}
		_, _ = s.identity()
	})
}

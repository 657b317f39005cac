package log

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"testing"
	"time"
)

// *slog.Logger must go on being a Logger: the control plane's code has one.
var _ Logger = (*slog.Logger)(nil)

func TestLinesAreThoseOfSlog(t *testing.T) {
	pairs := []any{"plain", "word", "empty", "", "space", "two words", "line", "a\nlevel=ERROR", "quote", `say "x"`, "equals", "a=b",
		"number", 42, "yes", true, "after", 1500 * time.Millisecond, "error", errors.New("no route"), "odd key", "ü", "bytes", "\xff", "alone"}
	var ours, theirs bytes.Buffer
	New(&ours, nil).Warn("it \"failed\"", pairs...)
	slog.New(slog.NewTextHandler(&theirs, nil)).Warn("it \"failed\"", pairs...)
	stamp := regexp.MustCompile(`^time=\S+`)
	if !stamp.Match(ours.Bytes()) {
		t.Errorf("no time in %q", ours.String())
	}
	got, want := stamp.ReplaceAllString(ours.String(), ""), stamp.ReplaceAllString(theirs.String(), "")
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestLevelsBelowTheLeastAreNotWritten(t *testing.T) {
	calls := []func(Logger){
		func(l Logger) { l.Debug("x") }, func(l Logger) { l.Info("x") }, func(l Logger) { l.Warn("x") }, func(l Logger) { l.Error("x") },
	}
	for least, name := range []string{"debug", "INFO", "Warn", "error"} {
		var out bytes.Buffer
		level := new(Level)
		if !level.Set(name) {
			t.Fatalf("%s is no level", name)
		}
		for i, call := range calls {
			out.Reset()
			if call(New(&out, level)); (out.Len() > 0) != (i >= least) {
				t.Errorf("at %s, severity %d wrote %q", level, i, out.String())
			}
		}
	}
}

func TestUnknownLevelsChangeNothing(t *testing.T) {
	level := new(Level)
	if level.Set("loud") || level.String() != "info" {
		t.Errorf("the level is %s", level)
	}
}

func TestDiscardedLinesGoNowhere(t *testing.T) { Discard().Error("x", "key", "value") }

// Package log writes what an operator should know as lines of key=value, in the
// form of log/slog's text handler. leno-proxy uses it in place of log/slog, which
// links reflection and JSON: 0.3 MB of a binary that is to stay below 8 MB.
package log

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Logger takes a message and pairs of key and value. A *slog.Logger is one too.
type Logger interface {
	Debug(msg string, pairs ...any)
	Info(msg string, pairs ...any)
	Warn(msg string, pairs ...any)
	Error(msg string, pairs ...any)
}

// Discard returns a Logger that drops everything.
func Discard() Logger { return New(io.Discard, nil) }

// Level is the least severity that is written; it may change at any time. The
// zero Level is info.
type Level struct{ least atomic.Int32 }

const (
	debug int32 = iota - 1
	info
	warn
	failure
)

// severities is never written.
var severities = [...]string{"debug", "info", "warn", "error"}

// Set takes a name in any case; it returns false and changes nothing if there is
// no level of that name.
func (l *Level) Set(name string) bool {
	for i, s := range severities {
		if strings.EqualFold(name, s) {
			l.least.Store(int32(i) + debug)
			return true
		}
	}
	return false
}

// String returns the level's name.
func (l *Level) String() string { return severities[l.least.Load()-debug] }

// Text is a Logger that writes lines.
type Text struct {
	level *Level

	mu  sync.Mutex // guards all below
	out io.Writer
	buf []byte
}

// New makes a Logger that writes to out what is at or above level; nil means
// info.
func New(out io.Writer, level *Level) *Text {
	if level == nil {
		level = new(Level)
	}
	return &Text{level: level, out: out}
}

// Debug implements Logger.
func (t *Text) Debug(msg string, pairs ...any) { t.write(debug, msg, pairs) }

// Info implements Logger.
func (t *Text) Info(msg string, pairs ...any) { t.write(info, msg, pairs) }

// Warn implements Logger.
func (t *Text) Warn(msg string, pairs ...any) { t.write(warn, msg, pairs) }

// Error implements Logger.
func (t *Text) Error(msg string, pairs ...any) { t.write(failure, msg, pairs) }

func (t *Text) write(severity int32, msg string, pairs []any) {
	if severity < t.level.least.Load() {
		return
	}
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	b := append(t.buf[:0], "time="...)
	b = now.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	b = append(b, " level="...)
	b = append(b, strings.ToUpper(severities[severity-debug])...)
	b = append(b, " msg="...)
	b = appendText(b, msg)
	for len(pairs) > 0 {
		key, value := "!BADKEY", pairs[0]
		if k, ok := value.(string); ok && len(pairs) > 1 {
			key, value = k, pairs[1]
			pairs = pairs[1:]
		}
		pairs = pairs[1:]
		b = append(appendText(append(b, ' '), key), '=')
		b = appendText(b, fmt.Sprint(value))
	}
	b = append(b, '\n')
	_, _ = t.out.Write(b)
	if t.buf = b; cap(b) > maxKept {
		t.buf = nil
	}
}

// maxKept is the largest line whose memory is kept for the next.
const maxKept = 4096

// appendText quotes what would not read as one word, so that nothing that a peer
// says can look like another line or pair.
func appendText(b []byte, s string) []byte {
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, special) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func special(r rune) bool { return r == '"' || r == '=' || r == ' ' || !strconv.IsPrint(r) }

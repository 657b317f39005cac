package h2

import (
	"time"

	"github.com/leno-mesh/leno/proxy/http"
)

// guard keeps the budgets of what costs us more than the peer. Its times are
// coarse (writer.now).
type guard struct {
	from         int64 // start of the ResetWindow
	resets, good int
	second       int64 // start of the second that noise and control count
	noise        int
	control      int
}

// These are never written.
var (
	errResets  = &connError{EnhanceYourCalm, "too many streams were reset"}
	errNoise   = &connError{EnhanceYourCalm, "too many frames carried nothing"}
	errControl = &connError{EnhanceYourCalm, "too many SETTINGS and PING frames"}
	errAnswers = &connError{EnhanceYourCalm, "too many answers wait for a peer that does not read"}
)

// reset counts a stream that the peer reset or made us reset.
func (g *guard) reset(now int64, limits *http.Limits) error {
	if now-g.from > int64(limits.ResetWindow) {
		g.from, g.resets, g.good = now, 0, 0
	}
	if g.resets++; g.resets > limits.Resets+g.good {
		return errResets
	}
	return nil
}

func (g *guard) tick(now int64) {
	if now-g.second > int64(time.Second) {
		g.second, g.noise, g.control = now, 0, 0
	}
}

// empty counts a frame that carries nothing; useful forgives those before it.
func (g *guard) empty(now int64, limits *http.Limits) error {
	g.tick(now)
	if g.noise++; g.noise > limits.EmptyFrames {
		return errNoise
	}
	return nil
}

func (g *guard) useful() {
	g.noise = 0
	g.moved()
}

// moved counts a frame that carried something, in either direction: for each the
// peer may measure the round trip with a PING. gRPC's libraries do.
func (g *guard) moved() { g.control = max(0, g.control-1) }

// answer counts a frame that we must answer.
func (g *guard) answer(now int64, limits *http.Limits) error {
	g.tick(now)
	if g.control++; g.control > limits.ControlFrames {
		return errControl
	}
	return nil
}

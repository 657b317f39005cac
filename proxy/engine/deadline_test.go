package engine

import (
	"testing"

	"github.com/leno-mesh/leno/proxy/http"
)

// abortable remembers why it was aborted.
type abortable struct {
	http.Stream
	cause error
}

func (a *abortable) Abort(cause error) { a.cause = cause }

func TestADeadlineFiresOnceUnlessItWasMovedOrFinished(t *testing.T) {
	var d deadlines
	d.init()
	var one, two, three timed
	a, b, c := &abortable{}, &abortable{}, &abortable{}
	d.start(&one, 10, a)
	d.start(&two, 10, b)
	d.start(&three, 10, c)
	d.move(&two, 20)
	if d.finish(&three) {
		t.Error("finished before its time, and yet fired")
	}
	d.move(&three, 1) // after its end nothing happens
	d.sweep(15)
	if a.cause == nil || b.cause != nil || c.cause != nil {
		t.Errorf("at 15: %v %v %v", a.cause, b.cause, c.cause)
	}
	a.cause = nil
	d.sweep(25)
	if a.cause != nil || b.cause == nil {
		t.Errorf("at 25: %v %v", a.cause, b.cause)
	}
	if !d.finish(&one) || !d.finish(&two) {
		t.Error("fired, and finish does not say so")
	}
}

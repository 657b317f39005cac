package h2

import (
	"runtime"
	"sync"
)

// sender is what the writer needs of a conn.Conn.
type sender interface {
	Send(p []byte) (pending bool, err error)
	Finish() error
}

// writer gathers the frames of all streams and sends them in as few system calls
// as it can. Its methods are called with mu held. Whoever finds nobody flushing
// flushes: at once when alone, else after yielding once, so that all streams that
// became ready together go out together. It never waits for the socket: what the
// socket does not take is left to a goroutine that lives until it did.
type writer struct {
	mu     sync.Mutex // the session's, too
	to     sender
	memory *Memory
	// sent is called with mu held after bytes went out or failed to.
	sent func()

	out      *outBuffer // frames not handed to the socket; nil while there are none
	busy     bool       // somebody flushes
	slow     *outBuffer // what the socket did not take yet
	control  int        // answers among out
	progress int64      // when the socket last took something
	now      int64      // coarse time, set by the reader and the sweeper
	err      error
	rest     func() // w.finish, made once
}

type outBuffer struct{ b []byte }

// outSize bounds the frames of streams that wait for the socket; answers and
// heads may go beyond, within their own limits.
const outSize = 64 << 10

func (w *writer) init(to sender, memory *Memory, sent func()) {
	w.to, w.memory, w.sent = to, memory, sent
	w.rest = w.finish
}

// room returns how many bytes of DATA may be appended, its frame header included.
func (w *writer) room() int {
	if w.out == nil {
		return outSize
	}
	return outSize - len(w.out.b)
}

func (w *writer) empty() bool { return w.out == nil && !w.busy }

// buffer returns the buffer to append whole frames to.
func (w *writer) buffer() *outBuffer {
	if w.out == nil {
		w.out = w.memory.takeOut()
	}
	return w.out
}

// flush sends what was appended, or leaves it to whoever is at it. It gives mu up
// in between.
func (w *writer) flush(yield bool) {
	if w.busy || w.out == nil || w.err != nil {
		return
	}
	w.busy = true
	if yield {
		w.mu.Unlock()
		runtime.Gosched()
		w.mu.Lock()
	}
	w.drain()
}

func (w *writer) drain() {
	for w.out != nil && w.err == nil {
		out := w.out
		w.out, w.control = nil, 0
		w.progress = w.now
		w.mu.Unlock()
		pending, err := w.to.Send(out.b)
		w.mu.Lock()
		if pending {
			w.slow = out
			go w.rest()
			return
		}
		w.took(out, err)
	}
	w.busy = false
	w.sent()
}

func (w *writer) took(out *outBuffer, err error) {
	w.memory.giveOut(out)
	w.progress = w.now
	if err != nil && w.err == nil {
		w.err = err
	}
	w.sent()
}

// finish waits until the socket took the rest and goes on flushing.
func (w *writer) finish() {
	err := w.to.Finish()
	w.mu.Lock()
	out := w.slow
	w.slow = nil
	w.took(out, err)
	w.drain()
	w.mu.Unlock()
}

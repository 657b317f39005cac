package http

import "time"

// Limits bounds what a peer can make a codec hold or do, on either side: an
// upstream is an attacker too. The zero value of a field means its default.
type Limits struct {
	// HeadBytes bounds a head or trailer block: the bytes on the wire in
	// HTTP/1, names and values after decoding in HTTP/2 (with 32 a field).
	HeadBytes int // 60 KiB
	// Fields bounds the fields of a head, HTTP/2 cookie crumbs included.
	Fields int // 100
	// HeadTimeout runs from accept, and from the end of one exchange's first
	// byte of the next, to the end of the head. It covers the TLS handshake
	// and protocol detection.
	HeadTimeout time.Duration // 10 s
	// IdleTimeout closes a connection without exchange.
	IdleTimeout time.Duration // 1 h downstream, 60 s upstream h1
	// StreamIdleTimeout ends an exchange on which no byte moved, also while
	// it waits for a window. A CONNECT tunnel is bounded by the TCP proxy's
	// idle timeout instead.
	StreamIdleTimeout time.Duration // 5 min
	// Streams bounds concurrent streams of an HTTP/2 connection.
	Streams int // 256
	// StreamWindow and ConnWindow are the HTTP/2 receive windows in bytes.
	StreamWindow, ConnWindow int // 256 KiB, 1 MiB
	// ControlFrames bounds the answers (SETTINGS and PING acks, resets) that
	// wait for a peer that does not read.
	ControlFrames int // 1000
	// Resets bounds streams reset, by either side, in each ResetWindow
	// beyond those that ended well.
	Resets int // 200
	// ResetWindow is the time that Resets counts over.
	ResetWindow time.Duration // 30 s
	// Continuations bounds CONTINUATION frames of one head.
	Continuations int // 16
	// EmptyFrames bounds consecutive frames that carry nothing.
	EmptyFrames int // 100
}

// WithDefaults returns l with each zero field set to its default.
func (l Limits) WithDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	dur := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.HeadBytes, 60<<10)
	def(&l.Fields, 100)
	dur(&l.HeadTimeout, 10*time.Second)
	dur(&l.IdleTimeout, time.Hour)
	dur(&l.StreamIdleTimeout, 5*time.Minute)
	def(&l.Streams, 256)
	def(&l.StreamWindow, 256<<10)
	def(&l.ConnWindow, 1<<20)
	def(&l.ControlFrames, 1000)
	def(&l.Resets, 200)
	dur(&l.ResetWindow, 30*time.Second)
	def(&l.Continuations, 16)
	def(&l.EmptyFrames, 100)
	return l
}

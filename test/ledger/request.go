package ledger

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Protocol is what a client speaks.
type Protocol uint8

const (
	HTTP1 Protocol = iota
	HTTP2
	Unary
	Bidi
	WebSocket
	TCP
	protocols
)

func (p Protocol) String() string {
	return [protocols]string{"HTTP/1.1", "HTTP/2", "gRPC unary", "gRPC bidi", "WebSocket", "TCP"}[p]
}

// Way is what a backend is asked in.
type Way string

const (
	OverHTTP1 Way = "http1"
	OverHTTP2 Way = "http2"
	OverGRPC  Way = "grpc"
	OverTCP   Way = "tcp"
)

// Ways are all of them.
var Ways = []Way{OverHTTP1, OverHTTP2, OverGRPC, OverTCP}

// Behaviour is how a backend answers a request.
type Behaviour uint8

const (
	Prompt Behaviour = iota
	Late             // it pauses, before the answer or in it
	Early            // it answers before it reads the request, or does not read it
	Half             // its connection or stream breaks in the answer
	Reset            // it breaks before the answer
	Short            // it ends in order before the length that it told
	Long             // it sends another answer behind the one that was asked for
	// Those that follow damage a run in ways that the table does not allow.
	Flipped // one byte of the answer is not what the backend means to send
	Silent  // it never answers
	behaviours
)

func (b Behaviour) String() string {
	return [behaviours]string{"prompt", "late", "early", "half", "reset", "short", "long", "flipped", "silent"}[b]
}

// end is what a client may see of it.
func (b Behaviour) end() End {
	switch b {
	case Half, Reset, Short:
		return MustFail
	}
	return MustComplete
}

// Framing is how an HTTP/1.1 backend ends its answer.
type Framing uint8

const (
	Length  Framing = iota
	Chunked         // of HTTP/2: no content-length
	Close           // by the end of the connection
	framings
)

// Request is one of a run.
type Request struct {
	ID        ID
	Protocol  Protocol
	Backend   string // that it is sent to
	Way       Way
	Method    string // of HTTP
	Up, Down  int    // bytes of the bodies
	Streamed  bool   // an HTTP body whose length is not told
	Behaviour Behaviour
	Framing   Framing
	Pause     time.Duration // of Late
	Deadline  time.Duration
}

// Expectation is the request's row of the table.
func (r *Request) Expectation() Expectation {
	return Expectation{ID: r.ID, Backends: []string{r.Backend}, Once: r.Method != "GET" && r.Method != "PUT", End: r.Behaviour.end(), Deadline: r.Deadline}
}

// Expectations is the table of a run to which nothing happens but what its
// backends do.
func Expectations(requests []Request) []Expectation {
	table := make([]Expectation, len(requests))
	for i := range requests {
		table[i] = requests[i].Expectation()
	}
	return table
}

// Mix returns n requests of all kinds, the same for the same seed.
func Mix(n int, seed uint64, deadline time.Duration, backends ...string) []Request {
	random := rand.New(rand.NewPCG(seed, 0))
	all := make([]Request, n)
	for i := range all {
		r := &all[i]
		*r = Request{
			ID: ID(i + 1), Backend: backends[random.IntN(len(backends))], Deadline: deadline,
			Up: size(random), Down: 8 + size(random), Streamed: random.IntN(4) == 0,
			Pause: time.Duration(5+random.IntN(100)) * time.Millisecond,
		}
		r.Protocol = [...]Protocol{HTTP1, HTTP1, HTTP1, HTTP1, HTTP2, HTTP2, Unary, Bidi, WebSocket, TCP}[random.IntN(10)]
		r.Framing = [...]Framing{Length, Length, Chunked, Close}[random.IntN(4)]
		r.choose(random)
	}
	return all
}

// choose makes the choices that depend on the protocol.
func (r *Request) choose(random *rand.Rand) {
	can := []Behaviour{Late, Half, Reset}
	switch r.Protocol {
	case HTTP1, HTTP2:
		r.Method = [...]string{"GET", "GET", "POST", "POST", "PUT"}[random.IntN(5)]
		if r.Method == "GET" {
			r.Up = 0
		}
		r.Way = [...]Way{OverHTTP1, OverHTTP2}[random.IntN(2)]
		can = append(can, Early, Short)
		if r.Way == OverHTTP1 {
			can = append(can, Long)
		}
	case WebSocket:
		r.Method, r.Way = "GET", OverHTTP1
	case Unary:
		r.Way = OverGRPC
		can = []Behaviour{Late, Reset}
	case Bidi:
		r.Way = OverGRPC
		can = append(can, Early)
	case TCP:
		r.Way = OverTCP
		can = append(can, Early)
	}
	if random.IntN(5) == 0 {
		r.Behaviour = can[random.IntN(len(can))]
	}
	if r.Behaviour == Long {
		r.Down = min(r.Down, 8<<10) // both answers are to arrive as one
	}
}

// size is mostly small and sometimes large.
func size(random *rand.Rand) int {
	switch n := random.IntN(100); {
	case n < 80:
		return random.IntN(2 << 10)
	case n < 97:
		return random.IntN(32 << 10)
	}
	return random.IntN(256 << 10)
}

// String identifies the request for people.
func (r *Request) String() string {
	return fmt.Sprintf("%s %s %s to %s over %s, %d bytes up, %d down, streamed %t, framing %d, %s", r.ID, r.Protocol, r.Method, r.Backend, r.Way, r.Up, r.Down, r.Streamed, r.Framing, r.Behaviour)
}

// ticket is what the backend is told.
func (r *Request) ticket() string {
	return fmt.Sprintf("%d-%d-%d-%d-%d", r.ID, r.Down, r.Behaviour, r.Framing, r.Pause.Milliseconds())
}

func readTicket(s string) (Request, error) {
	var r Request
	var ms int64
	if _, err := fmt.Sscanf(s, "%d-%d-%d-%d-%d", &r.ID, &r.Down, &r.Behaviour, &r.Framing, &ms); err != nil {
		return Request{}, fmt.Errorf("read ticket %q: %w", s, err)
	}
	r.Pause = time.Duration(ms) * time.Millisecond
	if r.ticket() != s || r.Down < 0 || r.Behaviour >= behaviours || r.Framing >= framings {
		return Request{}, fmt.Errorf("%q is no ticket", s)
	}
	return r, nil
}

// direction keeps the two bodies of a request apart.
type direction uint64

const (
	up direction = iota + 1
	down
)

// content is n bytes that are those of no other request or direction.
func content(id ID, d direction, n int) []byte {
	b := make([]byte, n+7)
	x := uint64(id)<<2 | uint64(d)
	for i := 0; i < n; i += 8 {
		// SplitMix64.
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(b[i:], z^z>>31)
	}
	return b[:n:n]
}

func digest(b []byte) uint64 { return xxhash.Sum64(b) }

// pieces cuts b into parts that differ in size.
func pieces(id ID, b []byte) [][]byte {
	return slices.Collect(slices.Chunk(b, 500+int(id%7)*3000))
}

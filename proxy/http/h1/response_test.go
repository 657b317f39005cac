package h1

import (
	"slices"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/proxy/http"
)

const ok = "HTTP/1.1 200 OK\r\n"

// answers are responses to a request, what is heard of them, and whether the
// connection may be used again.
var answers = []struct {
	name, method, raw string
	want              []string
	reusable          bool
}{
	{"length", "GET", ok + "Content-Length: 5\r\n\r\nhello", []string{"200 v=1 len=5 close=false body=hello"}, true},
	{"no body", "GET", ok + "Content-Length: 0\r\n\r\n", []string{"200 v=1 len=0 close=false"}, true},
	{"chunks", "GET", ok + chunked + "5\r\nhello\r\n0\r\n\r\n", []string{"200 v=1 len=-1 close=false body=hello"}, true},
	{"trailers", "GET", ok + chunked + "0\r\nGrpc-Status: 0\r\nHost: b\r\n\r\n", []string{"200 v=1 len=-1 close=false trailers= [grpc-status=0]"}, true},
	{"until close", "GET", ok + "A: b\r\n\r\nhello", []string{"200 v=1 len=-1 close=true [a=b] body=hello"}, false},
	{"close", "GET", ok + "Connection: close\r\nContent-Length: 1\r\n\r\na", []string{"200 v=1 len=1 close=true body=a"}, false},
	{"HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na", []string{"200 v=0 len=1 close=true body=a"}, false},
	{"HTTP/1.0 kept", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na", []string{"200 v=0 len=1 close=false body=a"}, true},
	{"HTTP/1.0 with both", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 1\r\n\r\na", []string{"200 v=0 len=1 close=true body=a"}, false},
	{"no reason", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", []string{"200 v=1 len=0 close=false"}, true},
	{"no space for the reason", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", []string{"200 v=1 len=0 close=false"}, true},
	{"status 999", "GET", "HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n", []string{"999 v=1 len=0 close=false"}, true},
	{"HEAD", "HEAD", ok + "Content-Length: 5\r\n\r\n", []string{"200 v=1 len=0 close=false [content-length=5]"}, true},
	{"HEAD with chunks", "HEAD", ok + chunked, []string{"200 v=1 len=0 close=false"}, true},
	{"HEAD with a body", "HEAD", ok + "Content-Length: 5\r\n\r\nhello", []string{"200 v=1 len=0 close=false [content-length=5]"}, false},
	{"not modified", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", []string{"304 v=1 len=0 close=false [content-length=5]"}, true},
	{"no content", "GET", "HTTP/1.1 204 No Content\r\n\r\n", []string{"204 v=1 len=0 close=false"}, true},
	{"no content with length zero", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", []string{"204 v=1 len=0 close=false"}, true},
	{"no content with a length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", []string{"204 v=1 len=0 close=true"}, false},
	{"no content with chunks", "GET", "HTTP/1.1 204 No Content\r\n" + chunked, []string{"204 v=1 len=0 close=true"}, false},
	{
		"interims", "GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n",
		[]string{"100 v=1 len=0 close=false", "103 v=1 len=0 close=false [link=a]", "200 v=1 len=0 close=false"}, true,
	},
	{
		"interim with a length", "GET", "HTTP/1.1 103 Early Hints\r\nContent-Length: 50\r\n\r\n" + ok + "Content-Length: 0\r\n\r\n",
		[]string{"103 v=1 len=0 close=true", "200 v=1 len=0 close=false"}, false,
	},
	{"two responses", "GET", ok + "Content-Length: 0\r\n\r\n" + ok + "\r\n", []string{"200 v=1 len=0 close=false"}, false},
	{"garbage after the response", "GET", ok + "Content-Length: 0\r\n\r\n\r\n", []string{"200 v=1 len=0 close=false"}, false},
	{"hop by hop", "GET", ok + "Connection: foo\r\nFoo: 1\r\nKeep-Alive: a\r\nUpgrade: h2c\r\nContent-Length: 0\r\nA_B: c\r\n\r\n", []string{"200 v=1 len=0 close=false"}, true},
	{"CONNECT", "CONNECT", ok + "Content-Length: 2\r\n\r\nhello", []string{"200 v=1 len=-1 close=false body=hello"}, false},
	{"CONNECT refused", "CONNECT", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", []string{"403 v=1 len=2 close=false body=no"}, false},
	{"upgrade", "websocket", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\nhello", []string{"101 v=1 len=-1 close=false protocol=websocket body=hello"}, false},
	{"upgrade refused", "websocket", ok + "Content-Length: 2\r\n\r\nno", []string{"200 v=1 len=2 close=false body=no"}, false},

	{"upgrade to another protocol", "websocket", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h3\r\n\r\n", []string{bad(badSwitch)}, false},
	{"upgrade without its option", "websocket", "HTTP/1.1 101 x\r\nUpgrade: websocket\r\n\r\n", []string{bad(badSwitch)}, false},
	{"upgrade that nobody asked for", "GET", "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", []string{bad(badSwitch)}, false},
	{"length and chunks", "GET", ok + "Content-Length: 5\r\n" + chunked + "0\r\n\r\n", []string{bad(bothFramings)}, false},
	{"two lengths", "GET", ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", []string{bad(manyLengths)}, false},
	{"signed length", "GET", ok + "Content-Length: +5\r\n\r\nhello", []string{bad(badLength)}, false},
	{"gzip", "GET", ok + "Transfer-Encoding: gzip\r\n\r\n", []string{"error 0 unsupported: " + unknownCoding.reason}, false},
	{"chunks in HTTP/1.0", "GET", "HTTP/1.0 200 OK\r\n" + chunked + "0\r\n\r\n", []string{bad(oldCoding)}, false},
	{"version", "GET", "HTTP/2.0 200 OK\r\n\r\n", []string{"error 0 unsupported: " + badVersion.reason}, false},
	{"other protocol", "GET", "ICY 200 OK\r\n\r\n", []string{bad(badStart)}, false},
	{"short", "GET", "HTTP/1.1\r\n\r\n", []string{bad(badStart)}, false},
	{"short status", "GET", "HTTP/1.1 20\r\n\r\n", []string{bad(badStart)}, false},
	{"long status", "GET", "HTTP/1.1 2000\r\n\r\n", []string{bad(badStatus)}, false},
	{"status with a sign", "GET", "HTTP/1.1 +20 OK\r\n\r\n", []string{bad(badStatus)}, false},
	{"status 0", "GET", "HTTP/1.1 000 OK\r\n\r\n", []string{bad(badStatus)}, false},
	{"two spaces before the status", "GET", "HTTP/1.1  200 OK\r\n\r\n", []string{bad(badStatus)}, false},
	{"tab before the reason", "GET", "HTTP/1.1 200\tOK\r\n\r\n", []string{bad(badStatus)}, false},
	{"control character in the reason", "GET", "HTTP/1.1 200 O\x00K\r\n\r\n", []string{bad(badReason)}, false},
	{"CR in the reason", "GET", "HTTP/1.1 200 O\rK\r\n\r\n", []string{bad(badReason)}, false},
	{"LF line ends", "GET", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", []string{bad(badLineEnd)}, false},
	{"folded", "GET", ok + "A: b\r\n c\r\n\r\n", []string{bad(badFold)}, false},
	{"space before the colon", "GET", ok + "Content-Length : 5\r\n\r\nhello", []string{bad(badName)}, false},
	{"bytes before the response", "GET", "\r\n" + ok + "\r\n", []string{bad(badStart)}, false},
	{"bad chunk", "GET", ok + chunked + "5\r\nhello\nX", []string{"200 v=1 len=-1 close=false body=hello " + bad(badChunk)}, false},
	{"too many interims", "GET", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 17), append(slices.Repeat([]string{"100 v=1 len=0 close=false"}, 16), bad(manyInterims)), false},
	{"too large", "GET", ok + "A: " + strings.Repeat("b", 62<<10), []string{"error 0 too_large: " + headTooLarge.reason}, false},
	{"too many fields", "GET", ok + strings.Repeat("a: b\r\n", 101) + "\r\n", []string{"error 0 too_large: " + manyFields.reason}, false},
	{"cut head", "GET", ok + "A: b\r\n", []string{cut}, false},
	{"nothing", "GET", "", []string{cut}, false},
	{"cut length", "GET", ok + "Content-Length: 5\r\n\r\nhell", []string{"200 v=1 len=5 close=false body=hell " + cut}, false},
	{"cut chunk", "GET", ok + chunked + "5\r\nhell", []string{"200 v=1 len=-1 close=false body=hell " + cut}, false},
	{"cut before the last chunk", "GET", ok + chunked + "5\r\nhello\r\n", []string{"200 v=1 len=-1 close=false body=hello " + cut}, false},
	{"cut before the empty line", "GET", ok + chunked + "5\r\nhello\r\n0\r\n", []string{"200 v=1 len=-1 close=false body=hello " + cut}, false},
}

const cut = "error 0 closed: the connection was closed in the middle of an exchange"

func bad(f *fault) string { return "error 0 protocol_error: " + f.reason }

func ask(method string) *http.Head {
	if method != "websocket" {
		return newRequest(method, "/", 0)
	}
	h := newRequest("GET", "/", 0)
	h.Protocol = method
	return h
}

func TestResponsesAreReadStrictly(t *testing.T) {
	for _, tt := range answers {
		t.Run(tt.name, func(t *testing.T) {
			for name, in := range map[string][][]byte{"at once": pieces(tt.raw), "byte by byte": every(tt.raw)} {
				heard, reusable := hearAnswer(ask(tt.method), in)
				if !slices.Equal(heard, tt.want) {
					t.Errorf("%s: heard %q\nwant %q", name, heard, tt.want)
				}
				// Byte by byte what follows the response has not come yet.
				if reusable != tt.reusable && (name == "at once" || !reusable) {
					t.Errorf("%s: reusable is %v", name, reusable)
				}
			}
		})
	}
}

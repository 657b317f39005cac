package h1

import (
	"slices"
	"strings"
	"testing"

	"github.com/leno-mesh/leno/proxy/http"
)

var plain = ServerOptions{Scheme: "http", AcceptHTTP10: true}

// post is a request head that lacks only what its framing says.
const post = "POST / HTTP/1.1\r\nHost: a\r\n"

// get is a request head that lacks its end.
const get = "GET / HTTP/1.1\r\nHost: a\r\n"

// refused are messages that must not get past the codec, with the status that
// they are answered.
var refused = []struct {
	name, raw string
	status    int
}{
	// The start line.
	{"empty lines only", "\r\n\r\n\r\n", 400},
	{"two empty lines first", "\r\n\r\n" + get + "\r\n", 400},
	{"LF first", "\n" + get + "\r\n", 400},
	{"CR first", "\r" + get + "\r\n", 400},
	{"space first", " " + get + "\r\n", 400},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400},
	{"NUL first", "\x00GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"HTTP/0.9", "GET /\r\n\r\n", 400},
	{"method only", "GET\r\n\r\n", 400},
	{"no version", "GET / \r\nHost: a\r\n\r\n", 400},
	{"no target", "GET HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"empty target", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"two spaces before the target", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"two spaces before the version", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"tab before the version", "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
	{"words after the version", "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n", 400},
	{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"request hidden in the target", "GET / HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"LF after the start line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
	{"CR in the start line", "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CR CR LF after the start line", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", 400},
	{"brackets in the method", "G[T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"colon in the method", "GET: / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"non-ASCII in the method", "G\xc3\x89T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"version 2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
	{"version 0.9", "GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
	{"version 9.9", "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505},
	{"version 1.10", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
	{"version 01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400},
	{"version 1,1", "GET / HTTP/1,1\r\nHost: a\r\n\r\n", 400},
	{"version 1", "GET / HTTP/1\r\nHost: a\r\n\r\n", 400},
	{"version in lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
	{"version with a plus", "GET / HTTP/+1.1\r\nHost: a\r\n\r\n", 400},
	{"other protocol", "GET / ICAP/1.0\r\nHost: a\r\n\r\n", 400},
	{"RTSP", "PLAY / RTSP/1.0\r\nHost: a\r\n\r\n", 400},

	// The target.
	{"path without a slash", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"query without a path", "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"fragment in an absolute form", "GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"non-ASCII path", "GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"NUL in the path", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"DEL in the path", "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"vertical tab in the path", "GET /\x0b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"asterisk for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"asterisk with more", "OPTIONS *a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute without a host", "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with a query for a path", "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with user information", "GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with an at sign only", "GET http://@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute of another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with a file", "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with one slash", "GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with a bad port", "GET http://a:b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with a backslash", "GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"absolute with an escape in its host", "GET http://a%2eb/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"authority form for GET", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT without a port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with an empty port", "CONNECT a: HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with a path", "CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with an absolute form", "CONNECT http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with user information", "CONNECT u@a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with a big port", "CONNECT a:65536 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT to IPv6 without a port", "CONNECT [::1] HTTP/1.1\r\nHost: a\r\n\r\n", 400},
	{"CONNECT with a length", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello", 400},
	{"CONNECT with chunks", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},

	// Host.
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"no host, absolute form", "GET http://a/ HTTP/1.1\r\n\r\n", 400},
	{"two hosts", get + "Host: b\r\n\r\n", 400},
	{"two equal hosts", get + "Host: a\r\n\r\n", 400},
	{"two hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
	{"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},
	{"blank host", "GET / HTTP/1.1\r\nHost: \t \r\n\r\n", 400},
	{"host list", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
	{"host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
	{"host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
	{"host with a query", "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400},
	{"host with user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
	{"host with a scheme", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", 400},
	{"host with an empty port", "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 400},
	{"host with two ports", "GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n", 400},
	{"host with words for a port", "GET / HTTP/1.1\r\nHost: a:http\r\n\r\n", 400},
	{"host with a signed port", "GET / HTTP/1.1\r\nHost: a:+80\r\n\r\n", 400},
	{"host with a big port", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", 400},
	{"host of a port only", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400},
	{"host with an open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
	{"host with words after the bracket", "GET / HTTP/1.1\r\nHost: [::1]a\r\n\r\n", 400},
	{"host with a zone", "GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", 400},
	{"host with empty brackets", "GET / HTTP/1.1\r\nHost: []\r\n\r\n", 400},
	{"host with a name in brackets", "GET / HTTP/1.1\r\nHost: [a.b]\r\n\r\n", 400},
	{"host of bare IPv6", "GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400},
	{"host with an escape", "GET / HTTP/1.1\r\nHost: a%00b\r\n\r\n", 400},
	{"host with non-ASCII", "GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400},
	{"host with a NUL", "GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", 400},
	{"host with a backslash", "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n", 400},
	{"host folded", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n", 400},
	{"host with a space before its colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},

	// Field lines.
	{"folded line", get + "A: b\r\n c\r\n\r\n", 400},
	{"folded with a tab", get + "A: b\r\n\tc\r\n\r\n", 400},
	{"folded first line", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
	{"folded end", get + "A: b\r\n \r\n\r\n", 400},
	{"space before the colon", get + "A : b\r\n\r\n", 400},
	{"tab before the colon", get + "A\t: b\r\n\r\n", 400},
	{"no colon", get + "A\r\n\r\n", 400},
	{"no name", get + ": b\r\n\r\n", 400},
	{"space in the name", get + "A b: c\r\n\r\n", 400},
	{"NUL in the name", get + "A\x00: b\r\n\r\n", 400},
	{"non-ASCII in the name", get + "\xc3\xa9: b\r\n\r\n", 400},
	{"Latin-1 in the name", get + "A\xa0: b\r\n\r\n", 400},
	{"quote in the name", get + "A\": b\r\n\r\n", 400},
	{"parenthesis in the name", get + "A(b): c\r\n\r\n", 400},
	{"at sign in the name", get + "A@b: c\r\n\r\n", 400},
	{"slash in the name", get + "A/b: c\r\n\r\n", 400},
	{"LF after a line", get + "A: b\nC: d\r\n\r\n", 400},
	{"LF for the empty line", get + "A: b\r\n\n", 400},
	{"LF for all lines", "GET / HTTP/1.1\nHost: a\n\n", 400},
	{"CR in a value", get + "A: b\rC: d\r\n\r\n", 400},
	{"CR CR LF after a value", get + "A: b\r\r\n\r\n", 400},
	{"CR before the empty line", get + "A: b\r\n\r\r\n\r\n", 400},
	{"NUL in a value", get + "A: b\x00c\r\n\r\n", 400},
	{"vertical tab in a value", get + "A: \x0bb\r\n\r\n", 400},
	{"form feed in a value", get + "A: b\x0c\r\n\r\n", 400},
	{"backspace in a value", get + "A: 0123456789\x08\r\n\r\n", 400},
	{"DEL in a value", get + "A: 0123456\x7f\r\n\r\n", 400},
	{"escape in a value", get + "A: \x1b[31m\r\n\r\n", 400},
	{"too many fields", get + strings.Repeat("A: b\r\n", 100) + "\r\n", 431},
	{"head too large", get + "A: " + strings.Repeat("b", 61<<10) + "\r\n\r\n", 431},
	{"head too large and unfinished", get + strings.Repeat("A: b\r\n", 11000), 431},
	{"request line too long", "GET /" + strings.Repeat("a", 64<<10), 414},
	{"method too long", strings.Repeat("A", 64<<10), 414},
	{"too many options", get + "Connection: " + strings.Repeat("a,", 40) + "\r\n\r\n", 400},
	{"unknown expectation", post + "Expect: 200-ok\r\nContent-Length: 1\r\n\r\na", 417},
	{"two expectations", post + "Expect: 100-continue\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na", 417},
	{"expectation list", post + "Expect: 100-continue, a\r\nContent-Length: 1\r\n\r\na", 417},

	// Content-Length.
	{"length with a plus", post + "Content-Length: +5\r\n\r\nhello", 400},
	{"length with a minus", post + "Content-Length: -5\r\n\r\nhello", 400},
	{"negative zero", post + "Content-Length: -0\r\n\r\n", 400},
	{"hexadecimal length", post + "Content-Length: 0x5\r\n\r\nhello", 400},
	{"length with a suffix", post + "Content-Length: 5b\r\n\r\nhello", 400},
	{"length with a point", post + "Content-Length: 5.0\r\n\r\nhello", 400},
	{"length with an exponent", post + "Content-Length: 1e1\r\n\r\nhellohello", 400},
	{"length with an underscore", post + "Content-Length: 1_0\r\n\r\nhellohello", 400},
	{"length in two parts", post + "Content-Length: 5 0\r\n\r\nhello", 400},
	{"empty length", post + "Content-Length:\r\n\r\n", 400},
	{"length in quotes", post + "Content-Length: \"5\"\r\n\r\nhello", 400},
	{"length list", post + "Content-Length: 5, 5\r\n\r\nhello", 400},
	{"length list of different ones", post + "Content-Length: 5, 6\r\n\r\nhello", 400},
	{"length with a comma", post + "Content-Length: 5,\r\n\r\nhello", 400},
	{"length with a semicolon", post + "Content-Length: 5;\r\n\r\nhello", 400},
	{"two lengths", post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400},
	{"two equal lengths", post + "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400},
	{"two lengths, one in capitals", post + "CONTENT-LENGTH: 0\r\ncontent-length: 5\r\n\r\nhello", 400},
	{"length of 2^64", post + "Content-Length: 18446744073709551616\r\n\r\n", 400},
	{"length of 2^63", post + "Content-Length: 9223372036854775808\r\n\r\n", 400},
	{"length of 2^32 in a long row of zeros", post + "Content-Length: 00000000000000000000000005\r\n\r\nhello", 400},
	{"length with other digits", post + "Content-Length: \xd9\xa5\r\n\r\nhello", 400},
	{"length with a space before its colon", post + "Content-Length : 5\r\n\r\nhello", 400},
	{"length folded", post + "Content-Length:\r\n 5\r\n\r\nhello", 400},
	{"length after a NUL", post + "Content-Length: \x005\r\n\r\nhello", 400},
	{"length and vertical tab", post + "Content-Length: \x0b5\r\n\r\nhello", 400},

	// Transfer-Encoding.
	{"CL.TE", post + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400},
	{"TE.CL", post + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
	{"TE and length zero", post + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"two codings", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"two codings, the second unknown", post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n", 501},
	{"two codings, the first identity", post + "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
	{"chunked twice in a list", post + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked and identity", post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
	{"gzip and chunked", post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a comma", post + "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", 400},
	{"chunked after a comma", post + "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a parameter", post + "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", 400},
	{"chunked with an x", post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked in quotes", post + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400},
	{"chunked after a vertical tab", post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a NUL", post + "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a no-break space", post + "Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n", 400},
	{"chunked with a Kelvin sign", post + "Transfer-Encoding: chun\xe2\x84\xaaed\r\n\r\n0\r\n\r\n", 400},
	{"empty coding", post + "Transfer-Encoding:\r\n\r\n0\r\n\r\n", 400},
	{"identity", post + "Transfer-Encoding: identity\r\n\r\n", 501},
	{"gzip", post + "Transfer-Encoding: gzip\r\n\r\n", 501},
	{"cow", post + "Transfer-Encoding: cow\r\nContent-Length: 5\r\n\r\nhello", 501},
	{"coding with a space before its colon", post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding with a tab before its colon", post + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding folded", post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding hidden by CR", post + "A: b\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding hidden by LF", post + "A: b\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding after a space", post + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},

	// Chunks.
	{"empty size", post + chunked + "\r\n0\r\n\r\n", 400},
	{"size with a sign", post + chunked + "+5\r\nhello\r\n0\r\n\r\n", 400},
	{"negative size", post + chunked + "-1\r\n0\r\n\r\n", 400},
	{"size with 0x", post + chunked + "0x5\r\nhello\r\n0\r\n\r\n", 400},
	{"size with a space after it", post + chunked + "5 \r\nhello\r\n0\r\n\r\n", 400},
	{"size with a space before it", post + chunked + " 5\r\nhello\r\n0\r\n\r\n", 400},
	{"size with a tab", post + chunked + "5\t\r\nhello\r\n0\r\n\r\n", 400},
	{"size with an underscore", post + chunked + "0_5\r\nhello\r\n0\r\n\r\n", 400},
	{"size with other letters", post + chunked + "5g\r\nhello\r\n0\r\n\r\n", 400},
	{"size beyond 2^64", post + chunked + "10000000000000005\r\nhello\r\n0\r\n\r\n", 400},
	{"size of 2^63", post + chunked + "8000000000000000\r\n", 400},
	{"size with many zeros", post + chunked + "00000000000000000005\r\nhello\r\n0\r\n\r\n", 400},
	{"size that ends with LF", post + chunked + "5\nhello\r\n0\r\n\r\n", 400},
	{"size that ends with CR", post + chunked + "5\rhello\r\n0\r\n\r\n", 400},
	{"size that ends with CR CR LF", post + chunked + "5\r\r\nhello\r\n0\r\n\r\n", 400},
	{"data that ends with LF", post + chunked + "5\r\nhello\n0\r\n\r\n", 400},
	{"data that ends with CR", post + chunked + "5\r\nhello\r0\r\n\r\n", 400},
	{"data longer than its size", post + chunked + "5\r\nhello!\r\n0\r\n\r\n", 400},
	{"data without an end", post + chunked + "5\r\nhello0\r\n\r\n", 400},
	{"extension after a space", post + chunked + "5 ;a=b\r\nhello\r\n0\r\n\r\n", 400},
	{"extension without a name", post + chunked + "5;\r\nhello\r\n0\r\n\r\n", 400},
	{"extension without a value", post + chunked + "5;a=\r\nhello\r\n0\r\n\r\n", 400},
	{"extension with an open quote", post + chunked + "5;a=\"b\r\nhello\r\n0\r\n\r\n", 400},
	{"extension with LF in quotes", post + chunked + "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n", 400},
	{"extension with LF", post + chunked + "5;a\nb\r\nhello\r\n0\r\n\r\n", 400},
	{"extension with CR", post + chunked + "5;a\rb\r\nhello\r\n0\r\n\r\n", 400},
	{"extension with NUL", post + chunked + "5;a\x00\r\nhello\r\n0\r\n\r\n", 400},
	{"extension too long", post + chunked + "5;" + strings.Repeat("a", 300) + "\r\nhello\r\n0\r\n\r\n", 400},
	{"extension without an end", post + chunked + "5;" + strings.Repeat("a", 1000), 400},
	{"last chunk that ends with LF", post + chunked + "0\n\r\n", 400},
	{"empty line that is LF", post + chunked + "0\r\n\n", 400},
	{"words for the empty line", post + chunked + "0\r\nGET / HTTP/1.1\r\n\r\n", 400},
	{"trailer folded", post + chunked + "0\r\nA: b\r\n c\r\n\r\n", 400},
	{"trailer that ends with LF", post + chunked + "0\r\nA: b\n\r\n", 400},
	{"trailer with a NUL", post + chunked + "0\r\nA: \x00\r\n\r\n", 400},
	{"trailer with a space before its colon", post + chunked + "0\r\nA : b\r\n\r\n", 400},
	{"too many trailers", post + chunked + "0\r\n" + strings.Repeat("a: b\r\n", 101) + "\r\n", 431},
	{"trailers too large", post + chunked + "0\r\nA: " + strings.Repeat("b", 61<<10) + "\r\n\r\n", 431},
}

const chunked = "Transfer-Encoding: chunked\r\n\r\n"

func TestHostileRequestsAreRefused(t *testing.T) {
	for _, tt := range refused {
		t.Run(tt.name, func(t *testing.T) {
			// What follows must never be taken for a request.
			heard, wrote := hear(plain, pieces(tt.raw+"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"))
			if len(heard) != 1 || !strings.Contains(heard[0], "error ") {
				t.Fatalf("heard %q", heard)
			}
			if at := strings.Index(heard[0], "error "); heard[0][at:at+9] != "error "+itoa(tt.status) {
				t.Errorf("heard %q, want status %d", heard[0], tt.status)
			}
			if !strings.HasPrefix(wrote, "HTTP/1.1 "+itoa(tt.status)) || !strings.Contains(wrote, "connection: close\r\n") {
				t.Errorf("wrote %q", wrote)
			}
		})
	}
}

func itoa(n int) string { return string(appendInt(nil, int64(n))) }

// accepted are messages that are valid, odd as some are, and what is heard.
var accepted = []struct{ name, raw, want string }{
	{"plain", get + "\r\n", "GET http a / v=1 len=0 close=false"},
	{"empty line first", "\r\n" + get + "\r\n", "GET http a / v=1 len=0 close=false"},
	{"lower-case method", "get / HTTP/1.1\r\nHost: a\r\n\r\n", "get http a / v=1 len=0 close=false"},
	{"exotic method", "M-SEARCH!#$%&'*+-.^_`|~ / HTTP/1.1\r\nHost: a\r\n\r\n", "M-SEARCH!#$%&'*+-.^_`|~ http a / v=1 len=0 close=false"},
	{"path with odd characters", "GET /a;b=c/../%2F\\|?x=\"{}\" HTTP/1.1\r\nHost: a\r\n\r\n", "GET http a /a;b=c/../%2F\\|?x=\"{}\" v=1 len=0 close=false"},
	{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http a * v=1 len=0 close=false"},
	{"absolute wins over Host", "GET http://B.example:81/x HTTP/1.1\r\nHost: a\r\n\r\n", "GET http b.example:81 /x v=1 len=0 close=false"},
	{"absolute in capitals", "GET HTTP://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET http b / v=1 len=0 close=false"},
	{"absolute for OPTIONS", "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS http b * v=1 len=0 close=false"},
	{"absolute does not change the scheme", "GET https://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET http b / v=1 len=0 close=false"},
	{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "CONNECT http a:443  v=1 len=0 close=false"},
	{"CONNECT to IPv6", "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n", "CONNECT http [::1]:443  v=1 len=0 close=false"},
	{"host is lowered", "GET / HTTP/1.1\r\nHost: A.Example:80\r\n\r\n", "GET http a.example:80 / v=1 len=0 close=false"},
	{"host of IPv6", "GET / HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n", "GET http [2001:db8::1]:80 / v=1 len=0 close=false"},
	{"host with an underscore", "GET / HTTP/1.1\r\nHost: a_b\r\n\r\n", "GET http a_b / v=1 len=0 close=false"},
	{"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "GET http  / v=0 len=0 close=true"},
	{"HTTP/1.0 kept", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", "GET http a / v=0 len=0 close=false"},
	{"no space after the colon", get + "A:b\r\n\r\n", "GET http a / v=1 len=0 close=false [a=b]"},
	{"white space around a value", get + "A: \t b c \t\r\n\r\n", "GET http a / v=1 len=0 close=false [a=b c]"},
	{"tab in a value", get + "A: 0123456789\tb\r\n\r\n", "GET http a / v=1 len=0 close=false [a=0123456789\tb]"},
	{"empty value", get + "A:\r\n\r\n", "GET http a / v=1 len=0 close=false [a=]"},
	{"bytes above ASCII in a value", get + "A: \xe9\xff\r\n\r\n", "GET http a / v=1 len=0 close=false [a=\xe9\xff]"},
	{"names are lowered", get + "X-Foo: A\r\n\r\n", "GET http a / v=1 len=0 close=false [x-foo=A]"},
	{"names with an underscore are dropped", get + "Content_Length: 5\r\nX_Forwarded_For: b\r\nC: d\r\n\r\n", "GET http a / v=1 len=0 close=false [c=d]"},
	{"equal names stay apart and in order", get + "A: 1\r\nB: 2\r\nA: 3\r\n\r\n", "GET http a / v=1 len=0 close=false [a=1] [b=2] [a=3]"},
	{"connection options", get + "Connection: Foo, close\r\nFoo: 1\r\nBar: 2\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\r\n", "GET http a / v=1 len=0 close=true [bar=2]"},
	{"option named after its field", get + "Foo: 1\r\nConnection: foo\r\n\r\n", "GET http a / v=1 len=0 close=false"},
	{
		"options do not remove identity", get + "Connection: Authorization, X-Forwarded-For, x-forwarded-client-cert, cookie, x-forwarded-anything, host\r\n" +
			"Authorization: 1\r\nX-Forwarded-For: 2\r\nX-Forwarded-Client-Cert: 3\r\nCookie: 4\r\nX-Forwarded-Anything: 5\r\n\r\n",
		"GET http a / v=1 len=0 close=false [authorization=1] [x-forwarded-for=2] [x-forwarded-client-cert=3] [cookie=4] [x-forwarded-anything=5]",
	},
	{"options do not remove the framing", post + "Connection: Content-Length\r\nContent-Length: 5\r\n\r\nhello", "POST http a / v=1 len=5 close=false body=hello"},
	{"options do not remove chunks", post + "Connection: Transfer-Encoding\r\n" + chunked + "0\r\n\r\n", "POST http a / v=1 len=-1 close=false"},
	{"TE is of the connection", get + "TE: gzip;q=1, deflate\r\n\r\n", "GET http a / v=1 len=0 close=false"},
	{"TE keeps trailers", get + "TE: gzip, Trailers\r\n\r\n", "GET http a / v=1 len=0 close=false [te=trailers]"},
	{"upgrade", get + "Connection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n", "GET http a / v=1 len=0 close=false protocol=websocket"},
	{"upgrade without its option", get + "Upgrade: websocket\r\n\r\n", "GET http a / v=1 len=0 close=false"},
	{"upgrade to h2c", get + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n", "GET http a / v=1 len=0 close=false"},
	{"upgrade to a list", get + "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n\r\n", "GET http a / v=1 len=0 close=false"},
	{"upgrade twice", get + "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n\r\n", "GET http a / v=1 len=0 close=false"},
	{"upgrade with a body", post + "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na", "POST http a / v=1 len=1 close=false body=a"},
	{"upgrade in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "GET http a / v=0 len=0 close=true"},
	{"length", post + "Content-Length: 5\r\n\r\nhello", "POST http a / v=1 len=5 close=false body=hello"},
	{"length zero", post + "Content-Length: 0\r\n\r\n", "POST http a / v=1 len=0 close=false"},
	{"length with zeros", post + "Content-Length: 0005\r\n\r\nhello", "POST http a / v=1 len=5 close=false body=hello"},
	{"body of GET", get + "Content-Length: 5\r\n\r\nhello", "GET http a / v=1 len=5 close=false body=hello"},
	{"expectation", post + "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\nhello", "POST http a / v=1 len=5 close=false expect body=hello"},
	{"expectation without a body", get + "Expect: 100-continue\r\n\r\n", "GET http a / v=1 len=0 close=false"},
	{"chunks", post + chunked + "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "POST http a / v=1 len=-1 close=false body=hello world"},
	{"chunks in capitals", post + "TRANSFER-ENCODING:CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", "POST http a / v=1 len=-1 close=false body=0123456789"},
	{"chunks with extensions", post + chunked + "5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", "POST http a / v=1 len=-1 close=false body=hello"},
	{"last chunk with zeros", post + chunked + "5\r\nhello\r\n000\r\n\r\n", "POST http a / v=1 len=-1 close=false body=hello"},
	{"trailers", post + chunked + "5\r\nhello\r\n0\r\nX-Sum: 1\r\nGrpc-Status: 0\r\n\r\n", "POST http a / v=1 len=-1 close=false body=hello trailers= [x-sum=1] [grpc-status=0]"},
	{
		"forbidden trailers", post + chunked + "0\r\nContent-Length: 9\r\nTransfer-Encoding: gzip\r\nHost: b\r\nAuthorization: c\r\nX-Forwarded-For: d\r\n" +
			"Connection: e\r\nTe: f\r\nX_Y: g\r\nA: h\r\n\r\n", "POST http a / v=1 len=-1 close=false trailers= [a=h]",
	},
	{"trailer field", post + "Trailer: A\r\n" + chunked + "0\r\nA: b\r\n\r\n", "POST http a / v=1 len=-1 close=false [trailer=A] trailers= [a=b]"},
}

func TestValidRequestsAreRead(t *testing.T) {
	for _, tt := range accepted {
		t.Run(tt.name, func(t *testing.T) {
			heard, _ := hear(plain, pieces(tt.raw))
			if len(heard) != 1 || heard[0] != tt.want {
				t.Errorf("heard %q\nwant  %q", heard, tt.want)
			}
		})
	}
}

func TestPiecesMakeNoDifference(t *testing.T) {
	for _, tt := range accepted {
		want, wrote := hear(plain, pieces(tt.raw))
		for i := range len(tt.raw) {
			got, _ := hear(plain, pieces(tt.raw, i))
			if !slices.Equal(got, want) {
				t.Fatalf("%s cut at %d: heard %q, want %q", tt.name, i, got, want)
			}
		}
		if got, also := hear(plain, every(tt.raw)); !slices.Equal(got, want) || len(also) < len(wrote) {
			t.Fatalf("%s byte by byte: heard %q, want %q", tt.name, got, want)
		}
	}
	for _, tt := range refused {
		if len(tt.raw) > 500 {
			continue
		}
		want, _ := hear(plain, pieces(tt.raw))
		got, _ := hear(plain, every(tt.raw))
		if len(got) != 1 || len(want) != 1 || status(got[0]) != status(want[0]) {
			t.Errorf("%s byte by byte: heard %q, want %q", tt.name, got, want)
		}
	}
}

func status(heard string) string {
	_, after, _ := strings.Cut(heard, "error ")
	return after[:min(3, len(after))]
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	raw := "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" + "POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n" +
		"POST /3 HTTP/1.1\r\nHost: a\r\n" + chunked + "1\r\nx\r\n0\r\nA: b\r\n\r\n" + "GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + get + "\r\n"
	for _, in := range [][][]byte{pieces(raw), every(raw)} {
		heard, wrote := hear(plain, in)
		want := []string{
			"GET http a /1 v=1 len=0 close=false", "POST http a /2 v=1 len=2 close=false body=hi",
			"POST http a /3 v=1 len=-1 close=false body=x trailers= [a=b]", "GET http a /4 v=1 len=0 close=true",
		}
		if !slices.Equal(heard, want) {
			t.Errorf("heard %q", heard)
		}
		if n := strings.Count(wrote, "HTTP/1.1 200 OK\r\n"); n != 4 {
			t.Errorf("%d answers: %q", n, wrote)
		}
	}
}

func TestUnfinishedRequestsAreErrors(t *testing.T) {
	for _, raw := range []string{"GET / HTT", get, get + "A", post + "Content-Length: 5\r\n\r\nhell", post + chunked + "5\r\nhell", post + chunked + "5\r\nhello\r\n0\r\n", post + chunked + "5\r\nhello\r\n0\r\nA: b\r\n"} {
		heard, wrote := hear(plain, pieces(raw))
		if len(heard) != 1 || !strings.HasSuffix(heard[0], "closed: the connection was closed in the middle of an exchange") {
			t.Errorf("%q: heard %q", raw, heard)
		}
		if wrote != "" {
			t.Errorf("%q: wrote %q", raw, wrote)
		}
	}
}

func TestHTTP10IsRefusedUnlessAccepted(t *testing.T) {
	heard, _ := hear(ServerOptions{Scheme: "http"}, pieces("GET / HTTP/1.0\r\nHost: a\r\n\r\n"))
	if len(heard) != 1 || status(heard[0]) != "505" {
		t.Errorf("heard %q", heard)
	}
}

func TestLimitsAreThoseConfigured(t *testing.T) {
	o := ServerOptions{Scheme: "http", Limits: http.Limits{HeadBytes: 64, Fields: 2}}
	for raw, want := range map[string]string{
		get + "A: b\r\n\r\n":                               "",
		get + "A: b\r\nC: d\r\n\r\n":                       "431",
		get + "A: " + strings.Repeat("b", 64) + "\r\n\r\n": "431",
		"GET /" + strings.Repeat("b", 64):                  "414",
	} {
		heard, _ := hear(o, pieces(raw))
		if len(heard) != 1 || status(heard[0]) != want {
			t.Errorf("%q: heard %q, want %s", raw, heard, want)
		}
	}
}

package h1

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// vectorDir returns where llhttp's test messages lie: LENO_VECTORS, or beside the
// repository.
func vectorDir(t *testing.T) string {
	dir := os.Getenv("LENO_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "..", "shared", "vectors")
	}
	dir = filepath.Join(dir, "llhttp")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("llhttp's vectors are not here")
	}
	return dir
}

type vector struct {
	file, name, kind, raw string
	valid                 bool
}

var vectorPattern = regexp.MustCompile("(?s)#+ ([^\n]*)\n(?:[^#`]*?\n)??\\s*<!-- meta=([^\n]*) -->\\s*```http\n(.*?)```\\s*```log\n(.*?)```")

func readVectors(t *testing.T, sub string) []vector {
	files, err := filepath.Glob(filepath.Join(vectorDir(t), sub, "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors: %v", err)
	}
	kind := regexp.MustCompile(`"type":\s*"([^"]*)"`)
	var all []vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range vectorPattern.FindAllStringSubmatch(string(text), -1) {
			v := vector{file: filepath.Base(file), name: m[1], raw: unescape(m[3])}
			if k := kind.FindStringSubmatch(m[2]); k != nil {
				v.kind = k[1]
			}
			if strings.Contains(m[2], "pause") || strings.Contains(m[2], "skipBody") {
				continue
			}
			v.valid = !strings.Contains(m[4], " error code=") || strings.Contains(m[4], "error code=22") || strings.Contains(m[4], "reason=\"Pause on")
			all = append(all, v)
		}
	}
	return all
}

var hexEscape = regexp.MustCompile(`\\x([0-9a-fA-F]{2})`)

// unescape turns a message of the vectors into bytes, as llhttp's own runner does.
func unescape(s string) string {
	s = strings.TrimSuffix(s, "\n")
	s = strings.ReplaceAll(s, "\\\n", "")
	s = strings.ReplaceAll(s, "\n", "\r\n")
	s = strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\t`, "\t", `\f`, "\f").Replace(s)
	return hexEscape.ReplaceAllStringFunc(s, func(m string) string {
		n, _ := strconv.ParseUint(m[2:], 16, 8)
		return string([]byte{byte(n)})
	})
}

// withHost gives every request that has no Host one, since llhttp does not ask
// for it.
func withHost(raw string) string {
	empty := strings.HasPrefix(raw, "\r\n")
	raw = strings.TrimPrefix(raw, "\r\n")
	if empty {
		return "\r\n" + withHost(raw)
	}
	first := strings.Index(raw, "\r\n")
	if first < 0 || strings.Contains(strings.ToLower(raw), "host:") || strings.Contains(raw[:first], "CONNECT") {
		return raw
	}
	return raw[:first] + "\r\nHost: a" + raw[first:]
}

// stricter are llhttp's valid messages that Leno refuses, and why.
var stricter = map[string]string{
	"CONNECT with body":          "CONNECT has no body",
	"M-SEARCH request":           "the asterisk is for OPTIONS",
	"PRI request HTTP2":          "the asterisk is for OPTIONS",
	"SOURCE request with ICE":    "not HTTP",
	"ANNOUNCE request with RTSP": "not HTTP",
	"curl GET":                   "the host is malformed",
	"Firefox GET":                "the host is malformed",
	"No HTTP version":            "HTTP/0.9",
	"POST with `chunked` as last transfer-encoding":                    "a coding that Leno does not know",
	"POST with `chunked` as last transfer-encoding (multiple headers)": "a coding that Leno does not know",
	"Host terminated by a query string":                                "a query needs a path",
	"`host:port` terminated by a query string":                         "a query needs a path",
	"Fragment in URI":            "a fragment is never sent",
	"`host:port` and basic auth": "user information",
	"HTTP 101 response with Upgrade and Content-Length header":    "h2c was not asked for",
	"HTTP 101 response with Upgrade and Transfer-Encoding header": "h2c was not asked for",
	"RTSP response":                            "not HTTP",
	"ICE response":                             "not HTTP",
	"HTTP version 0.9":                         "HTTP/0.9",
	"Response starting with CRLF":              "an empty line comes before requests only",
	"`chunked` before other transfer-encoding": "chunked is not the last coding",
	"multiple transfer-encoding where chunked is not the last one": "chunked is not the last coding",
}

func TestInvalidVectorsAreRefused(t *testing.T) {
	n := 0
	for _, v := range readVectors(t, "request") {
		if v.kind != "request" || v.valid {
			continue
		}
		n++
		if why := narrower[v.name]; why != "" {
			continue
		}
		heard, _ := hear(plain, pieces(withHost(v.raw)))
		if !strings.Contains(strings.Join(heard, "\n"), "error ") {
			t.Errorf("%s: %s: %q\nheard %q", v.file, v.name, v.raw, heard)
		}
	}
	for _, v := range readVectors(t, "response") {
		if v.kind != "response" || v.valid {
			continue
		}
		n++
		if why := narrower[v.name]; why != "" {
			continue
		}
		heard, reusable := hearAnswer(ask("GET"), pieces(v.raw))
		if reusable && !strings.Contains(strings.Join(heard, "\n"), "error ") {
			t.Errorf("%s: %s: %q\nheard %q", v.file, v.name, v.raw, heard)
		}
	}
	if n < 50 {
		t.Errorf("only %d invalid vectors were found", n)
	}
	t.Logf("%d invalid messages", n)
}

// narrower are messages that llhttp refuses and Leno rightly does not.
var narrower = map[string]string{
	"No restart when keep-alive is off (1.0)": "what follows the last request is not read",
	"HTTP protocol and ANNOUNCE method":       "every token is a method",
	"Invalid method":                          "every token is a method",
}

func TestValidVectorsAreRead(t *testing.T) {
	n := 0
	for _, v := range readVectors(t, "request") {
		if v.kind != "request" || !v.valid {
			continue
		}
		n++
		heard, _ := hear(plain, pieces(withHost(v.raw)))
		refused := len(heard) == 0 || strings.Contains(heard[0], "error 4") || strings.Contains(heard[0], "error 5")
		if refused != (stricter[v.name] != "") {
			t.Errorf("%s: %s: %q\nheard %q", v.file, v.name, v.raw, heard)
		}
	}
	for _, v := range readVectors(t, "response") {
		if v.kind != "response" || !v.valid {
			continue
		}
		n++
		heard, _ := hearAnswer(ask("websocket"), pieces(v.raw))
		refused := len(heard) == 0 || strings.Contains(heard[0], "error ") && !strings.HasSuffix(heard[0], cut)
		if refused != (stricter[v.name] != "") {
			t.Errorf("%s: %s: %q\nheard %q", v.file, v.name, v.raw, heard)
		}
	}
	if n < 80 {
		t.Errorf("only %d valid vectors were found", n)
	}
	t.Logf("%d valid messages", n)
}

package engine

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestPathsHaveOneReading(t *testing.T) {
	for path, want := range map[string]string{
		"/":                      "/",
		"/a/b":                   "/a/b",
		"/a/./b":                 "/a/b",
		"/a/../b":                "/b",
		"/a/b/..":                "/a/",
		"/a/b/.":                 "/a/b/",
		"/a/%2e%2e/b":            "/b",
		"/a/%2E./b":              "/b",
		"/a/.%2e/admin":          "/admin",
		"/%61dmin":               "/admin",
		"/a%20b":                 "/a%20b",
		"/a%c3%a9":               "/a%C3%A9",
		"/a?x=/../y":             "/a?x=/../y",
		"/a/..?q":                "/?q",
		"/..a/b..":               "/..a/b..",
		"/.../x":                 "/.../x",
		"/a//b":                  "/a//b",
		"/a/;x=1/../b":           "/a/b",
		"/..":                    "!",
		"/../etc":                "!",
		"/a/../../etc":           "!",
		"/%2e%2e/etc":            "!",
		"/a/%2e%2e/%2e%2e/x":     "!",
		"/a%2fb":                 "!",
		"/a%2Fb":                 "!",
		"/a%5cb":                 "!",
		`/a\b`:                   "!",
		`/a\..\admin`:            "!",
		"/a%00":                  "!",
		"/a%0":                   "!",
		"/a%zz":                  "!",
		"/%":                     "!",
		"/a/%252e%252e/b":        "/a/%252e%252e/b", // decoded once by anyone who decodes
		"/admin%3fx":             "/admin%3Fx",
		"/a/b/c/../../../d/../e": "/e",
	} {
		have, ok := normalize(nil, []byte(path), false)
		if want == "!" {
			if ok {
				t.Errorf("%s passes as %s", path, have)
			}
			continue
		}
		if !ok || string(have) != want {
			t.Errorf("%s becomes %s (%t), want %s", path, have, ok, want)
		}
		if again, ok := normalize(nil, have, false); !ok || string(again) != string(have) {
			t.Errorf("%s is normalised again to %s", have, again)
		}
	}
	for path, want := range map[string]string{"//a///b//": "/a/b/", "/a//../b": "/b", "//": "/", "/a/.//b": "/a/b"} {
		if have, ok := normalize(nil, []byte(path), true); !ok || string(have) != want {
			t.Errorf("merging %s gives %s (%t), want %s", path, have, ok, want)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "/a//b?c", "/a%2fb", "/.%2e/./x"} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, path string, merge bool) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		have, ok := normalize(nil, []byte(path), merge)
		if !ok {
			return
		}
		only, _, _ := strings.Cut(string(have), "?")
		if !strings.HasPrefix(only, "/") {
			t.Fatalf("%q becomes %q", path, have)
		}
		for segment := range strings.SplitSeq(only[1:], "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("%q keeps a dot segment: %q", path, have)
			}
		}
		if merge && strings.Contains(only, "//") {
			t.Fatalf("%q keeps two slashes: %q", path, have)
		}
		if again, ok := normalize(nil, have, merge); !ok || string(again) != string(have) {
			t.Fatalf("%q is not stable: %q, then %q", path, have, again)
		}
	})
}

func TestPolicySeesThePathThatTheApplicationGets(t *testing.T) {
	manager := `normalize_path: true
merge_slashes: true
http_filters:
- name: rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
    rules:
      action: DENY
      policies:
        admin: {permissions: [{url_path: {path: {prefix: /admin}}}], principals: [{any: true}]}
`
	r := newRig(t, webWith(manager, to("app"))+clusters(cluster("app", "", backend(t, mirror))))
	address := r.serve("web")
	raw := func(path string) *http.Response {
		c := dial(t, address)
		_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(path, err)
		}
		res.Body.Close()
		c.Close()
		return res
	}
	for path, status := range map[string]int{
		"/ok": 200, "/admin": 403, "/admin/x": 403, "//admin": 403, "/./admin": 403, "/x/../admin": 403, "/%61dmin": 403,
		"/x/%2e%2e/admin": 403, "/ADMIN": 200, "/x%2f..%2fadmin": 400, "/../admin": 400,
	} {
		if a := raw(path); a.StatusCode != status {
			t.Errorf("%s: %s, the application saw %q", path, a.Status, a.Header.Get("x-path"))
		}
	}
	if a := raw("/a/../b//c"); a.Header.Get("x-path") != "/b/c" {
		t.Errorf("the application saw %q", a.Header.Get("x-path"))
	}
}

func TestForwardedFieldsSayWhatTheProxySaw(t *testing.T) {
	app := backend(t, mirror)
	for _, test := range []struct {
		manager   string
		had, want map[string]string
	}{
		{"", map[string]string{"x-forwarded-for": "1.2.3.4", "x-request-id": "mine"}, map[string]string{"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "http", "X-Request-Id": "mine"}},
		{"use_remote_address: true", map[string]string{"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https"}, map[string]string{"X-Forwarded-For": "1.2.3.4, 127.0.0.1", "X-Forwarded-Proto": "http"}},
		{"use_remote_address: true\nskip_xff_append: true", map[string]string{"x-forwarded-for": "1.2.3.4"}, map[string]string{"X-Forwarded-For": "1.2.3.4"}},
		{"use_remote_address: true\npreserve_external_request_id: true", map[string]string{"x-request-id": "mine"}, map[string]string{"X-Request-Id": "mine", "X-Forwarded-For": "127.0.0.1"}},
		{"", map[string]string{"x-forwarded-client-cert": "Hash=forged"}, map[string]string{"X-Forwarded-Client-Cert": ""}},
		{"forward_client_cert_details: SANITIZE_SET", map[string]string{"x-forwarded-client-cert": "Hash=forged"}, map[string]string{"X-Forwarded-Client-Cert": ""}},
		{"forward_client_cert_details: APPEND_FORWARD", map[string]string{"x-forwarded-client-cert": "Hash=forged"}, map[string]string{"X-Forwarded-Client-Cert": ""}},
		{"forward_client_cert_details: FORWARD_ONLY", map[string]string{"x-forwarded-client-cert": "Hash=forged"}, map[string]string{"X-Forwarded-Client-Cert": ""}},
		{"forward_client_cert_details: ALWAYS_FORWARD_ONLY", map[string]string{"x-forwarded-client-cert": "Hash=known"}, map[string]string{"X-Forwarded-Client-Cert": "Hash=known"}},
	} {
		r := newRig(t, webWith(test.manager, to("app"))+clusters(cluster("app", "", app)))
		var edits []func(*http.Request)
		for k, v := range test.had {
			edits = append(edits, header(k, v))
		}
		a := do(t, client(t, 1), "GET", "http://"+r.serve("web")+"/", nil, edits...)
		for k, want := range test.want {
			if have := strings.Join(a.Header["X-Had-"+k], "|"); have != want {
				t.Errorf("%q: %s is %q, want %q", test.manager, k, have, want)
			}
		}
		if id := a.Header["X-Had-X-Request-Id"]; len(id) != 1 || id[0] == "" {
			t.Errorf("%q: request ID %q", test.manager, id)
		}
	}
}

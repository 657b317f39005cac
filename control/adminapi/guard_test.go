package adminapi

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestGuardLetsOnlyTheTokenOnLoopbackPass(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	tests := []struct {
		name, method, host, authorization, origin string
		want                                      int
	}{
		{"as it should be", "POST", "127.0.0.1:15080", "Bearer " + token, "", 200},
		{"localhost", "POST", "localhost:15080", "bearer " + token, "", 200},
		{"IPv6 loopback", "POST", "[::1]:15080", "Bearer " + token, "", 200},
		{"own origin", "POST", "localhost:15080", "Bearer " + token, "http://localhost:15080", 200},
		{"no token", "POST", "localhost", "", "", 401},
		{"wrong token", "POST", "localhost", "Bearer 0123456789abcdef0123456789abcdeF", "", 401},
		{"empty token", "POST", "localhost", "Bearer ", "", 401},
		{"token under another scheme", "POST", "localhost", "Basic " + token, "", 401},
		{"prefix of the token", "POST", "localhost", "Bearer " + token[:31], "", 401},
		{"rebound DNS name", "POST", "evil.example:15080", "Bearer " + token, "", 421},
		{"name that begins like loopback", "POST", "127.0.0.1.evil.example", "Bearer " + token, "", 421},
		{"other address", "POST", "10.0.0.1:15080", "Bearer " + token, "", 421},
		{"no host", "POST", "", "Bearer " + token, "", 421},
		{"foreign page", "POST", "localhost:15080", "Bearer " + token, "https://evil.example", 403},
	}
	for _, test := range tests {
		reached := false
		h := Guard(token, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
		r := httptest.NewRequest(test.method, "/x", nil)
		r.Host = test.host
		r.Header.Set("Authorization", test.authorization)
		if test.origin != "" {
			r.Header.Set("Origin", test.origin)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != test.want || reached != (test.want == 200) {
			t.Errorf("%s: status %d, reached %v; want %d", test.name, w.Code, reached, test.want)
		}
		if w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: allows other origins", test.name)
		}
	}
}

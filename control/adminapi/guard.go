package adminapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"connectrpc.com/connect"
)

// Guard protects a handler that is served over TCP: only requests that carry
// the token, name a loopback host (a page that rebinds its DNS name to us does
// not) and come from no foreign page reach it.
func Guard(token string, next http.Handler) http.Handler {
	g := &guard{want: sha256.Sum256([]byte(token)), errors: connect.NewErrorWriter()}
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.refuse(w, r, http.StatusForbidden, connect.CodePermissionDenied, "requests of other origins are refused")
	}))
	return g.check(cross.Handler(next))
}

type guard struct {
	want   [sha256.Size]byte // hashed, so that comparing tells nothing of the length
	errors *connect.ErrorWriter
}

func (g *guard) check(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !loopback(r.Host) {
			g.refuse(w, r, http.StatusMisdirectedRequest, connect.CodePermissionDenied,
				"the Host header must name this machine as localhost or a loopback address")
			return
		}
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		got := sha256.Sum256([]byte(token))
		if !strings.EqualFold(scheme, "Bearer") || subtle.ConstantTimeCompare(got[:], g.want[:]) != 1 {
			w.Header().Set("WWW-Authenticate", `Bearer realm="leno"`)
			g.refuse(w, r, http.StatusUnauthorized, connect.CodeUnauthenticated,
				"a valid admin token is needed; it is in the file admin.token of the server's data directory")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (g *guard) refuse(w http.ResponseWriter, r *http.Request, status int, code connect.Code, why string) {
	if g.errors.IsSupported(r) {
		g.errors.Write(w, r, connect.NewError(code, errors.New(why)))
		return
	}
	http.Error(w, why, status)
}

func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

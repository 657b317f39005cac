package cli

import "strings"

// dataPlane runs the proxy that this program holds, when args ask for it: `leno
// proxy sidecar ...` and `leno proxy -c FILE` are leno-proxy with the same
// arguments. What the proxy does not need is not even built up.
func (e *Env) dataPlane(args []string) (code int, ran bool) {
	if e.Proxy == nil || len(args) < 2 || args[0] != "proxy" {
		return 0, false
	}
	switch first := args[1]; {
	case first == "-h", first == "--help":
		return 0, false
	case first == "sidecar", strings.HasPrefix(first, "-"):
		return e.Proxy(args[1:]), true
	}
	return 0, false
}

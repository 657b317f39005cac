package engine

import (
	"strconv"

	"github.com/leno-mesh/leno/proxy/http"
)

// status returns the response status that suits a fault, by Envoy's and the
// RFC's choices.
func status(f *http.Error) int {
	if f.Status != 0 {
		return f.Status
	}
	switch f.Kind {
	case http.KindProtocol:
		if f.Side == http.Downstream {
			return 400
		}
		return 502
	case http.KindTooLarge:
		if f.Side == http.Downstream {
			return 413
		}
		return 502
	case http.KindTimeout:
		if f.Side == http.Downstream {
			return 408
		}
		return 504
	case http.KindNoRoute:
		return 404
	case http.KindDenied:
		return 403
	case http.KindUnsupported:
		return 501
	case http.KindConfiguration:
		return 500
	}
	return 503
}

// grpcCode maps a response status to a gRPC code (grpc/doc/http-grpc-status-mapping.md).
func grpcCode(status int) int {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 408, 504:
		return 4
	case 413, 431:
		return 8
	case 429, 502, 503:
		return 14
	}
	return 2
}

// isGRPC reports that a request is gRPC: application/grpc, with or without a
// suffix.
func isGRPC(h *http.Head) bool {
	v, ok := h.GetNamed(http.ContentType)
	const word = "application/grpc"
	return ok && len(v) >= len(word) && string(v[:len(word)]) == word && (len(v) == len(word) || v[len(word)] == '+' || v[len(word)] == ';')
}

// reply answers a request by this proxy itself: one plain sentence, and the
// machine-readable cause in x-leno-fault. gRPC callers get a trailers-only
// answer with the sentence as grpc-message.
func (x *exchange) reply(down http.Stream, f *http.Error) {
	x.Fault = f
	code := status(f)
	h := &x.Resp
	h.Reset()
	h.Status = code
	h.AddString("x-leno-fault", f.Kind.String())
	reason := f.Reason
	if isGRPC(&x.Req) {
		h.Status = 200
		h.Length = 0
		h.AddString("content-type", "application/grpc")
		h.AddString("grpc-status", strconv.Itoa(grpcCode(code)))
		h.AddString("grpc-message", percentEncode(reason))
		x.Status = code
		_ = down.WriteHead(h, true)
		return
	}
	body := append(x.scratch[:0], reason...)
	body = append(body, '\n')
	x.scratch = body
	x.send(down, code, "text/plain; charset=utf-8", body)
}

// send writes a whole response; x.Resp holds fields to send with it.
func (x *exchange) send(down http.Stream, code int, contentType string, body []byte) {
	h := &x.Resp
	h.Status = code
	h.Length = int64(len(body))
	x.Status = code
	if len(body) > 0 && contentType != "" {
		h.AddString("content-type", contentType)
	}
	if len(body) == 0 || string(x.Req.Method()) == "HEAD" {
		_ = down.WriteHead(h, true)
		return
	}
	if down.WriteHead(h, false) == nil {
		x.Out += int64(len(body))
		_ = down.WriteData(body, true)
	}
}

// percentEncode encodes a grpc-message (gRPC over HTTP/2, Responses).
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

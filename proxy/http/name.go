package http

import "unsafe"

// Name is a field name that Leno itself looks at, interned so that it is
// compared as an integer.
type Name uint8

// The known names. Other stands for every other one.
const (
	Other Name = iota
	Accept
	AcceptEncoding
	Age
	Authorization
	CacheControl
	Connection
	ContentEncoding
	ContentLength
	ContentType
	Cookie
	Date
	ETag
	Expect
	GRPCMessage
	GRPCStatus
	GRPCTimeout
	Host
	IfModifiedSince
	IfNoneMatch
	KeepAlive
	LastModified
	Location
	Origin
	ProxyAuthenticate
	ProxyAuthorization
	ProxyConnection
	Range
	Referer
	RetryAfter
	Server
	SetCookie
	TE
	TraceParent
	TraceState
	Trailer
	TransferEncoding
	Upgrade
	UserAgent
	Vary
	Via
	XForwardedClientCert
	XForwardedFor
	XForwardedHost
	XForwardedProto
	XRequestID
	nameCount
)

// Bytes returns the name in lower case; nil for Other.
func (n Name) Bytes() []byte { return names[n] }

// names is never written after it is made.
var names = [nameCount][]byte{
	Accept: []byte("accept"), AcceptEncoding: []byte("accept-encoding"), Age: []byte("age"),
	Authorization: []byte("authorization"), CacheControl: []byte("cache-control"), Connection: []byte("connection"),
	ContentEncoding: []byte("content-encoding"), ContentLength: []byte("content-length"), ContentType: []byte("content-type"),
	Cookie: []byte("cookie"), Date: []byte("date"), ETag: []byte("etag"), Expect: []byte("expect"),
	GRPCMessage: []byte("grpc-message"), GRPCStatus: []byte("grpc-status"), GRPCTimeout: []byte("grpc-timeout"),
	Host: []byte("host"), IfModifiedSince: []byte("if-modified-since"), IfNoneMatch: []byte("if-none-match"),
	KeepAlive: []byte("keep-alive"), LastModified: []byte("last-modified"), Location: []byte("location"), Origin: []byte("origin"),
	ProxyAuthenticate: []byte("proxy-authenticate"), ProxyAuthorization: []byte("proxy-authorization"),
	ProxyConnection: []byte("proxy-connection"), Range: []byte("range"), Referer: []byte("referer"),
	RetryAfter: []byte("retry-after"), Server: []byte("server"), SetCookie: []byte("set-cookie"), TE: []byte("te"),
	TraceParent: []byte("traceparent"), TraceState: []byte("tracestate"), Trailer: []byte("trailer"),
	TransferEncoding: []byte("transfer-encoding"), Upgrade: []byte("upgrade"), UserAgent: []byte("user-agent"),
	Vary: []byte("vary"), Via: []byte("via"), XForwardedClientCert: []byte("x-forwarded-client-cert"),
	XForwardedFor: []byte("x-forwarded-for"), XForwardedHost: []byte("x-forwarded-host"),
	XForwardedProto: []byte("x-forwarded-proto"), XRequestID: []byte("x-request-id"),
}

// lookupString is Lookup for strings, without a copy.
func lookupString(name string) Name {
	return Lookup(unsafe.Slice(unsafe.StringData(name), len(name)))
}

// Lookup interns a lower-case name. The switch compiles to a search by length
// and value, without hashing or allocation.
func Lookup(name []byte) Name {
	switch string(name) {
	case "accept":
		return Accept
	case "accept-encoding":
		return AcceptEncoding
	case "age":
		return Age
	case "authorization":
		return Authorization
	case "cache-control":
		return CacheControl
	case "connection":
		return Connection
	case "content-encoding":
		return ContentEncoding
	case "content-length":
		return ContentLength
	case "content-type":
		return ContentType
	case "cookie":
		return Cookie
	case "date":
		return Date
	case "etag":
		return ETag
	case "expect":
		return Expect
	case "grpc-message":
		return GRPCMessage
	case "grpc-status":
		return GRPCStatus
	case "grpc-timeout":
		return GRPCTimeout
	case "host":
		return Host
	case "if-modified-since":
		return IfModifiedSince
	case "if-none-match":
		return IfNoneMatch
	case "keep-alive":
		return KeepAlive
	case "last-modified":
		return LastModified
	case "location":
		return Location
	case "origin":
		return Origin
	case "proxy-authenticate":
		return ProxyAuthenticate
	case "proxy-authorization":
		return ProxyAuthorization
	case "proxy-connection":
		return ProxyConnection
	case "range":
		return Range
	case "referer":
		return Referer
	case "retry-after":
		return RetryAfter
	case "server":
		return Server
	case "set-cookie":
		return SetCookie
	case "te":
		return TE
	case "traceparent":
		return TraceParent
	case "tracestate":
		return TraceState
	case "trailer":
		return Trailer
	case "transfer-encoding":
		return TransferEncoding
	case "upgrade":
		return Upgrade
	case "user-agent":
		return UserAgent
	case "vary":
		return Vary
	case "via":
		return Via
	case "x-forwarded-client-cert":
		return XForwardedClientCert
	case "x-forwarded-for":
		return XForwardedFor
	case "x-forwarded-host":
		return XForwardedHost
	case "x-forwarded-proto":
		return XForwardedProto
	case "x-request-id":
		return XRequestID
	}
	return Other
}

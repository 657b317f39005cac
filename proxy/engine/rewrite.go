package engine

import (
	"strconv"

	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/proxy/plan"
)

// edit applies header edits in order.
func (x *exchange) edit(edits []plan.Edit, h *http.Head) {
	for i := range edits {
		d := &edits[i]
		switch d.Action {
		case plan.EditAppend:
			h.AddString(d.Name, d.Value)
		case plan.EditAddIfAbsent:
			if _, ok := h.Get(d.Name); !ok {
				h.AddString(d.Name, d.Value)
			}
		case plan.EditOverwrite:
			h.Set(d.Name, d.Value)
		case plan.EditOverwriteIfPresent:
			if _, ok := h.Get(d.Name); ok {
				h.Set(d.Name, d.Value)
			}
		case plan.EditRemove:
			h.Del(d.Name)
		}
	}
}

// rewrite changes path and host as the route says.
func (x *exchange) rewrite(r *plan.Route) *http.Error {
	switch {
	case r.PrefixRewrite != "":
		x.scratch = replacePrefix(x.scratch[:0], x.Req.Path(), r.MatchedPrefix(), r.PrefixRewrite)
		x.Req.SetPath(x.scratch)
	case r.PathRewrite != nil:
		x.scratch = substitute(x.scratch[:0], &x.Req, r.PathRewrite)
		if !http.ValidPath(x.scratch) {
			return &http.Error{Side: http.Local, Kind: http.KindConfiguration, Reason: "the route rewrites the path to what is none"}
		}
		x.Req.SetPath(x.scratch)
	}
	if r.HostRewrite != "" {
		x.Req.SetAuthorityString(r.HostRewrite)
	}
	return nil
}

// substitute appends the rewritten path and the query as it was.
func substitute(dst []byte, req *http.Head, s *plan.Substitution) []byte {
	path := req.PathOnly()
	return append(s.Append(dst, path), req.Path()[len(path):]...)
}

func replacePrefix(dst, path []byte, from, to string) []byte {
	dst = append(dst, to...)
	return append(dst, path[min(len(from), len(path)):]...)
}

// redirect answers with the route's redirect.
func (x *exchange) redirect(down http.Stream, r *plan.Route) {
	d := r.Redirect
	b := x.scratch[:0]
	scheme := string(x.Req.Scheme())
	if d.HTTPS {
		scheme = "https"
	}
	if d.Scheme != "" {
		scheme = d.Scheme
	}
	b = append(append(b, scheme...), "://"...)
	if d.Host != "" {
		b = append(b, d.Host...)
	} else if d.Port != 0 || scheme != string(x.Req.Scheme()) {
		b = append(b, x.Req.Host()...)
	} else {
		b = append(b, x.Req.Authority()...)
	}
	if d.Port != 0 {
		b = strconv.AppendInt(append(b, ':'), int64(d.Port), 10)
	}
	path := x.Req.Path()
	if d.DropQuery {
		path = x.Req.PathOnly()
	}
	switch {
	case d.Path != "":
		b = append(b, d.Path...)
		if !d.DropQuery {
			b = append(b, path[len(x.Req.PathOnly()):]...)
		}
	case d.Prefix != "":
		b = replacePrefix(b, path, r.MatchedPrefix(), d.Prefix)
	case d.Rewrite != nil:
		b = d.Rewrite.Append(b, x.Req.PathOnly())
		b = append(b, path[len(x.Req.PathOnly()):]...)
	default:
		b = append(b, path...)
	}
	x.scratch = b
	x.Resp.Reset()
	x.Resp.AddNamed(http.Location, b)
	x.edit(r.Edit.Response, &x.Resp)
	x.send(down, d.Status, "", nil)
}

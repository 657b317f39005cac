package plan

import (
	"fmt"
	"strings"

	"github.com/leno-mesh/leno/proxy/http"
	"github.com/leno-mesh/leno/xds/wire"
)

// edits compiles one level of header edits: removals after additions, as Envoy
// does them.
func edits(addRequest []*wire.HeaderValueOption, removeRequest []string, addResponse []*wire.HeaderValueOption, removeResponse []string) (e Edits, err error) {
	if e.Request, err = editList(addRequest, removeRequest); err != nil {
		return e, fmt.Errorf("request_headers_to_add: %w", err)
	}
	if e.Response, err = editList(addResponse, removeResponse); err != nil {
		return e, fmt.Errorf("response_headers_to_add: %w", err)
	}
	return e, nil
}

// then returns the edits of e and after them those of an outer level.
func (e Edits) then(outer Edits) Edits {
	return Edits{
		Request:  append(e.Request[:len(e.Request):len(e.Request)], outer.Request...),
		Response: append(e.Response[:len(e.Response):len(e.Response)], outer.Response...),
	}
}

// managed reports that the codecs write the field themselves: an edit could
// change where a message ends.
func managed(name string) bool {
	id := http.Lookup([]byte(strings.ToLower(name)))
	return http.HopByHop(id) || id == http.ContentLength || id == http.Trailer
}

func editList(add []*wire.HeaderValueOption, remove []string) ([]Edit, error) {
	var list []Edit
	for _, o := range add {
		if o.Header == nil || o.Header.Key == "" {
			return nil, fmt.Errorf("a header has no key")
		}
		if strings.HasPrefix(o.Header.Key, ":") || strings.EqualFold(o.Header.Key, "host") {
			return nil, fmt.Errorf("%s cannot be edited here; use a rewrite", o.Header.Key)
		}
		value := o.Header.Value
		if len(o.Header.RawValue) > 0 {
			value = string(o.Header.RawValue)
		}
		if strings.Contains(strings.ReplaceAll(value, "%%", ""), "%") {
			return nil, fmt.Errorf("the value of %s: Leno does not support format strings; write %%%% for a per cent sign", o.Header.Key)
		}
		value = strings.ReplaceAll(value, "%%", "%")
		if !http.ValidToken([]byte(o.Header.Key)) {
			return nil, fmt.Errorf("%q is no header name", o.Header.Key)
		}
		if !http.ValidValue([]byte(value)) {
			return nil, fmt.Errorf("the value of %s has control characters, or white space at its ends", o.Header.Key)
		}
		if managed(o.Header.Key) {
			return nil, fmt.Errorf("%s speaks of one connection and is the proxy's to write", o.Header.Key)
		}
		if value == "" && !o.KeepEmptyValue {
			continue
		}
		action := map[wire.HeaderValueOption_HeaderAppendAction]EditAction{
			wire.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD: EditAppend, wire.HeaderValueOption_ADD_IF_ABSENT: EditAddIfAbsent,
			wire.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD: EditOverwrite, wire.HeaderValueOption_OVERWRITE_IF_EXISTS: EditOverwriteIfPresent,
		}[o.AppendAction]
		if o.Append != nil && !*o.Append {
			action = EditOverwrite
		}
		list = append(list, Edit{Name: strings.ToLower(o.Header.Key), Value: value, Action: action})
	}
	for _, name := range remove {
		if strings.HasPrefix(name, ":") || strings.EqualFold(name, "host") {
			return nil, fmt.Errorf("%s cannot be removed", name)
		}
		if !http.ValidToken([]byte(name)) {
			return nil, fmt.Errorf("%q is no header name", name)
		}
		list = append(list, Edit{Name: strings.ToLower(name), Action: EditRemove})
	}
	return list, nil
}

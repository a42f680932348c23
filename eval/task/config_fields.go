package task

import (
	"fmt"

	"d2nwg/internal/jinja"
)

// fields reads the entries of a mapping; the first error is kept.
type fields struct {
	d     Doc
	where string // for errors
	err   error
}

func (f *fields) fail(key, want string, v Value) {
	if f.err == nil {
		text, err := jinja.Repr(v)
		if fn, ok := v.(Function); ok {
			text, err = functionTag+" "+fn.Name, nil
		}
		if err != nil {
			text = "something else"
		}
		f.err = fmt.Errorf("%s: %s has to be %s, not %.80s", f.where, key, want, text)
	}
}

// get returns an entry, nil where it is absent or null.
func (f *fields) get(key string) Value {
	v, _ := f.d.Get(key)
	return v
}

func (f *fields) text(key, otherwise string) string {
	switch v := f.get(key).(type) {
	case nil:
		return otherwise
	case string:
		return v
	default:
		f.fail(key, "a text", v)
	}
	return otherwise
}

// name is a text that YAML may have taken for a number, as a subset called 2021.
func (f *fields) name(key string) string {
	v := f.get(key)
	if _, ok := jinja.Int(v); ok {
		v, _ = jinja.Str(v) // numbers print
	}
	if s, ok := v.(string); ok {
		return s
	}
	return f.text(key, "")
}

func (f *fields) dict(key string) Doc {
	switch v := f.get(key).(type) {
	case nil:
	case Doc:
		return v
	default:
		f.fail(key, "a mapping", v)
	}
	return nil
}

func (f *fields) list(key string) []Value {
	switch v := f.get(key).(type) {
	case nil:
	case *jinja.List:
		return v.Items
	default:
		f.fail(key, "a list", v)
	}
	return nil
}

// names is a text or a list of them.
func (f *fields) names(key string) []string {
	v := f.get(key)
	items := []Value{v}
	if list, ok := v.(*jinja.List); ok {
		items = list.Items
	} else if v == nil {
		return nil
	}
	var names []string
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			f.fail(key, "a text or a list of them", v)
		}
		names = append(names, s)
	}
	return names
}

func (f *fields) function(key string) Function {
	switch v := f.get(key).(type) {
	case nil:
	case Function:
		return v
	default:
		f.fail(key, "a "+functionTag, v)
	}
	return Function{}
}

func (f *fields) field(key string) Field {
	switch v := f.get(key).(type) {
	case Function:
		return Field{Function: v}
	case bool:
		return Field{Value: f.number(key)}
	case nil, string, int, *jinja.List, Doc:
		return Field{Value: v}
	default:
		f.fail(key, "a template, a number, a list or a "+functionTag, v)
	}
	return Field{}
}

func (f *fields) number(key string) int {
	n, ok := jinja.Int(f.get(key))
	if !ok {
		f.fail(key, "a number", f.get(key))
	}
	return n
}

func (f *fields) flag(key string) *bool {
	switch v := f.get(key).(type) {
	case nil:
	case bool:
		return &v
	default:
		f.fail(key, "true or false", v)
	}
	return nil
}

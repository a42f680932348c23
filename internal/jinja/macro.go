package jinja

import (
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
)

// signature is what a macro or a call block takes.
type signature struct {
	params   []string
	defaults []expr // nil = none
	varargs  bool   // the body names varargs, kwargs, caller: Jinja2 collects them only then
	kwargs   bool
	caller   bool
}

// macro is a function written in the template.
type macro struct {
	signature
	name string
	body *nodes.Wrapper
	r    *exec.Renderer // where it was defined: what it doesn't define itself it finds there
}

type macroTag struct {
	tag
	signature
	name string
	body *nodes.Wrapper
}

func (t *macroTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	scopeOf(r).set(t.name, &macro{t.signature, t.name, t.body, r})
	return nil
}

// callTag is {% call macro() %}…{% endcall %}; with no expression it is {% generation %}, which runs its own body.
type callTag struct {
	tag
	signature
	call *callExpr
	body *nodes.Wrapper
}

func (t *callTag) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	s := scopeOf(r)
	caller := &macro{t.signature, "caller", t.body, r}
	if t.call == nil {
		v, err := s.rt.call(caller, arguments{})
		if err != nil {
			return at(t.line, err)
		}
		return at(t.line, show(r, v.(string)))
	}
	fn, err := t.call.fn.eval(s)
	if err != nil {
		return at(t.line, err)
	}
	args, err := t.call.args.eval(s)
	if err != nil {
		return at(t.line, err)
	}
	m, ok := fn.(*macro)
	if !ok {
		args.named = append(args.named, namedArg{"caller", caller})
		v, err := s.rt.call(fn, args)
		if err != nil {
			return at(t.line, err)
		}
		out, err := s.rt.str(v)
		if err != nil {
			return at(t.line, err)
		}
		return at(t.line, show(r, out))
	}
	if s.rt.calls++; s.rt.calls > maxCalls {
		return at(t.line, limitError("its macros call each other too deeply"))
	}
	defer func() { s.rt.calls-- }()
	v, err := m.call(s.rt, args, caller)
	if err != nil {
		return at(t.line, err)
	}
	return at(t.line, show(r, v.(string)))
}

// call runs the macro; caller is the body of a call block around it, or nil.
func (m *macro) call(rt *run, args arguments, caller *macro) (Value, error) {
	vals := make([]Value, len(m.params))
	given := make([]bool, len(m.params))
	n := copy(vals, args.pos)
	for i := range n {
		given[i] = true
	}
	extra := append(Tuple{}, args.pos[n:]...)
	named := NewDict()
	for _, arg := range args.named {
		at := -1
		for i, param := range m.params {
			if param == arg.name {
				at = i
			}
		}
		if at >= 0 && given[at] {
			return nil, typeError("macro %s got multiple values for argument %s", quote(m.name), quote(arg.name))
		}
		if at >= 0 {
			vals[at], given[at] = arg.v, true
			continue
		}
		if c, ok := arg.v.(*macro); ok && arg.name == "caller" {
			caller = c
			continue
		}
		named.Put(arg.name, arg.v)
	}
	switch {
	case len(named.keys) > 0 && !m.kwargs:
		return nil, typeError("macro %s takes no keyword argument '%v'", quote(m.name), named.keys[0])
	case len(extra) > 0 && !m.varargs:
		return nil, typeError("macro %s takes not more than %d argument(s)", quote(m.name), len(m.params))
	case caller != nil && !m.caller:
		return nil, typeError("macro %s takes no keyword argument 'caller'", quote(m.name))
	}
	var failed error
	out, err := capture(m.r, m.body, func(s scope) {
		failed = m.define(s, vals, given)
		if m.varargs {
			s.set("varargs", extra)
		}
		if m.kwargs {
			s.set("kwargs", named)
		}
		if m.caller {
			var v Value = missing("No caller defined")
			if caller != nil {
				v = caller
			}
			s.set("caller", v)
		}
	})
	if failed != nil {
		return nil, failed
	}
	return out, err
}

// define sets the parameters; a default may refer to those before it.
func (m *macro) define(s scope, vals []Value, given []bool) error {
	for i, param := range m.params {
		v := vals[i]
		if !given[i] {
			v = missing("parameter %s was not provided", quote(param))
			if e := m.defaults[i]; e != nil {
				var err error
				if v, err = e.eval(s); err != nil {
					return err
				}
			}
		}
		s.set(param, v)
	}
	return nil
}

package jinja

import (
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// scope is where an expression is evaluated.
type scope struct {
	rt  *run
	ctx *exec.Context
}

// selfName stands for the variable self, whose name the template engine takes for its own.
const selfName = "\x00self"

func variable(name string) string {
	if name == "self" {
		return selfName
	}
	return name
}

func (s scope) set(name string, v Value) { s.ctx.Set(variable(name), v) }

func (e *constExpr) eval(scope) (Value, error) { return e.v, nil }

func (e *nameExpr) eval(s scope) (Value, error) {
	if err := s.rt.step(); err != nil {
		return nil, err
	}
	if v, ok := s.ctx.Get(variable(e.name)); ok {
		return v, nil
	}
	if f, ok := globals[e.name]; ok {
		return f, nil
	}
	return missing("'%s' is undefined", e.name), nil
}

func (s scope) evalAll(exprs []expr) ([]Value, error) {
	if err := s.rt.items(len(exprs)); err != nil {
		return nil, err
	}
	vals := make([]Value, len(exprs))
	for i, e := range exprs {
		v, err := e.eval(s)
		if err != nil {
			return nil, err
		}
		vals[i] = v
	}
	return vals, nil
}

func (e *listExpr) eval(s scope) (Value, error) {
	items, err := s.evalAll(e.items)
	return &List{items}, err
}

func (e *tupleExpr) eval(s scope) (Value, error) {
	items, err := s.evalAll(e.items)
	return Tuple(items), err
}

func (e *dictExpr) eval(s scope) (Value, error) {
	keys, err := s.evalAll(e.keys)
	if err != nil {
		return nil, err
	}
	vals, err := s.evalAll(e.vals)
	if err != nil {
		return nil, err
	}
	d := NewDict()
	for i, key := range keys {
		h, err := s.rt.hash(key)
		if err != nil {
			return nil, err
		}
		d.set(h, key, vals[i])
	}
	return d, nil
}

func (e *notExpr) eval(s scope) (Value, error) {
	v, err := e.x.eval(s)
	if err != nil {
		return nil, err
	}
	ok, err := s.rt.truth(v)
	return !ok, err
}

func (e *signExpr) eval(s scope) (Value, error) {
	v, err := e.x.eval(s)
	if err != nil {
		return nil, err
	}
	if e.op == '-' {
		return s.rt.negate(v)
	}
	if _, ok := number(v); !ok {
		return nil, badOperand("+", v)
	}
	if b, ok := v.(bool); ok {
		return boolInt(b), nil
	}
	return v, nil
}

func (e *logicExpr) eval(s scope) (Value, error) {
	v, err := e.left.eval(s)
	if err != nil {
		return v, err
	}
	if ok, err := s.rt.truth(v); err != nil || ok == e.or {
		return v, err
	}
	return e.right.eval(s)
}

func (e *binaryExpr) eval(s scope) (Value, error) {
	if err := s.rt.step(); err != nil {
		return nil, err
	}
	left, err := e.left.eval(s)
	if err != nil {
		return nil, err
	}
	right, err := e.right.eval(s)
	if err != nil {
		return nil, err
	}
	return s.rt.binary(e.op, left, right)
}

func (e *concatExpr) eval(s scope) (Value, error) {
	vals, err := s.evalAll(e.parts)
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	for _, v := range vals {
		t, err := s.rt.str(v)
		if err != nil {
			return nil, err
		}
		if err := s.rt.charge(len(t)); err != nil {
			return nil, err
		}
		out.WriteString(t)
	}
	return out.String(), nil
}

func (e *compareExpr) eval(s scope) (Value, error) {
	left, err := e.first.eval(s)
	if err != nil {
		return nil, err
	}
	for i, op := range e.ops {
		if err := s.rt.step(); err != nil {
			return nil, err
		}
		right, err := e.rest[i].eval(s)
		if err != nil {
			return nil, err
		}
		ok, err := s.rt.compare(op, left, right)
		if err != nil || !ok {
			return false, err
		}
		left = right
	}
	return true, nil
}

func (e *condExpr) eval(s scope) (Value, error) {
	test, err := e.test.eval(s)
	if err != nil {
		return nil, err
	}
	ok, err := s.rt.truth(test)
	if err != nil {
		return nil, err
	}
	if ok {
		return e.then.eval(s)
	}
	if e.other == nil {
		return missing("the inline if-expression evaluated to false and no else section was defined."), nil
	}
	return e.other.eval(s)
}

func (e *attrExpr) eval(s scope) (Value, error) {
	if err := s.rt.step(); err != nil {
		return nil, err
	}
	x, err := e.x.eval(s)
	if err != nil {
		return nil, err
	}
	return s.rt.attribute(x, e.name)
}

func (e *itemExpr) eval(s scope) (Value, error) {
	if err := s.rt.step(); err != nil {
		return nil, err
	}
	x, err := e.x.eval(s)
	if err != nil {
		return nil, err
	}
	if slice, ok := e.key.(*sliceExpr); ok {
		bounds, err := slice.bounds(s)
		if err != nil {
			return nil, err
		}
		return s.rt.slice(x, bounds)
	}
	key, err := e.key.eval(s)
	if err != nil {
		return nil, err
	}
	return s.rt.item(x, key)
}

func (e *sliceExpr) eval(scope) (Value, error) {
	return nil, typeError("a slice stands among several subscripts")
}

func (e *sliceExpr) bounds(s scope) ([3]Value, error) {
	var bounds [3]Value
	for i, part := range []expr{e.start, e.stop, e.step} {
		if part == nil {
			continue
		}
		v, err := part.eval(s)
		if err != nil {
			return bounds, err
		}
		bounds[i] = v
	}
	return bounds, nil
}

func (a *callArgs) eval(s scope) (arguments, error) {
	var args arguments
	var err error
	if args.pos, err = s.evalAll(a.pos); err != nil {
		return args, err
	}
	for i, name := range a.names {
		v, err := a.named[i].eval(s)
		if err != nil {
			return args, err
		}
		args.named = append(args.named, namedArg{name, v})
	}
	if a.star != nil {
		v, err := a.star.eval(s)
		if err != nil {
			return args, err
		}
		items, err := s.rt.iterate(v)
		if err != nil {
			return args, err
		}
		args.pos = append(args.pos, items...)
	}
	if a.starStar != nil {
		v, err := a.starStar.eval(s)
		if err != nil {
			return args, err
		}
		d, ok := v.(*Dict)
		if !ok {
			return args, typeError("argument after ** must be a mapping, not %s", typeName(v))
		}
		for i, key := range d.keys {
			name, ok := key.(string)
			if !ok {
				return args, typeError("keywords must be strings")
			}
			args.named = append(args.named, namedArg{name, d.vals[i]})
		}
	}
	return args, nil
}

func (e *callExpr) eval(s scope) (Value, error) {
	if err := s.rt.step(); err != nil {
		return nil, err
	}
	fn, err := e.fn.eval(s)
	if err != nil {
		return nil, err
	}
	args, err := e.args.eval(s)
	if err != nil {
		return nil, err
	}
	return s.rt.call(fn, args)
}

func (e *filterExpr) eval(s scope) (Value, error) {
	x, err := e.x.eval(s)
	if err != nil {
		return nil, err
	}
	return e.apply(s, x)
}

// apply runs the filter on a value, for a block too.
func (e *filterExpr) apply(s scope, x Value) (Value, error) {
	args, err := e.args.eval(s)
	if err != nil {
		return nil, err
	}
	return s.rt.filter(e.name, x, args)
}

func (e *testExpr) eval(s scope) (Value, error) {
	x, err := e.x.eval(s)
	if err != nil {
		return nil, err
	}
	args, err := e.args.eval(s)
	if err != nil {
		return nil, err
	}
	return s.rt.test(e.name, x, args)
}

package jinja

import "strings"

// arguments are those of a call, evaluated.
type arguments struct {
	pos   []Value
	named []namedArg
}

type namedArg struct {
	name string
	v    Value
}

// bound are arguments by the place of their parameter.
type bound struct {
	vals  []Value
	given []bool
}

func (b bound) has(i int) bool { return b.given[i] }

// or returns an argument, or what stands for one that isn't given.
func (b bound) or(i int, v Value) Value {
	if b.given[i] {
		return b.vals[i]
	}
	return v
}

// text returns a string argument.
func (b bound) text(i int, fn string) (string, error) {
	s, ok := text(b.vals[i])
	if !ok {
		if u, ok := b.vals[i].(*undefined); ok {
			return "", u.err()
		}
		return "", typeError("%s: argument %d must be str, not %s", fn, i+1, typeName(b.vals[i]))
	}
	return s, nil
}

// int returns an integer argument, n where none is given.
func (b bound) int(i, n int, fn string) (int, error) {
	if !b.given[i] {
		return n, nil
	}
	n, ok := index(b.vals[i])
	if !ok {
		if u, ok := b.vals[i].(*undefined); ok {
			return 0, u.err()
		}
		return 0, typeError("%s: '%s' object cannot be interpreted as an integer", fn, typeName(b.vals[i]))
	}
	return n, nil
}

// bind places the arguments of a call to fn; the first of the parameters are required.
func (a arguments) bind(fn string, required int, params ...string) (bound, error) {
	b := bound{make([]Value, len(params)), make([]bool, len(params))}
	if len(a.pos) > len(params) {
		return b, typeError("%s() takes at most %d arguments (%d given)", fn, len(params), len(a.pos))
	}
	for i, v := range a.pos {
		b.vals[i], b.given[i] = v, true
	}
	for _, n := range a.named {
		place := -1
		for i, name := range params {
			if name == n.name {
				place = i
			}
		}
		if place < 0 {
			return b, typeError("%s() got an unexpected keyword argument '%s'", fn, n.name)
		}
		if b.given[place] {
			return b, typeError("%s() got multiple values for argument '%s'", fn, n.name)
		}
		b.vals[place], b.given[place] = n.v, true
	}
	for i := range required {
		if !b.given[i] {
			return b, typeError("%s() missing required argument '%s'", fn, params[i])
		}
	}
	return b, nil
}

// builtin is a function or a bound method.
type builtin struct {
	name string
	call func(rt *run, args arguments) (Value, error)
}

func (rt *run) call(fn Value, args arguments) (Value, error) {
	if rt.calls++; rt.calls > maxCalls {
		return nil, limitError("its macros call each other too deeply")
	}
	defer func() { rt.calls-- }()
	switch fn := fn.(type) {
	case *builtin:
		return fn.call(rt, args)
	case *macro:
		return fn.call(rt, args, nil)
	case *loop:
		return fn.call(rt, args)
	case *undefined:
		return nil, fn.err()
	}
	return nil, typeError("'%s' object is not callable", typeName(fn))
}

// attribute is x.name: an attribute first, then an item.
func (rt *run) attribute(x Value, name string) (Value, error) {
	if u, ok := x.(*undefined); ok {
		return nil, u.err()
	}
	if v, ok := rt.member(x, name); ok {
		return v, nil
	}
	if d, ok := x.(*Dict); ok {
		if v, ok := d.get(name); ok {
			return v, nil
		}
	}
	return missing("'%s' has no attribute %s", objectName(x), quote(name)), nil
}

// item is x[key]: an item first, then an attribute.
func (rt *run) item(x, key Value) (Value, error) {
	if u, ok := x.(*undefined); ok {
		return nil, u.err()
	}
	if d, ok := x.(*Dict); ok {
		h, err := rt.hash(key)
		if v, ok := d.get(h); err == nil && ok {
			return v, nil
		}
	} else if i, ok := index(key); ok {
		v, ok, err := rt.at(x, i)
		if err != nil || ok {
			return v, err
		}
	}
	name, ok := text(key)
	if !ok {
		shown, err := rt.repr(key)
		return missing("%s has no element %s", objectName(x), shown), err
	}
	if v, ok := rt.member(x, name); ok {
		return v, nil
	}
	return missing("'%s' has no attribute %s", objectName(x), quote(name)), nil
}

// at is x[i] of what has an order; false where it has no such item.
func (rt *run) at(x Value, i int) (Value, bool, error) {
	if s, ok := text(x); ok {
		if err := rt.charge(len(s)); err != nil {
			return nil, false, err
		}
		if isASCII(s) {
			if i = fromEnd(i, len(s)); i < 0 || i >= len(s) {
				return nil, false, nil
			}
			return s[i : i+1], true, nil
		}
		runes := []rune(s)
		if i = fromEnd(i, len(runes)); i < 0 || i >= len(runes) {
			return nil, false, nil
		}
		return string(runes[i]), true, nil
	}
	items, ok := ordered(x)
	if i = fromEnd(i, len(items)); !ok || i < 0 || i >= len(items) {
		return nil, false, nil
	}
	return items[i], true, nil
}

func fromEnd(i, n int) int {
	if i < 0 {
		return i + n
	}
	return i
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// ordered returns the items of what can be indexed.
func ordered(x Value) ([]Value, bool) {
	switch x := x.(type) {
	case *List:
		return x.Items, true
	case Tuple:
		return x, true
	case *sequence:
		return x.items, x.typ == "range"
	}
	return nil, false
}

func objectName(x Value) string {
	if x == nil {
		return "None"
	}
	return typeName(x) + " object"
}

// slice is x[start:stop:step].
func (rt *run) slice(x Value, bounds [3]Value) (Value, error) {
	if u, ok := x.(*undefined); ok {
		return nil, u.err()
	}
	s, isText := text(x)
	var runes []rune
	items, ok := ordered(x)
	n := len(items)
	if isText {
		if err := rt.charge(5 * len(s)); err != nil {
			return nil, err
		}
		runes = []rune(s)
		n = len(runes)
	} else if !ok {
		return nil, typeError("'%s' object is not subscriptable by a slice", typeName(x))
	}
	start, step, count, err := sliceBounds(bounds, n)
	if err != nil {
		return nil, err
	}
	if err := rt.items(count); err != nil {
		return nil, err
	}
	if isText {
		var out strings.Builder
		for i := range count {
			out.WriteRune(runes[start+i*step])
		}
		return out.String(), nil
	}
	part := make([]Value, count)
	for i := range part {
		part[i] = items[start+i*step]
	}
	switch x := x.(type) {
	case Tuple:
		return Tuple(part), nil
	case *sequence:
		return &sequence{typ: x.typ, items: part}, nil
	}
	return &List{part}, nil
}

// sliceBounds returns the first index, the step and the number of items of a slice of n items.
func sliceBounds(bounds [3]Value, n int) (start, step, count int, err error) {
	at := func(i, standard int) int {
		v, ok := index(bounds[i])
		if bounds[i] == nil {
			return standard
		}
		if !ok {
			err = typeError("slice indices must be integers or None, not %s", typeName(bounds[i]))
		}
		return v
	}
	step = at(2, 1)
	if err == nil && step == 0 {
		err = valueError("slice step cannot be zero")
	}
	low, high := 0, n
	if step < 0 {
		low, high = -1, n-1
	}
	clamp := func(i, standard int) int {
		v := at(i, standard)
		if bounds[i] == nil {
			return standard
		}
		return min(max(fromEnd(v, n), low), high)
	}
	stop := 0
	if step > 0 {
		start, stop = clamp(0, 0), clamp(1, n)
		if err == nil && stop > start {
			count = (stop - start + step - 1) / step
		}
	} else {
		start, stop = clamp(0, n-1), clamp(1, -1)
		if err == nil && stop < start {
			count = (start - stop - step - 1) / -step
		}
	}
	return start, step, count, err
}

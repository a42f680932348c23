package jinja

import (
	"strings"
)

// compare is a comparison operator of Python.
func (rt *run) compare(op string, left, right Value) (bool, error) {
	switch op {
	case "==":
		return rt.equal(left, right, 0)
	case "!=":
		eq, err := rt.equal(left, right, 0)
		return !eq, err
	case "in":
		return rt.contains(right, left)
	case "not in":
		found, err := rt.contains(right, left)
		return !found, err
	}
	c, ordered, err := rt.order(op, left, right, 0)
	if err != nil || !ordered {
		return false, err
	}
	switch op {
	case "<":
		return c < 0, nil
	case "<=":
		return c <= 0, nil
	case ">":
		return c > 0, nil
	}
	return c >= 0, nil
}

func errDeep() error { return limitError("it builds lists that nest too deeply") }

// equal is Python's ==, for values at a depth of nesting.
func (rt *run) equal(a, b Value, depth int) (bool, error) {
	if err := rt.step(); err != nil {
		return false, err
	}
	if depth > maxDepth {
		return false, errDeep()
	}
	for _, v := range [...]Value{a, b} {
		if u, ok := v.(*undefined); ok && rt.strict {
			return false, u.err()
		}
	}
	if s, ok := text(a); ok {
		t, ok := text(b)
		return ok && s == t, rt.charge(min(len(s), len(t)))
	}
	if _, ok := number(a); ok {
		return numbersEqual(a, b), nil
	}
	switch a := a.(type) {
	case nil:
		return b == nil, nil
	case *undefined:
		_, ok := b.(*undefined)
		return ok, nil
	case *List:
		if b, ok := b.(*List); ok {
			return rt.equalItems(a.Items, b.Items, depth+1)
		}
		return false, nil
	case Tuple:
		if b, ok := b.(Tuple); ok {
			return rt.equalItems(a, b, depth+1)
		}
		return false, nil
	case *Dict:
		if b, ok := b.(*Dict); ok {
			return rt.equalDicts(a, b, depth+1)
		}
		return false, nil
	case *sequence:
		if b, ok := b.(*sequence); ok && a.typ == b.typ && a.typ != "dict_values" {
			return rt.equalItems(a.items, b.items, depth+1)
		}
		return false, nil
	}
	if _, ok := b.(Tuple); ok { // not comparable in Go
		return false, nil
	}
	return a == b, nil
}

func numbersEqual(a, b Value) bool {
	x, ok := integer(a)
	if ok {
		if y, ok := integer(b); ok {
			return x.Cmp(y) == 0
		}
	}
	f, _ := number(a)
	g, ok := number(b)
	return ok && f == g
}

func (rt *run) equalItems(a, b []Value, depth int) (bool, error) {
	if len(a) != len(b) {
		return false, nil
	}
	for i := range a {
		eq, err := rt.equal(a[i], b[i], depth)
		if err != nil || !eq {
			return false, err
		}
	}
	return true, nil
}

func (rt *run) equalDicts(a, b *Dict, depth int) (bool, error) {
	if len(a.keys) != len(b.keys) {
		return false, nil
	}
	for hash, i := range a.index {
		v, ok := b.get(hash)
		if !ok {
			return false, nil
		}
		eq, err := rt.equal(a.vals[i], v, depth)
		if err != nil || !eq {
			return false, err
		}
	}
	return true, nil
}

// order compares two values; ordered is false where one is NaN.
func (rt *run) order(op string, a, b Value, depth int) (c int, ordered bool, err error) {
	if err := rt.step(); err != nil {
		return 0, false, err
	}
	if depth > maxDepth {
		return 0, false, errDeep()
	}
	if s, ok := text(a); ok {
		if t, ok := text(b); ok {
			return strings.Compare(s, t), true, rt.charge(min(len(s), len(t)))
		}
	}
	if x, ok := integer(a); ok {
		if y, ok := integer(b); ok {
			return x.Cmp(y), true, nil
		}
	}
	if x, ok := number(a); ok {
		if y, ok := number(b); ok {
			return floatOrder(x, y), x == x && y == y, nil
		}
	}
	if x, ok := a.(*List); ok {
		if y, ok := b.(*List); ok {
			return rt.orderItems(op, x.Items, y.Items, depth+1)
		}
	}
	if x, ok := a.(Tuple); ok {
		if y, ok := b.(Tuple); ok {
			return rt.orderItems(op, x, y, depth+1)
		}
	}
	for _, v := range []Value{a, b} {
		if u, ok := v.(*undefined); ok {
			return 0, false, u.err()
		}
	}
	return 0, false, typeError("'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
}

func floatOrder(x, y float64) int {
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func (rt *run) orderItems(op string, a, b []Value, depth int) (int, bool, error) {
	for i := range min(len(a), len(b)) {
		eq, err := rt.equal(a[i], b[i], depth)
		if err != nil {
			return 0, false, err
		}
		if !eq {
			return rt.order(op, a[i], b[i], depth)
		}
	}
	return len(a) - len(b), true, nil
}

// contains is "needle in v".
func (rt *run) contains(v, needle Value) (bool, error) {
	if s, ok := text(v); ok {
		t, ok := text(needle)
		if !ok {
			return false, typeError("'in <string>' requires string as left operand, not %s", typeName(needle))
		}
		return strings.Contains(s, t), rt.charge(len(s))
	}
	if d, ok := v.(*Dict); ok {
		h, err := rt.hash(needle)
		if err != nil {
			return false, err
		}
		_, found := d.get(h)
		return found, nil
	}
	items, err := rt.iterate(v)
	if err != nil {
		return false, typeError("argument of type '%s' is not iterable", typeName(v))
	}
	for _, item := range items {
		eq, err := rt.equal(item, needle, 0)
		if err != nil || eq {
			return eq, err
		}
	}
	return false, nil
}

package jinja

import "strings"

// mutating are the methods that Jinja2's immutable sandbox forbids.
var mutating = map[string][]string{
	"list": {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"},
	"dict": {"clear", "pop", "popitem", "setdefault", "update"},
}

// member returns a method or attribute of x, false where it has none of this name.
func (rt *run) member(x Value, name string) (Value, bool) {
	if strings.HasPrefix(name, "__") {
		return unsafe(x, name), true
	}
	for _, forbidden := range mutating[typeName(x)] {
		if name == forbidden {
			return unsafe(x, name), true
		}
	}
	switch x := x.(type) {
	case string:
		return stringMethod(x, name)
	case Markup:
		return stringMethod(string(x), name)
	case *Dict:
		return dictMethod(x, name)
	case *List:
		return itemsMethod(x.Items, x, name)
	case Tuple:
		return itemsMethod(x, nil, name)
	case *sequence:
		if x.typ == "range" {
			return itemsMethod(x.items, nil, name)
		}
	case *namespace:
		return x.attrs.get(name)
	case *loop:
		return x.member(name)
	case *macro:
		if name == "name" {
			return x.name, true
		}
	case *cycler:
		return x.member(name)
	case float64:
		if name == "is_integer" {
			return method(name, 0, nil, func(*run, bound) (Value, error) { return x == float64(int(x)), nil }), true
		}
	}
	return nil, false
}

func unsafe(x Value, name string) *undefined {
	u := missing("access to attribute '%s' of '%s' object is unsafe.", name, typeName(x))
	u.kind = "SecurityError"
	return u
}

// method makes a bound method of a function over bound arguments.
func method(name string, required int, params []string, fn func(*run, bound) (Value, error)) *builtin {
	return &builtin{name, func(rt *run, args arguments) (Value, error) {
		b, err := args.bind(name, required, params...)
		if err != nil {
			return nil, err
		}
		return fn(rt, b)
	}}
}

func dictMethod(d *Dict, name string) (Value, bool) {
	view := func(items func() []Value) (Value, bool) {
		return method(name, 0, nil, func(rt *run, _ bound) (Value, error) {
			if err := rt.items(len(d.keys)); err != nil {
				return nil, err
			}
			return &sequence{typ: "dict_" + name, items: items()}, nil
		}), true
	}
	switch name {
	case "items":
		return view(d.items)
	case "keys":
		return view(func() []Value { return d.keys })
	case "values":
		return view(func() []Value { return d.vals })
	case "get":
		return method(name, 1, []string{"key", "default"}, func(rt *run, b bound) (Value, error) {
			h, err := rt.hash(b.vals[0])
			if err != nil {
				return nil, err
			}
			if v, ok := d.get(h); ok {
				return v, nil
			}
			return b.vals[1], nil
		}), true
	case "copy":
		return method(name, 0, nil, func(rt *run, _ bound) (Value, error) {
			return d.Copy(), rt.items(4 * len(d.keys))
		}), true
	}
	return nil, false
}

func itemsMethod(items []Value, l *List, name string) (Value, bool) {
	switch name {
	case "index":
		return method(name, 1, []string{"value", "start", "stop"}, func(rt *run, b bound) (Value, error) {
			from, err := b.int(1, 0, name)
			if err != nil {
				return nil, err
			}
			to, err := b.int(2, len(items), name)
			if err != nil {
				return nil, err
			}
			from, to = max(fromEnd(from, len(items)), 0), min(fromEnd(to, len(items)), len(items))
			for i := from; i < to; i++ {
				if eq, err := rt.equal(items[i], b.vals[0], 0); err != nil || eq {
					return i, err
				}
			}
			return nil, valueError("the value is not in list")
		}), true
	case "count":
		return method(name, 1, []string{"value"}, func(rt *run, b bound) (Value, error) {
			n := 0
			for _, item := range items {
				eq, err := rt.equal(item, b.vals[0], 0)
				if err != nil {
					return nil, err
				}
				n += boolInt(eq)
			}
			return n, nil
		}), true
	case "copy":
		if l != nil {
			return method(name, 0, nil, func(rt *run, _ bound) (Value, error) {
				return &List{append([]Value(nil), items...)}, rt.items(len(items))
			}), true
		}
	}
	return nil, false
}

// cycler is what the global cycler() returns.
type cycler struct {
	items []Value
	pos   int
}

func (c *cycler) member(name string) (Value, bool) {
	switch name {
	case "current":
		return c.items[c.pos], true
	case "next":
		return method(name, 0, nil, func(*run, bound) (Value, error) {
			v := c.items[c.pos]
			c.pos = (c.pos + 1) % len(c.items)
			return v, nil
		}), true
	case "reset":
		return method(name, 0, nil, func(*run, bound) (Value, error) { c.pos = 0; return nil, nil }), true
	}
	return nil, false
}

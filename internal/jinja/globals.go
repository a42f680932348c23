package jinja

import "fmt"

// globals are the functions every template has.
var globals map[string]Value

func init() { // so that functions may refer to it
	globals = map[string]Value{
		"range":           &builtin{"range", rangeFunc},
		"dict":            &builtin{"dict", func(rt *run, args arguments) (Value, error) { return rt.newDict(args) }},
		"namespace":       &builtin{"namespace", namespaceFunc},
		"cycler":          &builtin{"cycler", cyclerFunc},
		"joiner":          method("joiner", 0, []string{"sep"}, joinerFunc),
		"raise_exception": method("raise_exception", 1, []string{"message"}, raise),
		"strftime_now":    method("strftime_now", 1, []string{"format"}, strftimeNow),
	}
}

func raise(rt *run, b bound) (Value, error) {
	message, err := rt.str(b.vals[0])
	if err != nil {
		return nil, err
	}
	return nil, &RaisedError{Message: message}
}

func strftimeNow(rt *run, b bound) (Value, error) {
	format, err := b.text(0, "strftime_now")
	if err != nil {
		return nil, err
	}
	return rt.strftime(format)
}

func rangeFunc(rt *run, args arguments) (Value, error) {
	bounds := [3]int{0, 0, 1}
	if len(args.named) > 0 || len(args.pos) < 1 || len(args.pos) > 3 {
		return nil, typeError("range expected 1 to 3 arguments, got %d", len(args.pos)+len(args.named))
	}
	for i, v := range args.pos {
		n, ok := index(v)
		if !ok {
			if u, ok := v.(*undefined); ok {
				return nil, u.err()
			}
			return nil, typeError("'%s' object cannot be interpreted as an integer", typeName(v))
		}
		bounds[i] = n
	}
	if len(args.pos) == 1 {
		bounds[0], bounds[1] = 0, bounds[0]
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	if step == 0 {
		return nil, valueError("range() arg 3 must not be zero")
	}
	count := 0
	if step > 0 && stop > start {
		count = (stop - start + step - 1) / step
	} else if step < 0 && stop < start {
		count = (start - stop - step - 1) / -step
	}
	if count > maxRange {
		return nil, limitError(fmt.Sprintf("Range too big. The sandbox blocks ranges larger than %d", maxRange))
	}
	if err := rt.items(count); err != nil {
		return nil, err
	}
	items := make([]Value, count)
	for i := range items {
		items[i] = start + i*step
	}
	repr := fmt.Sprintf("range(%d, %d)", start, stop)
	if step != 1 {
		repr = fmt.Sprintf("range(%d, %d, %d)", start, stop, step)
	}
	return &sequence{"range", items, repr}, nil
}

// newDict is dict(mapping or pairs, name=value, …).
func (rt *run) newDict(args arguments) (*Dict, error) {
	d := NewDict()
	if len(args.pos) > 1 {
		return nil, typeError("dict expected at most 1 argument, got %d", len(args.pos))
	}
	if len(args.pos) == 1 {
		if from, ok := args.pos[0].(*Dict); ok {
			d.Merge(from)
		} else if err := rt.fill(d, args.pos[0]); err != nil {
			return nil, err
		}
	}
	for _, n := range args.named {
		d.Put(n.name, n.v)
	}
	return d, rt.items(4 * len(d.keys))
}

// fill sets the pairs of v.
func (rt *run) fill(d *Dict, v Value) error {
	pairs, err := rt.iterate(v)
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		kv, err := rt.iterate(pair)
		if err != nil {
			return err
		}
		if len(kv) != 2 {
			return valueError("dictionary update sequence element has length %d; 2 is required", len(kv))
		}
		h, err := rt.hash(kv[0])
		if err != nil {
			return err
		}
		d.set(h, kv[0], kv[1])
	}
	return nil
}

func namespaceFunc(rt *run, args arguments) (Value, error) {
	d, err := rt.newDict(args)
	return &namespace{d}, err
}

func cyclerFunc(_ *run, args arguments) (Value, error) {
	if len(args.pos) == 0 || len(args.named) > 0 {
		return nil, runtimeError("at least one item has to be provided")
	}
	return &cycler{items: args.pos}, nil
}

func joinerFunc(_ *run, b bound) (Value, error) {
	used := false
	return method("joiner", 0, nil, func(*run, bound) (Value, error) {
		if !used {
			used = true
			return "", nil
		}
		return b.or(0, ", "), nil
	}), nil
}

package jinja

// mapFilter is map(filter, …) or map(attribute=…).
func (rt *run) mapFilter(v Value, args arguments) (Value, error) {
	if !truth(v) {
		return &iterator{typ: "generator"}, nil // whatever it is, Jinja2 doesn't look further
	}
	items, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	apply, err := rt.mapper(args)
	if err != nil {
		return nil, err
	}
	if err := rt.items(len(items)); err != nil {
		return nil, err
	}
	out := make([]Value, len(items))
	for i, item := range items {
		if out[i], err = apply(item); err != nil {
			return nil, err
		}
	}
	return &iterator{"generator", out}, nil
}

func (rt *run) mapper(args arguments) (func(Value) (Value, error), error) {
	if len(args.pos) > 0 {
		name, ok := text(args.pos[0])
		if !ok {
			return nil, typeError("the name of a filter is no str but %s", typeName(args.pos[0]))
		}
		rest := arguments{args.pos[1:], args.named}
		return func(v Value) (Value, error) { return rt.filter(name, v, rest) }, nil
	}
	b, err := args.bind("map", 0, "attribute", "default")
	if err != nil {
		return nil, err
	}
	if !b.has(0) {
		return nil, typeError("map requires a filter argument")
	}
	return rt.getter(b.vals[0], b.vals[1], false), nil
}

// selectFilter keeps what a test holds for (or doesn't), of the items or of one of their attributes.
func selectFilter(name string, attribute, want bool) func(*run, Value, arguments) (Value, error) {
	return func(rt *run, v Value, args arguments) (Value, error) {
		out := &iterator{typ: "generator"}
		if !truth(v) {
			return out, nil
		}
		items, err := rt.iterate(v)
		if err != nil {
			return nil, err
		}
		get := rt.getter(nil, nil, false)
		if attribute {
			if len(args.pos) == 0 {
				return nil, typeError("%s: Missing parameter for attribute name", name)
			}
			get = rt.getter(args.pos[0], nil, false)
			args.pos = args.pos[1:]
		}
		test := func(v Value) (bool, error) { return truth(v), nil }
		if len(args.pos) > 0 {
			by, ok := text(args.pos[0])
			if !ok {
				return nil, typeError("the name of a test is no str but %s", typeName(args.pos[0]))
			}
			rest := arguments{args.pos[1:], args.named}
			test = func(v Value) (bool, error) { return rt.testValue(by, v, rest) }
		}
		for _, item := range items {
			x, err := get(item)
			if err != nil {
				return nil, err
			}
			ok, err := test(x)
			if err != nil {
				return nil, err
			}
			if ok == want {
				out.items = append(out.items, item)
			}
		}
		return out, rt.items(len(out.items))
	}
}

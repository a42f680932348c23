package jinja

func batchFilter(rt *run, v Value, b bound) (Value, error) {
	items, err := rt.copied(v)
	if err != nil {
		return nil, err
	}
	n, err := b.int(0, 0, "batch")
	if err != nil {
		return nil, err
	}
	n = max(n, 1)
	out := &iterator{typ: "generator"}
	for len(items) > 0 {
		row := items[:min(n, len(items)):min(n, len(items))]
		items = items[len(row):]
		if b.vals[1] != nil && len(row) < n {
			if err := rt.items(n); err != nil {
				return nil, err
			}
			for len(row) < n {
				row = append(row, b.vals[1])
			}
		}
		out.items = append(out.items, &List{row})
	}
	return out, nil
}

func sliceFilter(rt *run, v Value, b bound) (Value, error) {
	items, err := rt.copied(v)
	if err != nil {
		return nil, err
	}
	n, err := b.int(0, 0, "slice")
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, zeroDivision("integer division or modulo by zero")
	}
	n = max(n, 0)
	if err := rt.items(4 * min(n, maxItems)); err != nil {
		return nil, err
	}
	out := &iterator{typ: "generator"}
	at := 0
	for i := range n {
		size := len(items) / n
		more := i < len(items)%n
		size += boolInt(more)
		row := append([]Value(nil), items[at:at+size]...)
		at += size
		if b.vals[1] != nil && !more {
			row = append(row, b.vals[1])
		}
		out.items = append(out.items, &List{row})
	}
	return out, nil
}

func groupbyFilter(rt *run, v Value, b bound) (Value, error) {
	items, err := rt.copied(v)
	if err != nil {
		return nil, err
	}
	get := rt.getter(b.vals[0], b.vals[1], !truth(b.vals[2]))
	if err := rt.sort(items, get, false); err != nil {
		return nil, err
	}
	groups := &List{}
	var last Value
	shown := rt.getter(b.vals[0], b.vals[1], false)
	for i, item := range items {
		key, err := get(item)
		if err != nil {
			return nil, err
		}
		same, err := rt.equal(key, last, 0)
		if err != nil {
			return nil, err
		}
		if i == 0 || !same {
			name, err := shown(item)
			if err != nil {
				return nil, err
			}
			groups.Items = append(groups.Items, Tuple{name, &List{}})
		}
		last = key
		l := groups.Items[len(groups.Items)-1].(Tuple)[1].(*List)
		l.Items = append(l.Items, item)
	}
	return groups, nil
}

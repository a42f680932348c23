package jinja

import (
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

var listFilters = map[string]filterFunc{
	"length":   {0, nil, lengthFilter},
	"count":    {0, nil, lengthFilter},
	"list":     {0, nil, listFilter},
	"first":    {0, nil, firstFilter},
	"last":     {0, nil, lastFilter},
	"join":     {0, []string{"d", "attribute"}, joinFilter},
	"reverse":  {0, nil, reverseFilter},
	"sort":     {0, []string{"reverse", "case_sensitive", "attribute"}, sortFilter},
	"dictsort": {0, []string{"case_sensitive", "by", "reverse"}, dictsortFilter},
	"unique":   {0, []string{"case_sensitive", "attribute"}, uniqueFilter},
	"min":      {0, []string{"case_sensitive", "attribute"}, extremeFilter(-1)},
	"max":      {0, []string{"case_sensitive", "attribute"}, extremeFilter(1)},
	"sum":      {0, []string{"attribute", "start"}, sumFilter},
	"items":    {0, nil, itemsFilter},
	"batch":    {1, []string{"linecount", "fill_with"}, batchFilter},
	"slice":    {1, []string{"slices", "fill_with"}, sliceFilter},
	"groupby":  {1, []string{"attribute", "default", "case_sensitive"}, groupbyFilter},
}

// length is Python's len(v).
func length(v Value) (int, error) {
	switch v := v.(type) {
	case *List:
		return len(v.Items), nil
	case Tuple:
		return len(v), nil
	case *Dict:
		return len(v.keys), nil
	case *sequence:
		return len(v.items), nil
	case *loop:
		return len(v.items), nil
	case *undefined:
		return 0, nil
	}
	if s, ok := text(v); ok {
		return utf8.RuneCountInString(s), nil
	}
	return 0, typeError("object of type '%s' has no len()", typeName(v))
}

func lengthFilter(rt *run, v Value, _ bound) (Value, error) {
	if s, ok := text(v); ok {
		if err := rt.charge(len(s)); err != nil {
			return nil, err
		}
	}
	if u, ok := v.(*undefined); ok && rt.strict {
		return nil, u.err()
	}
	return length(v)
}

// copied are the items of v in a slice of their own.
func (rt *run) copied(v Value) ([]Value, error) {
	items, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	return append(make([]Value, 0, len(items)), items...), rt.items(len(items))
}

func listFilter(rt *run, v Value, _ bound) (Value, error) {
	items, err := rt.copied(v)
	return &List{items}, err
}

func firstFilter(rt *run, v Value, _ bound) (Value, error) {
	if it, ok := v.(*iterator); ok && len(it.items) > 0 {
		first := it.items[0]
		it.items = it.items[1:]
		return first, nil
	}
	items, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return missing("No first item, sequence was empty."), nil
	}
	return items[0], nil
}

func lastFilter(rt *run, v Value, _ bound) (Value, error) {
	if it, ok := v.(*iterator); ok {
		return nil, typeError("'%s' object is not reversible", it.typ)
	}
	items, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return missing("No last item, sequence was empty."), nil
	}
	return items[len(items)-1], nil
}

// getter returns the function that looks an attribute up, dots leading further down; nil is the value itself.
func (rt *run) getter(attribute Value, fallback Value, fold bool) func(Value) (Value, error) {
	var path []Value
	if s, ok := text(attribute); ok {
		for _, part := range strings.Split(s, ".") {
			if n, err := strconv.Atoi(part); err == nil && every(part, IsDigit) {
				path = append(path, n)
			} else {
				path = append(path, part)
			}
		}
	} else if attribute != nil {
		path = []Value{attribute}
	}
	return func(v Value) (Value, error) {
		var err error
		for _, part := range path {
			if v, err = rt.item(v, part); err != nil {
				return nil, err
			}
			if _, ok := v.(*undefined); ok && fallback != nil {
				v = fallback
			}
		}
		if s, ok := text(v); ok && fold {
			return Lower(s), rt.charge(len(s))
		}
		return v, nil
	}
}

func joinFilter(rt *run, v Value, b bound) (Value, error) {
	items, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	get := rt.getter(b.vals[1], nil, false)
	parts := make([]string, len(items))
	for i, item := range items {
		if item, err = get(item); err != nil {
			return nil, err
		}
		if parts[i], err = rt.str(item); err != nil {
			return nil, err
		}
	}
	sep, err := rt.str(b.or(0, ""))
	if err != nil {
		return nil, err
	}
	return rt.join(parts, sep)
}

func reverseFilter(rt *run, v Value, _ bound) (Value, error) {
	items, err := rt.copied(v)
	if err != nil {
		return nil, err
	}
	for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
		items[i], items[j] = items[j], items[i]
	}
	switch v.(type) {
	case string, Markup:
		var out strings.Builder
		for _, r := range items {
			out.WriteString(r.(string))
		}
		return out.String(), nil
	case *iterator:
		return &List{items}, nil
	}
	return &iterator{"list_reverseiterator", items}, nil
}

// sort sorts items in place and stably by a key.
func (rt *run) sort(items []Value, key func(Value) (Value, error), reverse bool) error {
	type keyed struct{ key, v Value }
	all := make([]keyed, len(items))
	for i, item := range items {
		k, err := key(item)
		if err != nil {
			return err
		}
		all[i] = keyed{k, item}
	}
	var failed error
	sort.SliceStable(all, func(i, j int) bool {
		if failed != nil {
			return false
		}
		a, b := all[i].key, all[j].key
		if reverse {
			a, b = b, a
		}
		c, ordered, err := rt.order("<", a, b, 0)
		failed = err
		return ordered && c < 0
	})
	for i, k := range all {
		items[i] = k.v
	}
	return failed
}

func sortFilter(rt *run, v Value, b bound) (Value, error) {
	items, err := rt.copied(v)
	if err != nil {
		return nil, err
	}
	key := rt.getter(b.vals[2], nil, !truth(b.vals[1]))
	if s, ok := text(b.vals[2]); ok && strings.Contains(s, ",") {
		var getters []func(Value) (Value, error)
		for _, part := range strings.Split(s, ",") {
			getters = append(getters, rt.getter(part, nil, !truth(b.vals[1])))
		}
		key = func(v Value) (Value, error) {
			keys := make(Tuple, len(getters))
			for i, get := range getters {
				if keys[i], err = get(v); err != nil {
					return nil, err
				}
			}
			return keys, nil
		}
	}
	return &List{items}, rt.sort(items, key, truth(b.vals[0]))
}

func dictsortFilter(rt *run, v Value, b bound) (Value, error) {
	d, ok := v.(*Dict)
	if !ok {
		return nil, typeError("'%s' object has no items to sort", typeName(v))
	}
	at, ok := map[Value]int{"key": 0, "value": 1}[b.or(1, "key")]
	if !ok {
		return nil, valueError("You can only sort by either \"key\" or \"value\"")
	}
	items := d.items()
	get := rt.getter(at, nil, !truth(b.vals[0]))
	return &List{items}, rt.sort(items, get, truth(b.vals[2]))
}

func uniqueFilter(rt *run, v Value, b bound) (Value, error) {
	items, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	get := rt.getter(b.vals[1], nil, !truth(b.vals[0]))
	seen := map[any]bool{}
	out := &iterator{typ: "generator"}
	for _, item := range items {
		key, err := get(item)
		if err != nil {
			return nil, err
		}
		h, err := rt.hash(key)
		if err != nil {
			return nil, err
		}
		if !seen[h] {
			seen[h] = true
			out.items = append(out.items, item)
		}
	}
	return out, rt.items(len(out.items))
}

func extremeFilter(sign int) func(*run, Value, bound) (Value, error) {
	return func(rt *run, v Value, b bound) (Value, error) {
		items, err := rt.iterate(v)
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			return missing("No aggregated item, sequence was empty."), nil
		}
		get := rt.getter(b.vals[1], nil, !truth(b.vals[0]))
		best := items[0]
		bestKey, err := get(best)
		if err != nil {
			return nil, err
		}
		for _, item := range items[1:] {
			key, err := get(item)
			if err != nil {
				return nil, err
			}
			c, ordered, err := rt.order("<", key, bestKey, 0)
			if err != nil {
				return nil, err
			}
			if ordered && c*sign > 0 {
				best, bestKey = item, key
			}
		}
		return best, nil
	}
}

func sumFilter(rt *run, v Value, b bound) (Value, error) {
	items, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	get := rt.getter(b.vals[0], nil, false)
	sum := b.or(1, 0)
	if _, ok := text(sum); ok {
		return nil, typeError("sum() can't sum strings [use ''.join(seq) instead]")
	}
	for _, item := range items {
		if item, err = get(item); err != nil {
			return nil, err
		}
		if sum, err = rt.binary("+", sum, item); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

func itemsFilter(rt *run, v Value, _ bound) (Value, error) {
	switch v := v.(type) {
	case *undefined:
		return &iterator{typ: "generator"}, nil
	case *Dict:
		return &iterator{"generator", v.items()}, rt.items(4 * len(v.keys))
	}
	return nil, typeError("Can only get item pairs from a mapping.")
}

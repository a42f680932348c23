package chat

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// value is what an expression yields: nil (None), bool, int, *big.Int (outside int), float64, string, markup, *list,
// tuple, *dict, *sequence, *iterator, *namespace, *undefined or a callable.
type value = any

// markup is a string marked safe: only adding to it differs from a string, which Jinja2 escapes.
type markup string

type list struct{ items []value }

type tuple []value

// sequence is what range() and the dict's items(), keys() and values() return.
type sequence struct {
	typ   string
	items []value
	repr  string // printed; "" = typ([items])
}

// iterator yields its items once, as the generators of map, select and their like.
type iterator struct {
	typ   string
	items []value
}

// take returns what is left and leaves nothing.
func (it *iterator) take() []value {
	items := it.items
	it.items = nil
	return items
}

type namespace struct{ attrs *dict }

// undefined is a name or attribute that isn't there: empty, false, and an error where it is used further.
type undefined struct {
	hint string
	kind string // of the error; "" = UndefinedError
}

func (u *undefined) err() error {
	kind := u.kind
	if kind == "" {
		kind = "UndefinedError"
	}
	return &evalError{kind: kind, message: u.hint}
}

func missing(format string, args ...any) *undefined {
	return &undefined{hint: fmt.Sprintf(format, args...)}
}

// dict keeps its keys in the order they came, as Python's does.
type dict struct {
	keys  []value
	vals  []value
	index map[any]int // hash → position
}

func newDict() *dict { return &dict{index: map[any]int{}} }

func (d *dict) set(hash any, key, v value) {
	if i, ok := d.index[hash]; ok {
		d.vals[i] = v
		return
	}
	d.index[hash] = len(d.keys)
	d.keys, d.vals = append(d.keys, key), append(d.vals, v)
}

// put sets a string key.
func (d *dict) put(key string, v value) { d.set(key, key, v) }

func (d *dict) get(hash any) (value, bool) {
	if i, ok := d.index[hash]; ok {
		return d.vals[i], true
	}
	return nil, false
}

func (d *dict) copy() *dict {
	c := newDict()
	c.merge(d)
	return c
}

func (d *dict) merge(other *dict) {
	hashes := make([]any, len(other.keys))
	for hash, i := range other.index {
		hashes[i] = hash
	}
	for i, hash := range hashes {
		d.set(hash, other.keys[i], other.vals[i])
	}
}

func (d *dict) items() []value {
	pairs := make([]value, len(d.keys))
	for i, key := range d.keys {
		pairs[i] = tuple{key, d.vals[i]}
	}
	return pairs
}

// The hashes of what isn't its own.
type (
	noneHash      struct{}
	undefinedHash struct{}
	tupleHash     string
	bigHash       string
	pointerHash   struct{ p any }
)

// hash maps a value to what stands for it as a key: equal values have equal hashes, as 1, 1.0 and True.
func (rt *run) hash(v value) (any, error) {
	if err := rt.step(); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return noneHash{}, nil
	case bool:
		return boolInt(v), nil
	case int, string:
		return v, nil
	case markup:
		return string(v), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int(v), nil
		}
		return v, nil
	case *big.Int:
		return bigHash(v.String()), nil
	case *undefined:
		return undefinedHash{}, nil
	case tuple:
		var parts strings.Builder
		for _, item := range v {
			h, err := rt.hash(item)
			if err != nil {
				return nil, err
			}
			part := fmt.Sprintf("%T:%q,", h, fmt.Sprint(h))
			if err := rt.charge(8 * len(part)); err != nil { // it is written several times over
				return nil, err
			}
			parts.WriteString(part)
		}
		return tupleHash(parts.String()), nil
	case *list, *dict:
		return nil, typeError("unhashable type: '%s'", typeName(v))
	}
	return pointerHash{v}, nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// truth is Python's bool(v).
func truth(v value) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int:
		return v != 0
	case *big.Int:
		return v.Sign() != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case *list:
		return len(v.items) > 0
	case tuple:
		return len(v) > 0
	case *dict:
		return len(v.keys) > 0
	case *sequence:
		return len(v.items) > 0
	}
	return true
}

func typeName(v value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case *list:
		return "list"
	case tuple:
		return "tuple"
	case *dict:
		return "dict"
	case *sequence:
		return v.typ
	case *iterator:
		return v.typ
	case *namespace:
		return "Namespace"
	case *undefined:
		return "Undefined"
	case *loop:
		return "LoopContext"
	case *macro:
		return "Macro"
	}
	return "function"
}

// text returns the string in v, which may be marked safe.
func text(v value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// normInt makes an int of a big integer that fits.
func normInt(n *big.Int) value {
	if n.IsInt64() {
		return int(n.Int64())
	}
	return n
}

// integer returns the integer in v, a bool being one too.
func integer(v value) (*big.Int, bool) {
	switch v := v.(type) {
	case bool:
		return big.NewInt(int64(boolInt(v))), true
	case int:
		return big.NewInt(int64(v)), true
	case *big.Int:
		return v, true
	}
	return nil, false
}

// index returns v as a number for indexing: integers outside int are clamped.
func index(v value) (int, bool) {
	n, ok := integer(v)
	if !ok {
		return 0, false
	}
	if !n.IsInt64() {
		return math.MaxInt32 * n.Sign(), true
	}
	return int(min(max(n.Int64(), math.MinInt32), math.MaxInt32)), true
}

// number returns v as a float.
func number(v value) (float64, bool) {
	if f, ok := v.(float64); ok {
		return f, true
	}
	n, ok := integer(v)
	if !ok {
		return 0, false
	}
	f, _ := new(big.Float).SetInt(n).Float64()
	return f, true
}

// iterate returns the items of v, consuming an iterator.
func (rt *run) iterate(v value) ([]value, error) {
	switch v := v.(type) {
	case *list:
		return v.items, nil
	case tuple:
		return v, nil
	case *sequence:
		return v.items, nil
	case *iterator:
		return v.take(), nil
	case *dict:
		return v.keys, nil
	case *undefined:
		return nil, nil
	case *loop:
		return nil, typeError("iterating over the loop itself isn't supported")
	}
	if s, ok := text(v); ok {
		if err := rt.charge(16 * len(s)); err != nil {
			return nil, err
		}
		items := make([]value, 0, len(s))
		for _, r := range s {
			items = append(items, string(r))
		}
		return items, nil
	}
	return nil, typeError("'%s' object is not iterable", typeName(v))
}

package jinja

import (
	"fmt"
	"iter"
	"math"
	"math/big"
	"strings"
)

// Value is what an expression yields: nil (None), bool, int, *big.Int (outside int), float64, string, Markup, *List,
// Tuple, *Dict, *sequence, *iterator, *namespace, *undefined or a callable.
type Value = any

// Markup is a string marked safe: only adding to it differs from a string, which Jinja2 escapes.
type Markup string

// List is Python's list.
type List struct{ Items []Value }

// Tuple is Python's tuple.
type Tuple []Value

// sequence is what range() and the dict's items(), keys() and values() return.
type sequence struct {
	typ   string
	items []Value
	repr  string // printed; "" = typ([items])
}

// iterator yields its items once, as the generators of map, select and their like.
type iterator struct {
	typ   string
	items []Value
}

// take returns what is left and leaves nothing.
func (it *iterator) take() []Value {
	items := it.items
	it.items = nil
	return items
}

type namespace struct{ attrs *Dict }

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

// Dict keeps its keys in the order they came, as Python's does.
type Dict struct {
	keys  []Value
	vals  []Value
	index map[any]int // hash → position
}

// NewDict is the empty dict.
func NewDict() *Dict { return &Dict{index: map[any]int{}} }

func (d *Dict) set(hash any, key, v Value) {
	if i, ok := d.index[hash]; ok {
		d.vals[i] = v
		return
	}
	d.index[hash] = len(d.keys)
	d.keys, d.vals = append(d.keys, key), append(d.vals, v)
}

// Put sets a string key.
func (d *Dict) Put(key string, v Value) { d.set(key, key, v) }

// Get looks a string key up.
func (d *Dict) Get(key string) (Value, bool) { return d.get(key) }

// Len is the number of keys.
func (d *Dict) Len() int { return len(d.keys) }

// All yields the keys and their values in order.
func (d *Dict) All() iter.Seq2[Value, Value] {
	return func(yield func(Value, Value) bool) {
		for i, key := range d.keys {
			if !yield(key, d.vals[i]) {
				return
			}
		}
	}
}

func (d *Dict) get(hash any) (Value, bool) {
	if i, ok := d.index[hash]; ok {
		return d.vals[i], true
	}
	return nil, false
}

// Copy is a dict of its own with the same values.
func (d *Dict) Copy() *Dict {
	c := NewDict()
	c.Merge(d)
	return c
}

// Merge sets what other holds.
func (d *Dict) Merge(other *Dict) {
	hashes := make([]any, len(other.keys))
	for hash, i := range other.index {
		hashes[i] = hash
	}
	for i, hash := range hashes {
		d.set(hash, other.keys[i], other.vals[i])
	}
}

func (d *Dict) items() []Value {
	pairs := make([]Value, len(d.keys))
	for i, key := range d.keys {
		pairs[i] = Tuple{key, d.vals[i]}
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
func (rt *run) hash(v Value) (any, error) {
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
	case Markup:
		return string(v), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int(v), nil
		}
		return v, nil
	case *big.Int:
		return bigHash(v.String()), nil
	case *undefined:
		if rt.strict {
			return nil, v.err()
		}
		return undefinedHash{}, nil
	case Tuple:
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
	case *List, *Dict:
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
func truth(v Value) bool {
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
	case Markup:
		return v != ""
	case *List:
		return len(v.Items) > 0
	case Tuple:
		return len(v) > 0
	case *Dict:
		return len(v.keys) > 0
	case *sequence:
		return len(v.items) > 0
	}
	return true
}

// truth is bool(v) in the settings of the rendering.
func (rt *run) truth(v Value) (bool, error) {
	if u, ok := v.(*undefined); ok && rt.strict {
		return false, u.err()
	}
	return truth(v), nil
}

func typeName(v Value) string {
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
	case Markup:
		return "Markup"
	case *List:
		return "list"
	case Tuple:
		return "tuple"
	case *Dict:
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
func text(v Value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case Markup:
		return string(v), true
	}
	return "", false
}

// normInt makes an int of a big integer that fits.
func normInt(n *big.Int) Value {
	if n.IsInt64() {
		return int(n.Int64())
	}
	return n
}

// integer returns the integer in v, a bool being one too.
func integer(v Value) (*big.Int, bool) {
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
func index(v Value) (int, bool) {
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
func number(v Value) (float64, bool) {
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
func (rt *run) iterate(v Value) ([]Value, error) {
	switch v := v.(type) {
	case *List:
		return v.Items, nil
	case Tuple:
		return v, nil
	case *sequence:
		return v.items, nil
	case *iterator:
		return v.take(), nil
	case *Dict:
		return v.keys, nil
	case *undefined:
		if rt.strict {
			return nil, v.err()
		}
		return nil, nil
	case *loop:
		return nil, typeError("iterating over the loop itself isn't supported")
	}
	if s, ok := text(v); ok {
		if err := rt.charge(16 * len(s)); err != nil {
			return nil, err
		}
		items := make([]Value, 0, len(s))
		for _, r := range s {
			items = append(items, string(r))
		}
		return items, nil
	}
	return nil, typeError("'%s' object is not iterable", typeName(v))
}

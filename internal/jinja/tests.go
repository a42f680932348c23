package jinja

import (
	"math/big"
	"reflect"
)

// simpleTests are the tests without arguments that need nothing but the value.
var simpleTests = map[string]func(v Value) bool{
	"defined":   func(v Value) bool { _, ok := v.(*undefined); return !ok },
	"undefined": func(v Value) bool { _, ok := v.(*undefined); return ok },
	"none":      func(v Value) bool { return v == nil },
	"boolean":   func(v Value) bool { _, ok := v.(bool); return ok },
	"true":      func(v Value) bool { b, ok := v.(bool); return ok && b },
	"false":     func(v Value) bool { b, ok := v.(bool); return ok && !b },
	"integer": func(v Value) bool {
		_, ok := integer(v)
		_, isBool := v.(bool)
		return ok && !isBool
	},
	"float":    func(v Value) bool { _, ok := v.(float64); return ok },
	"number":   func(v Value) bool { _, ok := number(v); return ok },
	"string":   func(v Value) bool { _, ok := text(v); return ok },
	"mapping":  func(v Value) bool { _, ok := v.(*Dict); return ok },
	"escaped":  func(v Value) bool { _, ok := v.(Markup); return ok },
	"iterable": iterable,
	"sequence": func(v Value) bool {
		switch v := v.(type) {
		case *iterator, *loop:
			return false
		case *sequence:
			return v.typ == "range"
		}
		return iterable(v)
	},
	"callable": func(v Value) bool {
		switch v.(type) {
		case *builtin, *macro, *loop, *undefined:
			return true
		}
		return false
	},
}

func iterable(v Value) bool {
	switch v.(type) {
	case string, Markup, *List, Tuple, *Dict, *sequence, *iterator, *undefined, *loop:
		return true
	}
	return false
}

// comparisons are the tests that are operators.
var comparisons = map[string]string{
	"eq": "==", "equalto": "==", "==": "==", "ne": "!=", "!=": "!=", "lt": "<", "lessthan": "<", "<": "<",
	"le": "<=", "<=": "<=", "gt": ">", "greaterthan": ">", ">": ">", "ge": ">=", ">=": ">=", "in": "in",
}

func (rt *run) test(name string, v Value, args arguments) (Value, error) {
	return rt.testValue(name, v, args)
}

// testValue is "v is name(args)".
func (rt *run) testValue(name string, v Value, args arguments) (bool, error) {
	if err := rt.step(); err != nil {
		return false, err
	}
	if test, ok := simpleTests[name]; ok {
		_, err := args.bind(name, 0)
		return test(v), err
	}
	switch name {
	case "odd", "even", "divisibleby":
		return rt.divisible(name, v, args)
	case "lower", "upper":
		s, err := rt.str(v)
		if err == nil {
			err = rt.charge(len(s))
		}
		if err != nil {
			return false, err
		}
		low, up := Lower(s), Upper(s)
		return low != up && (name == "lower" && s == low || name == "upper" && s == up), nil
	case "filter", "test":
		other, ok := text(v)
		_, err := args.bind(name, 0)
		return ok && known(name, other), err
	case "sameas":
		b, err := args.bind(name, 1, "other")
		return err == nil && same(v, b.vals[0]), err
	}
	op, ok := comparisons[name]
	if !ok {
		return false, runtimeError("No test named %s.", quote(name))
	}
	b, err := args.bind(name, 1, "other")
	if err != nil {
		return false, err
	}
	return rt.compare(op, v, b.vals[0])
}

func known(kind, name string) bool {
	if kind == "filter" {
		_, ok := filters[name]
		_, free := freeFilters[name]
		return ok || free
	}
	_, ok := simpleTests[name]
	_, op := comparisons[name]
	return ok || op || name == "odd" || name == "even" || name == "divisibleby" || name == "lower" || name == "upper" ||
		name == "filter" || name == "test" || name == "sameas"
}

func (rt *run) divisible(name string, v Value, args arguments) (bool, error) {
	var by Value = 2
	required := []string{}
	if name == "divisibleby" {
		required = []string{"num"}
	}
	b, err := args.bind(name, len(required), required...)
	if err != nil {
		return false, err
	}
	if name == "divisibleby" {
		by = b.vals[0]
	}
	rest, err := rt.binary("%", v, by)
	if err != nil {
		return false, err
	}
	if name == "odd" {
		return rt.equal(rest, 1, 0)
	}
	return rt.equal(rest, 0, 0)
}

// same is Python's "is": the same object, or equal values of what Python keeps one of each.
func same(a, b Value) bool {
	if x, ok := a.(*big.Int); ok {
		y, ok := b.(*big.Int)
		return ok && x.Cmp(y) == 0
	}
	if reflect.TypeOf(a) != reflect.TypeOf(b) {
		return false
	}
	if x, ok := a.(Tuple); ok {
		y := b.(Tuple)
		return len(x) == len(y) && (len(x) == 0 || &x[0] == &y[0])
	}
	return a == b
}

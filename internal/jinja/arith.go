package jinja

import (
	"html"
	"math"
	"math/big"
	"strings"
)

func badOperand(op string, v Value) error {
	if u, ok := v.(*undefined); ok {
		return u.err()
	}
	return typeError("bad operand type for unary %s: '%s'", op, typeName(v))
}

func (rt *run) negate(v Value) (Value, error) {
	if f, ok := v.(float64); ok {
		return -f, nil
	}
	n, ok := integer(v)
	if !ok {
		return nil, badOperand("-", v)
	}
	return normInt(new(big.Int).Neg(n)), nil
}

func badOperands(op string, left, right Value) error {
	for _, v := range []Value{left, right} {
		if u, ok := v.(*undefined); ok {
			return u.err()
		}
	}
	return typeError("unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(left), typeName(right))
}

// binary is an arithmetic operator of Python.
func (rt *run) binary(op string, left, right Value) (Value, error) {
	if s, ok := text(left); ok && op == "%" {
		return rt.percent(s, right)
	}
	if a, ok := integer(left); ok {
		if b, ok := integer(right); ok {
			return rt.integers(op, a, b)
		}
	}
	if a, ok := number(left); ok {
		if b, ok := number(right); ok {
			return floats(op, a, b)
		}
	}
	switch op {
	case "+":
		return rt.add(left, right)
	case "*":
		if n, ok := index(left); ok {
			return rt.repeat(right, n, left)
		}
		if n, ok := index(right); ok {
			return rt.repeat(left, n, right)
		}
	}
	return nil, badOperands(op, left, right)
}

func (rt *run) add(left, right Value) (Value, error) {
	if a, ok := text(left); ok {
		b, ok := text(right)
		if !ok {
			if u, ok := right.(*undefined); ok {
				return nil, u.err()
			}
			return nil, typeError("can only concatenate str (not \"%s\") to str", typeName(right))
		}
		if err := rt.charge(len(a) + len(b)); err != nil {
			return nil, err
		}
		_, safeLeft := left.(Markup)
		_, safeRight := right.(Markup)
		if safeLeft || safeRight {
			return escape(left) + escape(right), nil
		}
		return a + b, nil
	}
	join := func(a, b []Value) ([]Value, error) {
		if err := rt.items(len(a) + len(b)); err != nil {
			return nil, err
		}
		return append(append(make([]Value, 0, len(a)+len(b)), a...), b...), nil
	}
	switch a := left.(type) {
	case *List:
		if b, ok := right.(*List); ok {
			items, err := join(a.Items, b.Items)
			return &List{items}, err
		}
		if _, ok := right.(*undefined); !ok {
			return nil, typeError("can only concatenate list (not \"%s\") to list", typeName(right))
		}
	case Tuple:
		if b, ok := right.(Tuple); ok {
			items, err := join(a, b)
			return Tuple(items), err
		}
	}
	return nil, badOperands("+", left, right)
}

// escape marks a string safe, replacing what HTML would read as its own unless it is safe already.
func escape(v Value) Markup {
	if m, ok := v.(Markup); ok {
		return m
	}
	s, _ := text(v)
	return Markup(html.EscapeString(s))
}

// repeat is v * n; count is n as written.
func (rt *run) repeat(v Value, n int, count Value) (Value, error) {
	n = max(n, 0)
	again := func(items []Value) ([]Value, error) {
		if err := rt.items(len(items) * min(n, maxItems+1)); err != nil {
			return nil, err
		}
		out := make([]Value, 0, len(items)*n)
		for range n {
			out = append(out, items...)
		}
		return out, nil
	}
	switch v := v.(type) {
	case Markup:
		s, err := rt.repeat(string(v), n, count)
		if err != nil {
			return nil, err
		}
		return Markup(s.(string)), nil
	case string:
		if err := rt.charge(len(v) * min(n, maxWork+1)); err != nil {
			return nil, err
		}
		return strings.Repeat(v, n), nil
	case *List:
		if len(v.Items) == 0 {
			return &List{}, nil
		}
		items, err := again(v.Items)
		return &List{items}, err
	case Tuple:
		if len(v) == 0 {
			return v, nil
		}
		items, err := again(v)
		return Tuple(items), err
	}
	return nil, badOperands("*", v, count)
}

func zeroDivision(what string) error { return &evalError{kind: "ZeroDivisionError", message: what} }

func (rt *run) integers(op string, a, b *big.Int) (Value, error) {
	if err := rt.charge((a.BitLen() + b.BitLen()) / 8); err != nil {
		return nil, err
	}
	if a.BitLen() > maxIntBits || b.BitLen() > maxIntBits {
		return nil, limitError("it calculates with too large numbers")
	}
	z := new(big.Int)
	switch op {
	case "+":
		z.Add(a, b)
	case "-":
		z.Sub(a, b)
	case "*":
		z.Mul(a, b)
	case "/":
		if b.Sign() == 0 {
			return nil, zeroDivision("division by zero")
		}
		f, _ := new(big.Rat).SetFrac(a, b).Float64()
		return f, nil
	case "//", "%":
		if b.Sign() == 0 {
			return nil, zeroDivision("integer division or modulo by zero")
		}
		m := new(big.Int)
		z.QuoRem(a, b, m)
		if m.Sign() != 0 && m.Sign() != b.Sign() { // Python rounds down
			z.Sub(z, big.NewInt(1))
			m.Add(m, b)
		}
		if op == "%" {
			z = m
		}
	case "**":
		if b.Sign() < 0 {
			x, _ := number(a)
			y, _ := number(b)
			return floats(op, x, y)
		}
		if a.BitLen() > 1 && (!b.IsInt64() || b.Int64() > maxIntBits/int64(a.BitLen())) {
			return nil, limitError("it calculates with too large numbers")
		}
		z.Exp(a, b, nil)
	default:
		return nil, badOperands(op, normInt(a), normInt(b))
	}
	return normInt(z), nil
}

func floats(op string, a, b float64) (Value, error) {
	switch op {
	case "+":
		return a + b, nil
	case "-":
		return a - b, nil
	case "*":
		return a * b, nil
	case "/":
		if b == 0 {
			return nil, zeroDivision("float division by zero")
		}
		return a / b, nil
	case "//", "%":
		if b == 0 {
			return nil, zeroDivision("float floor division by zero")
		}
		m := math.Mod(a, b)
		if m != 0 && (m < 0) != (b < 0) {
			m += b
		}
		if op == "%" {
			return m, nil
		}
		return math.Round((a - m) / b), nil
	case "**":
		if a == 0 && b < 0 {
			return nil, zeroDivision("0.0 cannot be raised to a negative power")
		}
		f := math.Pow(a, b)
		if math.IsNaN(f) && !math.IsNaN(a) && !math.IsNaN(b) {
			return nil, valueError("the power is a complex number")
		}
		return f, nil
	}
	return nil, badOperands(op, a, b)
}

package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"
)

func intFilter(rt *run, v Value, b bound) (Value, error) {
	if n, ok := integer(v); ok {
		return normInt(n), nil
	}
	base, err := b.int(1, 10, "int")
	if err != nil {
		return nil, err
	}
	if s, ok := text(v); ok && len(s) <= maxIntDigits {
		if n, ok := parseInt(s, base); ok {
			return normInt(n), nil
		}
	}
	if u, ok := v.(*undefined); ok {
		return nil, u.err()
	}
	f, ok := parseFloat(v)
	if !ok || math.IsNaN(f) || math.IsInf(f, 0) {
		return b.or(0, 0), nil
	}
	n, _ := big.NewFloat(f).Int(nil)
	return normInt(n), rt.charge(n.BitLen() / 8)
}

// parseInt is Python's int(s, base).
func parseInt(s string, base int) (*big.Int, bool) {
	s = strings.ToLower(strings.TrimFunc(s, IsSpace))
	sign := ""
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, s = s[:1], s[1:]
	}
	for _, prefix := range []struct {
		text string
		base int
	}{{"0x", 16}, {"0o", 8}, {"0b", 2}} {
		if base == prefix.base || base == 0 {
			if rest, ok := strings.CutPrefix(s, prefix.text); ok {
				s, base = strings.TrimPrefix(rest, "_"), prefix.base
			}
		}
	}
	if s == "" || s[0] == '_' || s[len(s)-1] == '_' || strings.Contains(s, "__") || s[0] == '-' || s[0] == '+' {
		return nil, false
	}
	if base == 0 {
		base = 10
	}
	if base < 2 || base > 36 {
		return nil, false
	}
	return new(big.Int).SetString(sign+strings.ReplaceAll(s, "_", ""), base)
}

// parseFloat is Python's float(v).
func parseFloat(v Value) (float64, bool) {
	if f, ok := number(v); ok {
		return f, true
	}
	s, ok := text(v)
	if !ok {
		return 0, false
	}
	s = strings.TrimFunc(s, IsSpace)
	if strings.ContainsAny(s, "xXpP") {
		return 0, false // Go's hexadecimal floats
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil || math.IsInf(f, 0)
}

func floatFilter(_ *run, v Value, b bound) (Value, error) {
	if u, ok := v.(*undefined); ok {
		return nil, u.err()
	}
	if f, ok := parseFloat(v); ok {
		return f, nil
	}
	return b.or(0, 0.0), nil
}

func absFilter(rt *run, v Value, _ bound) (Value, error) {
	if f, ok := v.(float64); ok {
		return math.Abs(f), nil
	}
	n, ok := integer(v)
	if !ok {
		return nil, badOperand("abs()", v)
	}
	return normInt(new(big.Int).Abs(n)), nil
}

func roundFilter(_ *run, v Value, b bound) (Value, error) {
	f, ok := number(v)
	if !ok {
		return nil, badOperand("round()", v)
	}
	digits, err := b.int(0, 0, "round")
	if err != nil {
		return nil, err
	}
	method, _ := text(b.or(1, "common"))
	pow := math.Pow(10, float64(digits))
	switch method {
	case "common":
		if n, ok := integer(v); ok && digits >= 0 {
			return normInt(n), nil // round() leaves an int an int
		}
		if digits >= 0 && digits < 300 {
			f, _ = strconv.ParseFloat(strconv.FormatFloat(f, 'f', digits, 64), 64) // correctly rounded, as round()
			return f, nil
		}
		return math.RoundToEven(f*pow) / pow, nil
	case "ceil":
		return math.Ceil(f*pow) / pow, nil
	case "floor":
		return math.Floor(f*pow) / pow, nil
	}
	return nil, valueError("method must be common, ceil or floor")
}

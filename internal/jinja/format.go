package jinja

import (
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spec is how a value is laid out, for % and for format.
type spec struct {
	fill      string
	align     byte // '<', '>', '^', '=' or 0
	sign      byte // '+', ' ' or 0
	alternate bool
	width     int
	comma     string
	precision int // -1 = none
	verb      byte
}

var (
	percentPattern = regexp.MustCompile(`^(?:\(([^)]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?(.)`)
	specPattern    = regexp.MustCompile(`^(?s:(.)?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?` +
		`([bcdeEfFgGnosxX%])?$`)
)

// percent is Python's s % v.
func (rt *run) percent(s string, v Value) (Value, error) {
	args, isTuple := v.(Tuple)
	if !isTuple {
		args = Tuple{v}
	}
	next, named := 0, false
	take := func() (Value, error) {
		if next >= len(args) {
			return nil, typeError("not enough arguments for format string")
		}
		next++
		return args[next-1], nil
	}
	var out strings.Builder
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			break
		}
		out.WriteString(s[:i])
		m := percentPattern.FindStringSubmatch(s[i+1:])
		if m == nil {
			return nil, valueError("incomplete format")
		}
		s = s[i+1+len(m[0]):]
		if m[5] == "%" {
			out.WriteByte('%')
			continue
		}
		sp, err := percentSpec(m, take)
		if err != nil {
			return nil, err
		}
		var x Value
		if strings.HasPrefix(m[0], "(") {
			named = true
			x, err = rt.named(v, m[1])
		} else {
			x, err = take()
		}
		if err != nil {
			return nil, err
		}
		t, err := rt.percentValue(sp, x)
		if err != nil {
			return nil, err
		}
		if err := rt.charge(len(t)); err != nil {
			return nil, err
		}
		out.WriteString(t)
	}
	_, isDict := v.(*Dict)
	_, isList := v.(*List) // taken for a mapping by Python too
	if next < len(args) && !named && !isDict && !isList {
		return nil, typeError("not all arguments converted during string formatting")
	}
	out.WriteString(s)
	return out.String(), rt.charge(out.Len())
}

func (rt *run) named(v Value, key string) (Value, error) {
	d, ok := v.(*Dict)
	if !ok {
		return nil, typeError("format requires a mapping")
	}
	x, ok := d.get(key)
	if !ok {
		return nil, &evalError{kind: "KeyError", message: quote(key)}
	}
	return x, nil
}

func percentSpec(m []string, take func() (Value, error)) (spec, error) {
	sp := spec{fill: " ", align: '>', precision: -1, verb: m[5][0]}
	for _, flag := range m[2] {
		switch flag {
		case '-':
			sp.align = '<'
		case '0':
			if sp.align != '<' {
				sp.fill, sp.align = "0", '='
			}
		case '#':
			sp.alternate = true
		default:
			if sp.sign != '+' {
				sp.sign = byte(flag)
			}
		}
	}
	number := func(s string, into *int) error {
		if s != "*" {
			n, err := strconv.Atoi(s)
			if err != nil || n > maxWork {
				return limitError("a width is too large")
			}
			*into = n
			return nil
		}
		v, err := take()
		if err != nil {
			return err
		}
		n, ok := index(v)
		if !ok {
			return typeError("* wants int")
		}
		*into = n
		return nil
	}
	if m[3] != "" {
		if err := number(m[3], &sp.width); err != nil {
			return sp, err
		}
		if sp.width < 0 {
			sp.width, sp.align, sp.fill = -sp.width, '<', " "
		}
	}
	if m[4] != "" {
		return sp, number(m[4], &sp.precision)
	}
	if strings.Contains(m[0][len(m[1]):], ".") && m[5] != "." {
		sp.precision = 0
	}
	return sp, nil
}

func (rt *run) percentValue(sp spec, x Value) (string, error) {
	switch sp.verb {
	case 's', 'r', 'a':
		show := rt.str
		if sp.verb != 's' {
			show = rt.repr
		}
		t, err := show(x)
		if err != nil {
			return "", err
		}
		if sp.align == '=' {
			sp.align, sp.fill = '>', " "
		}
		return rt.layText(sp, t)
	case 'c':
		if n, ok := index(x); ok && n >= 0 && n <= utf8.MaxRune {
			return rt.layText(sp, string(rune(n)))
		}
		if s, ok := text(x); ok && utf8.RuneCountInString(s) == 1 {
			return rt.layText(sp, s)
		}
		return "", typeError("%%c requires int or char")
	case 'd', 'i', 'u':
		f, isFloat := x.(float64)
		if isFloat && !math.IsNaN(f) && !math.IsInf(f, 0) {
			n, _ := big.NewFloat(math.Trunc(f)).Int(nil)
			x = normInt(n)
		}
		if sp.verb = 'd'; sp.precision > 0 { // the least number of digits
			if n, ok := integer(x); ok && n.BitLen() <= maxIntBits {
				digits, err := rt.pad(new(big.Int).Abs(n).String(), sp.precision, "0", '>')
				if err != nil {
					return "", err
				}
				return rt.layNumber(sp, n.Sign() < 0, digits)
			}
		}
	case 'x', 'X', 'o', 'e', 'E', 'f', 'F', 'g', 'G':
	default:
		return "", valueError("unsupported format character '%c'", sp.verb)
	}
	if _, ok := number(x); !ok {
		if u, ok := x.(*undefined); ok {
			return "", u.err()
		}
		return "", typeError("%%%c format: a real number is required, not %s", sp.verb, typeName(x))
	}
	if strings.IndexByte("dxXo", sp.verb) >= 0 {
		if _, ok := integer(x); !ok {
			return "", typeError("%%%c format: an integer is required, not %s", sp.verb, typeName(x))
		}
	}
	return rt.formatNumber(sp, x)
}

// layText fills a text to the width, cut to the precision.
func (rt *run) layText(sp spec, s string) (string, error) {
	if runes := []rune(s); sp.precision >= 0 && sp.precision < len(runes) {
		s = string(runes[:sp.precision])
	}
	align := sp.align
	if align == 0 {
		align = '<'
	}
	if align == '=' {
		return "", valueError("'=' alignment not allowed in string format specifier")
	}
	return rt.pad(s, sp.width, sp.fill, align)
}

// layNumber puts the sign before digits and fills both to the width.
func (rt *run) layNumber(sp spec, negative bool, digits string) (string, error) {
	sign := ""
	if negative {
		sign = "-"
	} else if sp.sign == '+' || sp.sign == ' ' {
		sign = string(sp.sign)
	}
	if sp.align == '=' {
		digits, err := rt.pad(digits, sp.width-len(sign), sp.fill, '>')
		return sign + digits, err
	}
	align := sp.align
	if align == 0 {
		align = '>'
	}
	return rt.pad(sign+digits, sp.width, sp.fill, align)
}

// formatNumber is format(x, spec) of an integer or a float.
func (rt *run) formatNumber(sp spec, x Value) (string, error) {
	if sp.precision > 1000 {
		return "", limitError("a precision is too large")
	}
	n, isInt := integer(x)
	if isInt && (sp.verb == 0 || strings.IndexByte("dnxXobc", sp.verb) >= 0) {
		if n.BitLen() > maxIntBits {
			return "", limitError("it prints too large numbers")
		}
		base := map[byte]int{'x': 16, 'X': 16, 'o': 8, 'b': 2}[sp.verb]
		if base == 0 {
			base = 10
		}
		if sp.verb == 'c' {
			return rt.layText(sp, string(rune(n.Int64())))
		}
		digits := group(new(big.Int).Abs(n).Text(base), sp.comma)
		if sp.alternate && base != 10 {
			digits = "0" + strings.ToLower(string(sp.verb)) + digits
		}
		if sp.verb == 'X' {
			digits = strings.ToUpper(digits)
		}
		return rt.layNumber(sp, n.Sign() < 0, digits)
	}
	f, _ := number(x)
	digits, err := floatDigits(sp, math.Abs(f))
	if err != nil {
		return "", err
	}
	whole, rest, ok := strings.Cut(digits, ".")
	if ok {
		rest = "." + rest
	}
	return rt.layNumber(sp, math.Signbit(f) && !math.IsNaN(f), group(whole, sp.comma)+rest)
}

func floatDigits(sp spec, f float64) (string, error) {
	precision := sp.precision
	if precision < 0 && sp.verb != 0 {
		precision = 6
	}
	special := math.IsInf(f, 0) || math.IsNaN(f)
	var s string
	switch {
	case special:
		s = floatRepr(f)
	case sp.verb == 'f' || sp.verb == 'F':
		s = strconv.FormatFloat(f, 'f', precision, 64)
	case sp.verb == '%':
		s = strconv.FormatFloat(f*100, 'f', precision, 64) + "%"
	case sp.verb == 'e' || sp.verb == 'E':
		s = strconv.FormatFloat(f, 'e', precision, 64)
	case sp.verb == 0 && sp.precision < 0:
		s = floatRepr(f)
	case sp.verb == 'g' || sp.verb == 'G' || sp.verb == 'n' || sp.verb == 0:
		s = strconv.FormatFloat(f, 'g', max(precision, 1), 64)
		exp := math.Floor(math.Log10(f))
		if strings.Contains(s, "e") && exp >= -4 && exp < float64(max(precision, 1)) { // Go changes over earlier
			s = strconv.FormatFloat(f, 'f', -1, 64)
		}
		if sp.verb == 0 && !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
	default:
		return "", valueError("Unknown format code '%c' for object of type 'float'", sp.verb)
	}
	if sp.verb == 'E' || sp.verb == 'G' || sp.verb == 'F' {
		s = strings.ToUpper(s)
	}
	return s, nil
}

// group puts a separator between thousands.
func group(digits, comma string) string {
	if comma == "" {
		return digits
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + comma + digits[i:]
	}
	return digits
}

package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
)

// str is Python's str(v), as {{ v }} prints it.
func (rt *run) str(v Value) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case Markup:
		return string(v), nil
	case *undefined:
		if rt.strict {
			return "", v.err()
		}
		return "", nil
	}
	return rt.repr(v)
}

// repr is Python's repr(v).
func (rt *run) repr(v Value) (string, error) {
	w := &printer{rt: rt}
	err := w.repr(v, 0)
	return w.out.String(), err
}

// printer builds a text whose length counts towards the limits.
type printer struct {
	rt  *run
	out strings.Builder
}

func (w *printer) write(s string) error {
	w.out.WriteString(s)
	return w.rt.charge(len(s))
}

func (w *printer) repr(v Value, depth int) error {
	if err := w.rt.step(); err != nil {
		return err
	}
	if depth > maxDepth {
		return errDeep()
	}
	switch v := v.(type) {
	case nil:
		return w.write("None")
	case string:
		return w.write(quote(v))
	case Markup:
		return w.write("Markup(" + quote(string(v)) + ")")
	case *List:
		return w.row("[", v.Items, "]", depth)
	case Tuple:
		if len(v) == 1 {
			return w.row("(", v, ",)", depth)
		}
		return w.row("(", v, ")", depth)
	case *Dict:
		return w.dict(v, depth)
	case *sequence:
		if v.repr != "" {
			return w.write(v.repr)
		}
		return w.row(v.typ+"([", v.items, "])", depth)
	case *iterator:
		return w.write("<" + v.typ + " object>")
	case *namespace:
		if err := w.write("<Namespace "); err != nil {
			return err
		}
		if err := w.dict(v.attrs, depth); err != nil {
			return err
		}
		return w.write(">")
	case *undefined:
		return w.write("Undefined")
	case *loop:
		return w.write(fmt.Sprintf("<LoopContext %d/%d>", v.index+1, len(v.items)))
	case *macro:
		return w.write("<Macro " + quote(v.name) + ">")
	case bool:
		if v {
			return w.write("True")
		}
		return w.write("False")
	}
	s, ok, err := numeral(v)
	if err != nil {
		return err
	}
	if !ok {
		s = "<function>"
	}
	return w.write(s)
}

func (w *printer) row(open string, items []Value, end string, depth int) error {
	if err := w.write(open); err != nil {
		return err
	}
	for i, item := range items {
		if i > 0 {
			if err := w.write(", "); err != nil {
				return err
			}
		}
		if err := w.repr(item, depth+1); err != nil {
			return err
		}
	}
	return w.write(end)
}

func (w *printer) dict(d *Dict, depth int) error {
	if err := w.write("{"); err != nil {
		return err
	}
	for i, key := range d.keys {
		if i > 0 {
			if err := w.write(", "); err != nil {
				return err
			}
		}
		if err := w.repr(key, depth+1); err != nil {
			return err
		}
		if err := w.write(": "); err != nil {
			return err
		}
		if err := w.repr(d.vals[i], depth+1); err != nil {
			return err
		}
	}
	return w.write("}")
}

// numeral prints an integer or a float.
func numeral(v Value) (string, bool, error) {
	switch v := v.(type) {
	case int:
		return strconv.Itoa(v), true, nil
	case *big.Int:
		if v.BitLen() > maxIntDigits*10/3 {
			return "", false, valueError("Exceeds the limit (%d digits) for integer string conversion", maxIntDigits)
		}
		return v.String(), true, nil
	case float64:
		return floatRepr(v), true, nil
	}
	return "", false, nil
}

// floatRepr is Python's repr of a float: the shortest digits that give it back.
func floatRepr(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	s := strconv.FormatFloat(f, 'e', -1, 64)
	exp, _ := strconv.Atoi(s[strings.IndexByte(s, 'e')+1:]) // FormatFloat always writes one
	if exp < -4 || exp >= 16 {
		return s
	}
	s = strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote is Python's repr of a string.
func quote(s string) string {
	q := '\''
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	var out strings.Builder
	out.WriteRune(q)
	for _, r := range s {
		switch {
		case r == q || r == '\\':
			out.WriteRune('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\r':
			out.WriteString(`\r`)
		case r == '\t':
			out.WriteString(`\t`)
		case unicode.IsPrint(r):
			out.WriteRune(r)
		default:
			out.WriteString(escapeRune(r))
		}
	}
	out.WriteRune(q)
	return out.String()
}

// escapeRune spells a character out as Python does.
func escapeRune(r rune) string {
	switch {
	case r < 0x100:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}

package python

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"d2nwg/internal/jinja"
)

const maxNesting = 200 // CPython's own limit is of this order

// Literal is ast.literal_eval(s): a string, number, list, tuple, dict, True, False or None in Python's notation. The
// error names the place of what isn't one.
func Literal(s string) (jinja.Value, error) {
	p := &literal{src: strings.TrimLeft(s, " \t")}
	v, err := p.tuple()
	if err != nil {
		return nil, err
	}
	p.space()
	if p.pos < len(p.src) {
		return nil, p.bad()
	}
	return v, nil
}

// LiteralPrefix reads the literal that s begins with and returns what follows it.
func LiteralPrefix(s string) (v jinja.Value, rest string, err error) {
	p := &literal{src: s}
	v, err = p.value()
	return v, p.src[p.pos:], err
}

type literal struct {
	src   string
	pos   int
	depth int // of brackets, in which line breaks are blanks
}

func (p *literal) bad() error {
	near := []rune(p.src[p.pos:])
	return fmt.Errorf("no Python literal at byte %d: %q", p.pos, string(near[:min(len(near), 20)]))
}

func (p *literal) space() {
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		if c != ' ' && c != '\t' && c != '\f' && (c != '\n' && c != '\r' || p.depth == 0 && strings.Trim(p.src[p.pos:], " \t\r\n") != "") {
			return
		}
		p.pos++
	}
}

func (p *literal) take(text string) bool {
	p.space()
	if !strings.HasPrefix(p.src[p.pos:], text) {
		return false
	}
	p.pos += len(text)
	return true
}

// tuple parses values separated by commas without brackets, or one value.
func (p *literal) tuple() (jinja.Value, error) {
	first, err := p.value()
	if err != nil || !p.take(",") {
		return first, err
	}
	items := jinja.Tuple{first}
	for p.space(); p.pos < len(p.src) && p.src[p.pos] != ')'; {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if !p.take(",") {
			break
		}
		p.space()
	}
	return items, nil
}

func (p *literal) value() (jinja.Value, error) {
	p.space()
	if p.pos == len(p.src) {
		return nil, p.bad()
	}
	switch c := p.src[p.pos]; {
	case c == '[' || c == '(' || c == '{':
		return p.bracket(c)
	case c >= '0' && c <= '9' || c == '.':
		return p.number()
	case c == '-' || c == '+':
		p.pos++
		return p.signed(c)
	}
	for word, v := range map[string]jinja.Value{"True": true, "False": false, "None": nil} {
		if rest, ok := strings.CutPrefix(p.src[p.pos:], word); ok && !startsWord(rest) {
			p.pos += len(word)
			return v, nil
		}
	}
	return p.text()
}

func startsWord(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && jinja.IsWord(r)
}

func (p *literal) signed(sign byte) (jinja.Value, error) {
	p.space()
	if p.pos == len(p.src) || strings.IndexByte("0123456789.+-", p.src[p.pos]) < 0 {
		return nil, p.bad()
	}
	if p.depth++; p.depth > maxNesting {
		return nil, p.bad()
	}
	defer func() { p.depth-- }()
	v, err := p.value()
	if err != nil || sign == '+' {
		return v, err
	}
	switch v := v.(type) {
	case int:
		return -v, nil
	case float64:
		return -v, nil
	case *big.Int:
		return new(big.Int).Neg(v), nil
	}
	return nil, p.bad()
}

func (p *literal) bracket(open byte) (jinja.Value, error) {
	if p.depth++; p.depth > maxNesting {
		return nil, p.bad()
	}
	defer func() { p.depth-- }()
	p.pos++
	switch open {
	case '(':
		if p.take(")") {
			return jinja.Tuple{}, nil
		}
		v, err := p.tuple()
		if err == nil && !p.take(")") {
			err = p.bad()
		}
		return v, err
	case '[':
		list := &jinja.List{}
		for !p.take("]") {
			v, err := p.value()
			if err != nil {
				return nil, err
			}
			list.Items = append(list.Items, v)
			if !p.take(",") && !strings.HasPrefix(p.src[p.pos:], "]") {
				return nil, p.bad()
			}
		}
		return list, nil
	}
	return p.dict()
}

func (p *literal) dict() (jinja.Value, error) {
	d := jinja.NewDict()
	for !p.take("}") {
		key, err := p.value()
		if err != nil {
			return nil, err
		}
		if !p.take(":") {
			return nil, p.bad()
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if err := d.SetItem(key, v); err != nil {
			return nil, err
		}
		if !p.take(",") && !strings.HasPrefix(p.src[p.pos:], "}") {
			return nil, p.bad()
		}
	}
	return d, nil
}

func (p *literal) number() (jinja.Value, error) {
	end := p.pos
	for end < len(p.src) {
		c := p.src[end]
		exponent := (c == '+' || c == '-') && (p.src[end-1]|0x20) == 'e' && !strings.HasPrefix(p.src[p.pos:], "0x")
		if c != '.' && c != '_' && !exponent && !startsWord(p.src[end:]) {
			break
		}
		end++
	}
	word := p.src[p.pos:end]
	clean := strings.ReplaceAll(word, "_", "")
	lower := strings.ToLower(clean)
	base := map[string]int{"0x": 16, "0o": 8, "0b": 2}[lower[:min(2, len(lower))]]
	if base == 0 && strings.ContainsAny(lower, ".e") {
		f, err := strconv.ParseFloat(clean, 64)
		if err != nil && f == 0 {
			return nil, p.bad()
		}
		p.pos = end
		return f, nil
	}
	digits := lower
	if base == 0 {
		base = 10
		if len(digits) > 1 && digits[0] == '0' && strings.Trim(digits, "0") != "" {
			return nil, p.bad() // leading zeros
		}
	} else {
		digits = digits[2:]
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok || len(digits) > 4300 {
		return nil, p.bad()
	}
	p.pos = end
	if n.IsInt64() {
		return int(n.Int64()), nil
	}
	return n, nil
}

// text parses strings that follow each other as one.
func (p *literal) text() (jinja.Value, error) {
	var out strings.Builder
	for found := false; ; found = true {
		p.space()
		rest := p.src[p.pos:]
		prefix := strings.IndexAny(rest, `'"`)
		if prefix < 0 || prefix > 1 || prefix == 1 && !strings.Contains("rRuU", rest[:1]) {
			if !found {
				return nil, p.bad()
			}
			return out.String(), nil
		}
		raw := prefix == 1 && strings.Contains("rR", rest[:1])
		p.pos += prefix
		if err := p.quoted(&out, raw); err != nil {
			return nil, err
		}
	}
}

func (p *literal) quoted(out *strings.Builder, raw bool) error {
	start := p.pos
	quote := p.src[p.pos : p.pos+1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(p.src[p.pos:], long) {
		quote = long
	}
	p.pos += len(quote)
	for p.pos < len(p.src) {
		rest := p.src[p.pos:]
		switch {
		case strings.HasPrefix(rest, quote):
			p.pos += len(quote)
			return nil
		case rest[0] == '\\' && len(rest) > 1:
			if err := p.escape(out, raw); err != nil {
				return err
			}
		case (rest[0] == '\n' || rest[0] == '\r') && len(quote) == 1:
			p.pos = start
			return p.bad()
		default:
			out.WriteByte(rest[0])
			p.pos++
		}
	}
	p.pos = start
	return p.bad()
}

var escapes = map[byte]string{'\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r",
	't': "\t", 'v': "\v", '\n': ""}

var hexDigits = map[byte]int{'x': 2, 'u': 4, 'U': 8}

func (p *literal) escape(out *strings.Builder, raw bool) error {
	c := p.src[p.pos+1]
	if raw {
		_, n := utf8.DecodeRuneInString(p.src[p.pos+1:])
		out.WriteString(p.src[p.pos : p.pos+1+n])
		p.pos += 1 + n
		return nil
	}
	if text, ok := escapes[c]; ok {
		out.WriteString(text)
		p.pos += 2
		return nil
	}
	if n := hexDigits[c]; n > 0 {
		if len(p.src) < p.pos+2+n {
			return p.bad()
		}
		code, err := strconv.ParseUint(p.src[p.pos+2:p.pos+2+n], 16, 32)
		if err != nil || code > utf8.MaxRune {
			return p.bad()
		}
		out.WriteRune(rune(code))
		p.pos += 2 + n
		return nil
	}
	if c >= '0' && c <= '7' {
		n := 1
		for n < 3 && p.pos+1+n < len(p.src) && p.src[p.pos+1+n] >= '0' && p.src[p.pos+1+n] <= '7' {
			n++
		}
		code, _ := strconv.ParseUint(p.src[p.pos+1:p.pos+1+n], 8, 32) // digits of base 8, checked above
		out.WriteRune(rune(code))
		p.pos += 1 + n
		return nil
	}
	if c == 'N' {
		return p.bad() // \N{name}: no table of names here
	}
	out.WriteByte('\\')
	p.pos++
	return nil
}

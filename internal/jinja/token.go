package jinja

import (
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind int

const (
	endToken tokenKind = iota // the zero token: nothing follows
	nameToken
	stringToken
	numberToken // value is an int, *big.Int or float64
	opToken
	spaceToken
)

// token is a word of an expression.
type token struct {
	kind  tokenKind
	text  string
	value Value
	line  int
}

func (t token) String() string {
	if t.kind == endToken {
		return "end of statement"
	}
	return t.text
}

func (t token) is(op string) bool      { return t.kind == opToken && t.text == op }
func (t token) named(name string) bool { return t.kind == nameToken && t.text == name }

var (
	floatNumber = regexp.MustCompile(`^(\d+_)*\d+((\.(\d+_)*\d+)?[eE][+\-]?(\d+_)*\d+|\.(\d+_)*\d+)`)
	intNumber   = regexp.MustCompile(`^(?i:0b(_?[0-1])+|0o(_?[0-7])+|0x(_?[\da-f])+|[1-9](_?\d)*|0(_?0)*)`)
	operators   = []string{"//", "**", "==", "!=", ">=", "<=",
		"+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"}
)

// scan reads the token at pos and returns its length in bytes.
func scan(src string, pos, line int) (token, int, error) {
	rest := src[pos:]
	r, n := utf8.DecodeRuneInString(rest)
	if IsSpace(r) {
		return token{kind: spaceToken}, n, nil
	}
	if r >= '0' && r <= '9' {
		afterDot := pos > 0 && src[pos-1] == '.'
		if t, ok := scanNumber(rest, line, afterDot); ok {
			return t, len(t.text), nil
		}
	}
	if IsWord(r) {
		end := strings.IndexFunc(rest, func(r rune) bool { return !IsWord(r) })
		if end < 0 {
			end = len(rest)
		}
		if r >= '0' && r <= '9' {
			return token{}, 0, syntax(line, "Invalid character in identifier")
		}
		return token{kind: nameToken, text: rest[:end], line: line}, end, nil
	}
	if r == '\'' || r == '"' {
		end := stringEnd(rest)
		if end < 0 {
			return token{}, 0, syntax(line, "unexpected char %q: the string isn't closed", string(r))
		}
		s, err := unescape(rest[1:end-1], line)
		return token{kind: stringToken, text: s, line: line}, end, err
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			return token{kind: opToken, text: op, line: line}, len(op), nil
		}
	}
	return token{}, 0, syntax(line, "unexpected char %q", string(r))
}

func scanNumber(s string, line int, afterDot bool) (token, bool) {
	if m := floatNumber.FindString(s); m != "" && !afterDot {
		f, err := strconv.ParseFloat(strings.ReplaceAll(m, "_", ""), 64)
		_ = err // out of range is ±Inf, as in Python
		return token{kind: numberToken, text: m, value: f, line: line}, true
	}
	m := intNumber.FindString(s)
	if m == "" {
		return token{}, false
	}
	n, ok := new(big.Int).SetString(strings.ReplaceAll(m, "_", ""), 0)
	if !ok { // 00 is a zero to Python and no number to Go
		n = new(big.Int)
	}
	return token{kind: numberToken, text: m, value: normInt(n), line: line}, true
}

// stringEnd returns where the string literal at the start of s ends, -1 where it doesn't.
func stringEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return -1
}

var simpleEscapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': "\\", '\'': "'", '"': "\"", 'a': "\a",
	'b': "\b", 'f': "\f", 'v': "\v", '\n': ""}

// unescape decodes a string literal as Python's unicode-escape does.
func unescape(s string, line int) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var out strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			out.WriteByte(s[i])
			i++
			continue
		}
		c := s[i+1]
		if plain, ok := simpleEscapes[c]; ok {
			out.WriteString(plain)
			i += 2
			continue
		}
		if c >= '0' && c <= '7' {
			end := i + 2
			for end < len(s) && end < i+4 && s[end] >= '0' && s[end] <= '7' {
				end++
			}
			n, _ := strconv.ParseUint(s[i+1:end], 8, 16) // at most 0o777
			out.WriteRune(rune(n))
			i = end
			continue
		}
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
		if digits > 0 {
			if i+2+digits > len(s) {
				return "", syntax(line, "truncated \\%cXX escape", c)
			}
			n, err := strconv.ParseUint(s[i+2:i+2+digits], 16, 32)
			if err != nil || n > utf8.MaxRune {
				return "", syntax(line, "illegal \\%c escape", c)
			}
			out.WriteRune(rune(n))
			i += 2 + digits
			continue
		}
		if c == 'N' {
			return "", syntax(line, "characters by name (\\N) aren't supported")
		}
		out.WriteByte('\\')
		if c >= utf8.RuneSelf { // Jinja2 writes the character as an escape first, and the backslash swallows its own
			r, n := utf8.DecodeRuneInString(s[i+1:])
			out.WriteString(strings.TrimPrefix(escapeRune(r), `\`))
			i += 1 + n
			continue
		}
		i++
	}
	return out.String(), nil
}

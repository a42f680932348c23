package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// stringFunc is a method of str, its required parameters being those before required.
type stringFunc struct {
	required int
	params   []string
	fn       func(rt *run, s string, b bound) (Value, error)
}

// stringMethod binds a method of str to s.
func stringMethod(s, name string) (Value, bool) {
	if name == "format" || name == "format_map" {
		return &builtin{name, func(rt *run, args arguments) (Value, error) { return rt.format(s, name, args) }}, true
	}
	m, ok := stringMethods[name]
	if !ok {
		return nil, false
	}
	return method(name, m.required, m.params, func(rt *run, b bound) (Value, error) {
		if err := rt.charge(len(s)); err != nil { // what it looks through and, but for a few that count more, builds
			return nil, err
		}
		return m.fn(rt, s, b)
	}), true
}

// plainMethod is one without arguments.
func plainMethod(fn func(s string) Value) stringFunc {
	return stringFunc{0, nil, func(_ *run, s string, _ bound) (Value, error) { return fn(s), nil }}
}

var stringMethods map[string]stringFunc

func init() { // the table refers to methods that refer to it
	stringMethods = map[string]stringFunc{
		"upper":      plainMethod(func(s string) Value { return Upper(s) }),
		"lower":      plainMethod(func(s string) Value { return Lower(s) }),
		"casefold":   plainMethod(func(s string) Value { return cases.Fold().String(s) }),
		"title":      plainMethod(func(s string) Value { return title(s) }),
		"capitalize": plainMethod(func(s string) Value { return Capitalize(s) }),
		"swapcase":   plainMethod(func(s string) Value { return swapCase(s) }),
		"isascii":    plainMethod(func(s string) Value { return isASCII(s) }),
		"isalpha":    plainMethod(func(s string) Value { return every(s, unicode.IsLetter) }),
		"isdigit":    plainMethod(func(s string) Value { return every(s, IsDigit) }),
		"isdecimal":  plainMethod(func(s string) Value { return every(s, unicode.IsDigit) }),
		"isnumeric":  plainMethod(func(s string) Value { return every(s, unicode.IsNumber) }),
		"isspace":    plainMethod(func(s string) Value { return every(s, IsSpace) }),
		"isalnum": plainMethod(func(s string) Value {
			return every(s, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) })
		}),
		"isprintable": plainMethod(func(s string) Value { return s == "" || every(s, unicode.IsPrint) }),
		"isidentifier": plainMethod(func(s string) Value {
			return every(s, IsWord) && !unicode.IsNumber([]rune(s)[0])
		}),
		"isupper":    plainMethod(func(s string) Value { return s == Upper(s) && s != Lower(s) }),
		"islower":    plainMethod(func(s string) Value { return s == Lower(s) && s != Upper(s) }),
		"istitle":    plainMethod(func(s string) Value { return s == title(s) && Lower(s) != Upper(s) }),
		"splitlines": {0, []string{"keepends"}, splitLinesMethod},
		"strip":      {0, []string{"chars"}, stripMethod(true, true)},
		"lstrip":     {0, []string{"chars"}, stripMethod(true, false)},
		"rstrip":     {0, []string{"chars"}, stripMethod(false, true)},
		"startswith": {1, []string{"prefix", "start", "end"}, affixMethod(strings.HasPrefix)},
		"endswith":   {1, []string{"suffix", "start", "end"}, affixMethod(strings.HasSuffix)},
		"replace":    {2, []string{"old", "new", "count"}, replaceMethod},
		"split":      {0, []string{"sep", "maxsplit"}, splitMethod(false)},
		"rsplit":     {0, []string{"sep", "maxsplit"}, splitMethod(true)},
		"join":       {1, []string{"iterable"}, joinMethod},
		"find":       {1, []string{"sub", "start", "end"}, findMethod(strings.Index, false)},
		"rfind":      {1, []string{"sub", "start", "end"}, findMethod(strings.LastIndex, false)},
		"index":      {1, []string{"sub", "start", "end"}, findMethod(strings.Index, true)},
		"rindex":     {1, []string{"sub", "start", "end"}, findMethod(strings.LastIndex, true)},
		"count":      {1, []string{"sub", "start", "end"}, countMethod},
		"center":     {1, []string{"width", "fillchar"}, padMethod('^')},
		"ljust":      {1, []string{"width", "fillchar"}, padMethod('<')},
		"rjust":      {1, []string{"width", "fillchar"}, padMethod('>')},
		"zfill":      {1, []string{"width"}, zfillMethod},
		"partition":  {1, []string{"sep"}, partitionMethod(strings.Index, false)},
		"rpartition": {1, []string{"sep"}, partitionMethod(strings.LastIndex, true)},
		"removeprefix": {1, []string{"prefix"}, func(_ *run, s string, b bound) (Value, error) {
			prefix, err := b.text(0, "removeprefix")
			return strings.TrimPrefix(s, prefix), err
		}},
		"removesuffix": {1, []string{"suffix"}, func(_ *run, s string, b bound) (Value, error) {
			suffix, err := b.text(0, "removesuffix")
			return strings.TrimSuffix(s, suffix), err
		}},
		"expandtabs": {0, []string{"tabsize"}, expandTabsMethod},
	}
}

func every(s string, is func(rune) bool) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return !is(r) }) < 0
}

// IsDigit is Python's isdigit for one character: decimals and what stands for them in super- and subscripts.
func IsDigit(r rune) bool {
	return unicode.IsDigit(r) || r == '²' || r == '³' || r == '¹' || r == '⁰' || r >= '⁴' && r <= '⁹' ||
		r >= '₀' && r <= '₉' || r >= '①' && r <= '⑨'
}

// The full case mappings, as Python has them: "ß" becomes "SS".
func Upper(s string) string {
	if isASCII(s) {
		return strings.ToUpper(s)
	}
	return cases.Upper(language.Und).String(s)
}

func Lower(s string) string {
	if isASCII(s) {
		return strings.ToLower(s)
	}
	return cases.Lower(language.Und).String(s)
}

// titleRune is the title case of one character.
func titleRune(r rune) string {
	if t := unicode.ToTitle(r); t != r {
		return string(t)
	}
	u := []rune(Upper(string(r)))
	if len(u) > 1 { // ß → Ss
		return string(u[0]) + Lower(string(u[1:]))
	}
	return string(r)
}

func Capitalize(s string) string {
	if s == "" {
		return ""
	}
	r, n := utf8.DecodeRuneInString(s)
	return titleRune(r) + Lower(s[n:])
}

// title is str.title: a letter after anything but a letter is a capital.
func title(s string) string {
	var out strings.Builder
	inside := false
	low := []rune(Lower(s))
	plain := []rune(s)
	for i, r := range plain {
		switch {
		case !inside:
			out.WriteString(titleRune(r))
		case len(low) == len(plain):
			out.WriteRune(low[i])
		default:
			out.WriteString(Lower(string(r)))
		}
		inside = unicode.IsUpper(r) || unicode.IsLower(r) || unicode.IsTitle(r)
	}
	return out.String()
}

func swapCase(s string) string {
	var out strings.Builder
	for _, r := range s {
		if unicode.IsUpper(r) {
			out.WriteString(Lower(string(r)))
		} else {
			out.WriteString(Upper(string(r)))
		}
	}
	return out.String()
}

package python

import (
	"strings"
	"testing"
	"unicode/utf8"

	"d2nwg/internal/jinja"
)

// The expected values are those of CPython 3.11's ast.literal_eval, printed with repr.
func TestLiteral(t *testing.T) {
	for source, want := range map[string]string{
		`['Mack', "Ana's"]`: `['Mack', "Ana's"]`, `(1,)`: `(1,)`, `()`: `()`, `1, 2`: `(1, 2)`, `{'a': [1, -2.5e3], 2: None}`: `{'a': [1, -2500.0], 2: None}`,
		` True`: `True`, `'a' "b" '''c'''`: `'abc'`, `"\x41\u00e9\101\
"`: `'AéA'`, `r'\n'`: `'\\n'`, `0x_1F`: `31`, `1_000`: `1000`, `00`: `0`, `--1`: `1`, `"""a
b"""`: `'a\nb'`, "[1,\n 2]": `[1, 2]`, `99999999999999999999`: `99999999999999999999`, `'\d'`: `'\\d'`, `.5`: `0.5`, `1.`: `1.0`, `((1))`: `1`, `u'x'`: `'x'`,
	} {
		v, err := Literal(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := jinja.Repr(v); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", source, got, err, want)
		}
	}
	for _, source := range []string{"", "x", "None or", "[1", "'a", "'a\nb'", "01", "{[]: 1}", "f()", "1 2", "-'a'", "+", "é",
		"²", strings.Repeat("[", 9999), strings.Repeat("-", 9999) + "1", "1\n2", "\\", "'\\x4'", "{1:}", "[,]", "(,)"} {
		if v, err := Literal(source); err == nil {
			t.Errorf("%.20q: %v, want an error", source, v)
		}
	}
}

func FuzzLiteral(f *testing.F) {
	f.Add(`[1, 'a', {"b": (None, -2.5)}]`)
	f.Fuzz(func(t *testing.T, source string) {
		v, err := Literal(source)
		if err != nil {
			return
		}
		text, err := jinja.Repr(v)
		if err != nil || !utf8.ValidString(source) || strings.ContainsAny(source, "eEfFnN") { // infinities and NaN have no literal
			return
		}
		again, err := Literal(text)
		if err != nil || !jinja.Equal(v, again) {
			t.Errorf("%q became %q, %v", source, text, err)
		}
	})
}

package chat

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"d2nwg/safetensors"
)

// hostile are templates that would run forever, exhaust memory or overflow the stack.
var hostile = map[string]string{
	"range":         "{{ range(10**9) }}",
	"nested ranges": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
	"doubling text": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
	"adding text":   "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
	"doubling list": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
	"nesting list": "{% set ns = namespace(x=[1]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}" +
		"{{ ns.x }}",
	"wide tree": "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}" +
		"{{ ns.x }}",
	"wide compare": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}" +
		"{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
	"wide key": "{% set ns = namespace(x=(1,)) %}{% for i in range(99) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}" +
		"{{ {ns.x: 1} }}",
	"itself": "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
	"deep JSON": "{% set ns = namespace(x={}) %}{% for i in range(999) %}{% set ns.x = {'a': ns.x} %}{% endfor %}" +
		"{{ ns.x|tojson }}",
	"repeat":        "{{ 'a' * 10**12 }}",
	"repeat list":   "{{ [1] * 10**12 }}",
	"power":         "{{ 9 ** (9 ** 9) }}",
	"shifted power": "{{ 2 ** (10**12) }}",
	"center":        "{{ 'a'.center(10**11) }}",
	"width":         "{{ '%99999999999d' % 1 }}",
	"star width":    "{{ '%*d' % (10**11, 1) }}",
	"precision":     "{{ '%.999999999f' % 1 }}",
	"format width":  "{{ '{:99999999999}'.format('a') }}",
	"indent":        "{{ 'a\nb'|indent(10**11) }}",
	"JSON indent":   "{{ [1]|tojson(indent=10**11) }}",
	"replace":       "{% set x = 'a' * 99999 %}{{ x.replace('', x) }}",
	"join":          "{% set x = 'a' * 99999 %}{{ x.join(x) }}",
	"tabs":          "{{ '\t'.expandtabs(10**11) }}",
	"zeros":         "{{ '1'.zfill(10**11) }}",
	"slices":        "{{ [1]|slice(10**11)|list }}",
	"batch":         "{{ [1]|batch(10**11, 0)|list }}",
	"output":        "{% for i in range(99999) %}" + strings.Repeat("x", 9999) + "{% endfor %}",
	"recursion":     "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
	"two macros":    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
	"caller":        "{% macro m() %}{% call m() %}{% endcall %}{{ caller }}{% endmacro %}{% call m() %}{% endcall %}",
	"loop":          "{% set l = [1] %}{% for x in l recursive %}{{ loop(l) }}{% endfor %}",
	"brackets":      "{{ " + strings.Repeat("(", 99999) + strings.Repeat(")", 99999) + " }}",
	"lists":         "{{ " + strings.Repeat("[", 99999) + strings.Repeat("]", 99999) + " }}",
	"signs":         "{{ " + strings.Repeat("-", 99999) + "1 }}",
	"sum":           "{{ 1" + strings.Repeat("+1", 99999) + " }}",
	"attributes":    "{{ a" + strings.Repeat(".a", 99999) + " }}",
	"filters":       "{{ a" + strings.Repeat("|e", 99999) + " }}",
	"targets":       "{% set " + strings.Repeat("(", 99999) + "a" + strings.Repeat(")", 99999) + " = 1 %}",
	"tags":          strings.Repeat("{% if 1 %}", 99999) + strings.Repeat("{% endif %}", 99999),
	"source":        strings.Repeat("x", 2<<20),
}

func TestHostileTemplatesEnd(t *testing.T) {
	for name, source := range hostile {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			tmpl, err := Parse(source)
			if err == nil {
				_, err = tmpl.RenderJSON([]byte("{}"), goldenNow)
			}
			if !errors.Is(err, ErrLimit) {
				t.Errorf("error %v, want ErrLimit", err)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// Nots and concatenations nest as well, but harmlessly.
func TestLongRowsAreFine(t *testing.T) {
	for _, source := range []string{
		"{{ " + strings.Repeat("not ", 99999) + "1 }}",
		"{{ 'a'" + strings.Repeat("~'a'", 999) + " }}",
		"{% if 0 %}" + strings.Repeat("{% elif 0 %}", 9999) + "{% endif %}",
	} {
		tmpl, err := Parse(source)
		if err != nil {
			t.Errorf("%.20s…: %v", source, err)
			continue
		}
		if _, err := tmpl.RenderJSON([]byte("{}"), goldenNow); err != nil {
			t.Errorf("%.20s…: %v", source, err)
		}
	}
}

func TestTemplatesReadNoFiles(t *testing.T) {
	for _, source := range []string{
		"{% include 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}", "{% extends 'x' %}",
		"{% block a %}{% endblock %}",
	} {
		name := strings.Fields(source)[1]
		_, err := Parse(source)
		if !errors.Is(err, safetensors.ErrFormat) || !strings.Contains(err.Error(), `"`+name+`" isn't supported`) {
			t.Errorf("%s: %v", source, err)
		}
	}
}

func TestHostileJSON(t *testing.T) {
	tmpl, err := Parse("{{ a }}")
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{
		"", "[]", "null", "{", `{"a":}`, `{"a":1} x`, `{"a":` + strings.Repeat("9", 5000) + "}",
		`{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}", `{1:2}`,
	} {
		if _, err := tmpl.RenderJSON([]byte(data), goldenNow); !errors.Is(err, safetensors.ErrFormat) {
			t.Errorf("%.20s: %v", data, err)
		}
	}
}

func TestConcurrentRenderings(t *testing.T) {
	tmpl, err := Parse("{% macro m(x) %}[{{ x }}]{% endmacro %}{% set ns = namespace(n=0) %}" +
		"{% for x in messages %}{% set ns.n = ns.n + 1 %}{{ m(x.content) }}{{ ns.n }}{% endfor %}{{ nope|default('-') }}")
	if err != nil {
		t.Fatal(err)
	}
	broken, err := Parse("{% for x in messages %}{{ x.a.b.c }}{% endfor %}")
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Messages: []byte(`[{"role":"user","content":"a"},{"role":"user","content":"b"}]`), Now: goldenNow}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got, err := tmpl.Render(in); err != nil || got != "[a]1[b]2-" {
					t.Errorf("%q, %v", got, err)
				}
				if _, err := broken.Render(in); err == nil {
					t.Error("no error")
				}
			}
		})
	}
	wg.Wait()
}

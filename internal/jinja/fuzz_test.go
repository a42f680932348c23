package jinja

import (
	"strings"
	"testing"
)

// FuzzRender wants no panic and no hang from any template and any data.
func FuzzRender(f *testing.F) {
	f.Add("{% for m in messages %}{{ m.content|trim ~ 1 }}{% endfor %}", `{"messages":[{"content":" a "}]}`)
	f.Add("{% macro m(a=1) %}{{ a|tojson(indent=2) }}{% endmacro %}{{ m({'a': [1, 2.5, none]}) }}", `{}`)
	f.Add("{{ '%5.2f' % x }}{{ '{:>4}'.format(x) }}{{ x[::-1] }}{{ x is number }}", `{"x":1}`)
	f.Add("{%- if a and not b or c in d -%}\n {# x #}{% raw %}{{{% endraw %}{%- endif %}", `{"a":true,"d":"c","c":"c"}`)
	f.Add("{% set a, b = x.split(',', 1) %}{{ a.title() }}{{ x|replace('a', 'b')|indent }}", `{"x":"a,b"}`)
	f.Add("{{ strftime_now('%-d %B %_H') }}{{ range(3)|map('string')|join(x) }}", `{"x":""}`)
	f.Fuzz(func(t *testing.T, source, data string) {
		if len(source) > 4096 || len(data) > 4096 {
			return
		}
		tmpl, err := Parse(source, Settings{TrimBlocks: len(source)%2 == 0, Strict: len(source)%3 == 0})
		if err != nil {
			return
		}
		decoded, err := DecodeJSON([]byte(data))
		if err != nil {
			return
		}
		vars, ok := decoded.(*Dict)
		if !ok {
			return
		}
		// Most of the limits is used up already, so that an input takes milliseconds.
		rt := &run{strict: tmpl.settings.Strict, steps: maxSteps * 99 / 100, work: maxWork * 99 / 100}
		if _, err := tmpl.render(vars, rt); err != nil && strings.Contains(err.Error(), "engine failed") {
			t.Error(err) // a panic
		}
	})
}

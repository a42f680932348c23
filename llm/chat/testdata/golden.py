"""Writes jinja.jsonl: what Jinja2 makes of small templates, in the environment that transformers builds for chat
templates. Run it with Python 3.11 or newer and Jinja2 3.1: python3 golden.py > jinja.jsonl"""

import copy
import json
from datetime import datetime

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime(2025, 3, 9, 7, 4, 5)


class Generation(Extension):
    """The tag {% generation %}: a call block that prints its body, as transformers' AssistantTracker."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


ENV = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
ENV.filters["tojson"] = tojson
ENV.globals["raise_exception"] = raise_exception
ENV.globals["strftime_now"] = NOW.strftime

DATA = json.loads(
    """{"s": "Hello, World", "u": "Grüße, ＡB straße 你好 🙂", "e": "", "n": null, "t": true, "f": false, "i": 7, "neg": -3,
  "x": 1.0, "y": 2.5, "big": 123456789012345678901234567890, "tiny": 1e-7, "huge": 1e100, "sp": "  a b \\n\\tc  ",
  "l": [3, 1, 2], "words": ["b", "A", "c", "a"], "d": {"zeta": 1, "alpha": [1, "two", null, true], "Beta": {"q": "it's"}},
  "messages": [{"role": "system", "content": "Be <brief> & \\"kind\\"."}, {"role": "user", "content": "Hi\\nthere"},
    {"role": "assistant", "content": "<think>hm</think>Yes", "tool_calls": [{"function": {"name": "f", "arguments":
    {"b": 1, "a": "é"}}}]}, {"role": "tool", "content": [{"type": "text", "text": "out"}, {"type": "image"}]}],
  "nested": [[1, [2, [3]]], []], "recs": [{"n": "x", "v": 2}, {"n": "y", "v": 1}, {"n": "X", "v": 2}, {"v": 0}],
  "tree": [{"v": 1, "c": [{"v": 2, "c": []}, {"v": 3, "c": [{"v": 4, "c": []}]}]}]}"""
)

# Expressions, each printed by itself.
EXPRESSIONS = r"""
s
u
n
t
f
x
y
big
tiny
huge
l
d
messages
nested
missing
missing.x
missing[0]
missing()
n.x
n.x.y
n['x']
s.x
d.missing
d.zeta.x
d['alpha'][1]
d.alpha[-1]
d.alpha[-9]
d.items
d['items']
d.items()
d.keys()
d.values()
d.items()|list
d.get('zeta')
d.get('nope')
d.get('nope', 4)
d.copy()
d.update({'a': 1})
d.pop('zeta')
l.append(1)
l.sort()
l.index(1)
l.index(99)
l.count(3)
s.__class__
s._x
messages[-1]
messages[-1].content[0].text
messages[1:]|length
messages[::-1]|map(attribute='role')|list
messages[:-1]|map(attribute='role')|join(',')
messages[1:3]|map(attribute='role')|join(',')
l[::2]
l[-2:]
l[5:]
l[2:0:-1]
l[::-1]
s[0]
s[-1]
s[1:4]
s[::-1]
u[-1]
u[7:9]
u[::-1]
u|length
n[1:]
d[1:]
missing[1:]
l[::0]
1 + 2
1 + 2.0
1 / 2
4 / 2
7 // 2
-7 // 2
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
2 ** 0.5
2 ** 3 ** 2
-2 ** 2
-i
+i
-x
- n
1 / 0
1 // 0
1 % 0
1.5 % 0
big + 1
big * big
big // 7
big % 1000
big / 3
-big
9223372036854775807 + 1
1_000
0x1F
0b101
0o17
1e3
1.5e-3
1E400
00
True + 1
t + t
s + 1
1 + s
s + n
s + missing
l + l
l + [4]
l + (4,)
(1,) + (2,)
'ab' * 3
3 * 'ab'
[1] * 2
'a' * -1
'%s is %d' % ('x', 3)
'%05.2f|%-5s|%5s|%+d|%x|%X|%o|%e|%g|%%' % (3.14159, 'ab', 'cd', 5, 255, 255, 8, 12345.678, 0.0001)
'%r %s' % ('a', n)
'%(a)s-%(b)03d' % {'a': 1, 'b': 2}
'%s' % l
'%s %s' % 'a'
'%d' % 'a'
'%s' % ()
'%c%c' % (65, 'b')
'%.3s|%10.2s|' % ('abcdef', 'xyz')
'%i' % 3.99
'%5d|%-5d|%05d|% d' % (1, 2, 3, 4)
1 ~ 2 ~ 'a' ~ n ~ missing ~ t ~ x
1 == 1.0
t == 1
'1' == 1
l == [3, 1, 2]
(1, 2) == [1, 2]
d == d.copy()
n == none
n == missing
missing == missing2
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2 != 1
'a' < 'b'
'a' < 1
n < 1
missing < 1
l < [3, 2]
(1, 2) < (1, 3)
1 in l
'ell' in s
1 in s
'zeta' in d
'x' in missing
1 in 5
n in [none]
'a' not in 'bcd'
not 1 in l
not t and f
not not t
t and 'yes' or 'no'
e or n or 0 or 'last'
e and s
n and n.x.y.z
'a' if t else 'b'
'a' if f else 'b'
'a' if f
('a' if f) is undefined
('a' if f else 'b') ~ 'c'
'a' if t else 'b' if f else 'c'
'x' if f else 'y' if f else 'z'
s is string
n is string
i is number
t is number
t is integer
i is integer
x is float
x is integer
t is boolean
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
missing is sequence
n is iterable
s is iterable
missing is iterable
(l|map('upper')) is iterable
(l|map('upper')) is sequence
i is iterable
n is none
n is not none
missing is defined
missing is not defined
missing is undefined
d.zeta is defined
d.x is defined
t is true
1 is true
f is false
n is false
i is odd
i is even
i is divisibleby 7
i is divisibleby(2)
i is eq 7
i is gt 3
i is lessthan(3)
i is in [1, 7]
i is in l
s is in 'xHello, Worldx'
n is sameas none
t is sameas true
1 is sameas true
s is lower
'abc' is lower
'ABC' is upper
raise_exception is callable
s is callable
'upper' is filter
'nope' is filter
'odd' is test
s is nope
i is defined and i is number
i is string or i is number
i is not string and i is not mapping
not i is string
i is number == true
s|nope
s|upper
s|lower
u|upper
u|lower
u|title
u|capitalize
s|title
'foo-bar (baz) it\'s'|title
sp|trim
sp|trim('c ')
s|trim('Hd')
s|length
l|length
d|length
d|count
n|length
i|length
missing|length
l|first
l|last
[]|first
[]|last
s|first
d|first
d|last
l|join
l|join(', ')
words|join('|')
recs|join(',', attribute='v')
s|join('-')
l|sort
l|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
recs|sort(attribute='v')|map(attribute='v')|list
recs[:3]|sort(attribute='v,n')|map(attribute='n')|list
[1, 'a']|sort
l|list
s|list
d|list
d|dictsort
d|dictsort(true)
{'b': 1, 'a': 2}|dictsort(by='value')
{'b': 1, 'a': 2}|dictsort(reverse=true)
l|reverse|list
s|reverse
l|reverse|length
words|unique|list
words|unique(true)|list
recs|unique(attribute='v')|map(attribute='v')|list
l|min
l|max
[]|min
words|max
recs|max(attribute='v')
l|sum
recs|sum(attribute='v')
recs|sum('v', 10)
d|items|list
missing|items|list
l|items
l|map('string')|list
words|map('upper')|join
recs|map(attribute='n')|list
recs|map(attribute='n', default='-')|list
messages|map(attribute='content.0')|list
l|map
l|select('odd')|list
l|select|list
l|reject('odd')|list
l|select('gt', 1)|list
words|select('in', ['a', 'b'])|list
recs|selectattr('n')|list
recs|selectattr('n', 'defined')|list
recs|selectattr('v', 'equalto', 2)|map(attribute='n')|list
recs|selectattr('v', '==', 2)|list|length
recs|rejectattr('n')|list
messages|selectattr('role', 'ne', 'system')|map(attribute='role')|list
messages|selectattr('role', 'in', ['user', 'tool'])|list|length
messages|selectattr('tool_calls', 'defined')|list|length
l|batch(2)|list
l|batch(2, 'x')|list
l|slice(2)|list
l|slice(2, 'x')|list
recs|groupby('v')|list|length
missing|default('d')
n|default('d')
n|default('d', true)
e|d('d', boolean=true)
missing|default
missing.x|default('d')
s|replace('l', 'L')
s|replace('l', 'L', 1)
i|replace(7, 8)
sp|indent
'a\nb\n\nc'|indent
'a\nb\n\nc'|indent(2, true)
'a\nb\n\nc'|indent('> ', blank=true)
'a\nb'|indent(width=1, first=True)
'a\n'|indent
'42'|int
'42.7'|int
'x'|int
'x'|int(-1)
'0x1f'|int(0, 16)
' 12 '|int
'1_000'|int
2.9|int
-2.9|int
n|int
t|int
'1e3'|int
missing|int
'3.5'|float
'x'|float
'x'|float(1.5)
i|float
'inf'|float
'nan'|float
-3|abs
-3.5|abs
2.567|round(2)
2.5|round
3.5|round
7|round
2.1|round(0, 'ceil')
2.9|round(method='floor')
2.567|round(1)|int
l|string
n|string
i|string + 'x'
'<a>'|escape
'<a href="x">\'</a>'|e
'<a>'|safe
('<a>'|safe) + '<b>'
'<b>' + ('<a>'|safe)
('<a>'|safe) ~ '<b>'
'<a>'|e|e
'<a>'|forceescape
'a b&c/d'|urlencode
{'a': 'b c', 'd': 1}|urlencode
'<p>a  <b>b</b></p>'|striptags
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(9, true)
'foo bar baz qux'|truncate(11)
'foo bar baz qux'|truncate(11, false, '..', 0)
'a b  c-d'|wordcount
'ab'|center(6)
'%s, %s'|format('a', 1)
'%(a)s'|format(a=2)
d|attr('items') is callable
s|upper|lower|title
s|trim|length
d|tojson
d|tojson(indent=2)
d|tojson(indent=0)
d|tojson(indent='--')
d|tojson(separators=(',', ':'))
d|tojson(separators=(',', ': '), indent=4)
d|tojson(sort_keys=true)
d|tojson(ensure_ascii=true)
u|tojson
u|tojson(ensure_ascii=true)
u|tojson(true)
x|tojson
huge|tojson
tiny|tojson
big|tojson
n|tojson
t|tojson
[]|tojson(indent=2)
{}|tojson(indent=2)
[[], {}, [1]]|tojson(indent=2)
(1, 2)|tojson
'\x00\x1f\x7f"\\/\b\f\n\r\t\u2028<>&\''|tojson
{1: 2, none: 3, true: 4, 1.5: 6}|tojson
missing|tojson
[missing]|tojson
{'a': 1e16, 'b': 1e15, 'c': 123456789.125, 'd': 1e-5, 'e': 0.0001, 'f': -0.0}|tojson
[1e16, 1e15, 0.1, 1e22, 1.5e300, 1e-5, 0.0001, 123456.789, -0.0, 5e-324]
'inf'|float|tojson
range(3)
range(3)|list
range(1, 10, 3)|list
range(5, 0, -2)|list
range(3)[1]
range(0)|length
range(3, 1)|list
range(100001)
dict(a=1, b=[2])
dict({'a': 1}, b=2)
dict([('a', 1)])
namespace(a=1)
namespace(a=1).a
namespace(a=1).b
namespace(a=1)['a']
cycler('a', 'b').next()
{'a': 1, 'b': {'c': [1, 2]}}
{'a': 1}['a']
{'a': 1}.a
{'a': 1, 'a': 2}
{1: 'x', 1.0: 'y', true: 'z'}
{(1, 2): 3}[(1, 2)]
{[1]: 2}
[1, 'a', none, true, 1.5, (1,), (), {}]
(1)
(1,)
()
1, 2
'a' 'b'
"it's"
'say "x"'
['it\'s', 'say "x"', 'both \' and "', 'tab\t', 'nl\n', 'é', '\u200b', '\x7f', '\\']
'\x41\u00e9\U0001F600\101\n\q'
'\é'
'a\
b'
s.upper()
s.lower().title()
s.replace('l', 'L').replace('o', '0', 1)
s.split(',')
s.split(', ')
s.split('l', 1)
s.rsplit('l', 1)
s.split('')
sp.split()
sp.split(none, 1)
sp.rsplit(none, 1)
sp.rsplit(maxsplit=2)
sp.split(' ')
''.split()
''.split(',')
sp.strip()
sp.lstrip()
sp.rstrip()
s.strip('Hd')
s.lstrip('He')
'\u00a0x\u3000'.strip()
s.startswith('Hell')
s.startswith(('x', 'H'))
s.startswith('ello', 1)
s.endswith('ld')
s.endswith(['ld'])
s.startswith(1)
s.find('o')
s.find('o', 5)
s.find('zz')
u.find('你')
s.rfind('o')
s.index('zz')
s.count('l')
s.count('')
', '.join(words)
', '.join(l)
''.join(d)
s.title()
'they\'re bill\'s ＡB'.title()
u.title()
u.upper()
'ǆ ß ﬁ'.title()
'ß'.capitalize()
'ΑΣ'.lower()
'HELLO wORLD'.capitalize()
'aBc'.swapcase()
'Straße'.casefold()
'abc'.isalpha()
'12'.isdigit()
'²'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
'a1'.isalnum()
' '.isspace()
'AB'.isupper()
'ab1'.islower()
'Ab Cd'.istitle()
'a_1'.isidentifier()
''.isalpha()
'ab'.center(7, '*')
'abc'.center(6)
'ab'.center(5)
'ab'.ljust(5) ~ '|'
'ab'.rjust(5, '.')
'-42'.zfill(6)
'a,b,c'.partition(',')
'a,b,c'.rpartition(',')
'abc'.partition(',')
'abc'.rpartition(',')
'abc'.removeprefix('a').removesuffix('c')
'a\tb'.expandtabs(4)
'a\nb\r\nc\rd\u2028e'.splitlines()
'a\nb'.splitlines(true)
'{} {} {}'.format(1, 'a', n)
'{0}-{1}-{0}'.format('a', 'b')
'{a} {b[0]} {c.x}'.format(a=1, b=[2], c={'x': 3})
'{a} {b[0]} {c[x]}'.format(a=1, b=[2], c={'x': 3})
'{:>5}|{:<5}|{:^5}|{:*^7}|{:05d}|{:.2f}|{:,}|{:x}|{:+d}|{:%}'.format('a', 'b', 'c', 'd', 42, 3.14159, 1234567, 255, 5, 0.5)
'{!r:>6} {{x}}'.format('a')
'{:{}}'.format('a', 4) ~ '|'
'{}'.format()
'{x}'.format_map({'x': 1})
'{:d}'.format('a')
'{:10.3}|'.format('abcdef')
'{:e} {:g} {:G} {:.3g}'.format(12345.678, 0.00001, 1e20, 1234.5)
'{:08.3f}|{: }|{:#x}|{:_}'.format(-3.14159, 5, 255, 1234567)
'{0.__class__}'.format('a')
s.nope()
i.bit_length
(1.5).is_integer()
strftime_now('%d %b %Y')
strftime_now('%Y-%m-%d %H:%M:%S %A %B %j %U %W %w %u %V %G %y %I %p %a')
strftime_now('%-d/%-m %e %D %F %T %R %% %f %c %x %X')
strftime_now('%b %d, %Y|%Z|%z|%h|%C|%g|%k|%l|%n|%t')
raise_exception('No way: ' ~ s)
raise_exception('')
messages|length > 3 and messages[0].role == 'system'
messages[0]['content']|trim + '\n'
'system' == messages[0].role
messages[2].tool_calls[0].function.arguments|tojson
messages[2].tool_calls[0]['function']
messages[2].content.split('</think>')[-1].lstrip('\n')
messages[3].content is string
messages[3].content is iterable and messages[3].content is not mapping
messages|selectattr('role', 'equalto', 'user')|list|first
(messages|selectattr('role', 'equalto', 'user')|list|last)['content']
messages | map(attribute='role') | unique | list | length == 4
(messages|map(attribute='role'))|length
(messages|map(attribute='role'))[0]
messages.0.role
messages|first|attr('role')
loop is defined
x is
(1
1 +
[1, 2
s |
a b
a.b.
{% if %}
f(**1)
dict(**{'q': 1})
range(*[1, 3])|list
namespace(**{'q': 1}).q
s.split(sep=',', maxsplit=1)
s.replace(1, 2)
'a' is string is string
1 if
nope|default(s)|upper
joiner()()
missing|sum|reject('none')|list
i|select|list
0|map('upper')|list
'' % l
t|round(1)
l|truncate(5)
d|truncate(2)
[('a', 'b c')]|urlencode
l|urlencode
range(3).index(1)
('<a>'|safe) * 2
caller is defined
""".strip("\n").split("\n")

# Templates as a whole.
TEMPLATES = [
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.revindex }} {% endfor %}",
    "{% for m in messages %}{{ loop.previtem.role }}>{{ m.role }}>{{ loop.nextitem.role if loop.nextitem is defined }};{% endfor %}",
    "{% for m in messages %}{{ loop.previtem is defined }}{{ loop.nextitem is none }}{{ loop.length }}{{ loop.depth }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}",
    "{% for a, b in l %}{{ a }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for x in [] %}a{% else %}empty{% endfor %}",
    "{% for x in missing %}a{% else %}empty{% endfor %}",
    "{% for x in n %}a{% endfor %}",
    "{% for c in u %}{{ c }}.{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{% else %}none{% endfor %}",
    "{% for x in l if loop.first %}{{ x }}{% endfor %}",
    "{% for x in range(10) %}{% if x == 3 %}{% continue %}{% endif %}{% if x == 6 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }}{{ loop.index }} {% endfor %}{{ loop.index }}|{% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for i in tree recursive %}{{ i.v }}[{{ loop(i.c) }}]{{ loop.depth }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('odd', 'even') }} {% endfor %}",
    "{% for x in [1, 1, 2] %}{{ loop.changed(x) }} {% endfor %}",
    "{{ loop }}",
    "{% set x = 1 %}{% for i in l %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}",
    "{% set ns = namespace(x=1, found=false) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns }}",
    "{% set d.x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set a %}x{{ s }}y{% endset %}{{ a }}|{{ a|length }}",
    "{% set a | upper | replace('H', 'J') %}x{{ s }}y{% endset %}{{ a }}",
    "{% if t %}{% set a = 1 %}{% endif %}{{ a }}",
    "{% if f %}{% set a = 1 %}{% endif %}{{ a is defined }}",
    "{% if f %}a{% elif n %}b{% elif t %}c{% else %}d{% endif %}",
    "{% if f %}a{% elif n %}b{% else %}d{% endif %}",
    "{% if missing %}a{% endif %}{% if not missing %}b{% endif %}",
    "{% if t %}{% if f %}x{% else %}y{% endif %}{% endif %}",
    "{% if messages[0]['role'] == 'system' and\n   messages|length > 1 or\n   f %}yes{% endif %}",
    "{% if not(f) %}x{% endif %}{% if(t)and(t)or(f) %}y{% endif %}{% if 1 in(l) %}z{% endif %}",
    "{% macro m(a, b=2, c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=4, a=5) }}{{ m() }}",
    "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(none) }}",
    "{% macro m(a) %}x{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}x{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a) %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, 3, z=4) }}",
    "{% macro m(x) %}{% if x > 0 %}{{ x }}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro m() %}{{ g }}{% endmacro %}{% set g = 5 %}{{ m() }}{% set g = 6 %}{{ m() }}",
    "{% macro m() %}{% set g = 1 %}{% endmacro %}{{ m() }}{{ g is defined }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}body{{ s }}{% endcall %}",
    "{% macro m(l) %}{% for x in l %}{{ caller(x) }},{% endfor %}{% endmacro %}{% call(y) m(l) %}{{ y * 2 }}{% endcall %}",
    "{% macro m() %}\n  a\n  {% if t %}\n  b\n  {% endif %}\n{% endmacro %}\n[{{ m() }}]",
    "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% macro m() %}x{% endmacro %}{{ m.name }}{{ m() is string }}{{ m()|length }}",
    "{% filter upper %}abc{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}abc{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set q = 1 %}{{ q }}{% endwith %}{{ q }}",
    "{% set a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}",
    "{% generation %}\n  {{ s }}\n{% endgeneration %}\nx",
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% set q = 1 %}{% endgeneration %}{{ q is defined }}{% endif %}{% endfor %}",
    "{% raw %}{{ s }}{% if %}{# x #}{% endraw %}",
    "a\n  {% raw %}\n  x\n  {% endraw %}\n  b",
    "a {%- raw -%}  x  {%- endraw -%}  b",
    "{# comment #}a{#- c -#} b {# multi\nline #}\nc",
    "a\n  {# c #}\n  b\n",
    "a\n    {% if t %}\n    b\n    {% endif %}\n    c\n",
    "a\n    {%- if t %}\n    b\n    {%- endif %}\n    c\n",
    "a\n    {%+ if t %}\n    b\n    {%+ endif +%}\n    c\n",
    "a\n    {% if t -%}\n    b\n    {% endif -%}\n    c\n",
    "  {% if t %}  x  {% endif %}  \n  {{ s }}  \n  {{- s -}}  \n  y",
    "{{ s }}\n{{ s }}\n\n",
    "x\n\n",
    "\n",
    "",
    "{% if t %}\n\n\nx\n\n{% endif %}\n\n\ny",
    "{% set a = 1 %}\n{% set b = 2 %}\n  {% set c = 3 %}  \nx",
    "a\r\nb\rc\n{% if t %}\r\nd{% endif %}",
    "\t{% if t %}x{% endif %}\n  \t {%- if t %}y{% endif -%} \t\n z",
    "{{ '{{' }}{{ '%}' }}{{ \"}}\" }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {}} }}",
    "{%if t%}x{%endif%}{{s}}{{-s-}}",
    "{% if t: %}x{% endif %}{% for x in l: %}{{ x }}{% endfor %}",
    "{%- for message in messages -%}\n  {{- '<|' + message['role'] + '|>' -}}\n  {%- if message.content is string -%}\n    {{- message.content | trim -}}\n  {%- endif -%}\n{%- endfor -%}",
    "{% print s, i %}",
    "{% for x in l %}{{ x }}{% break %}{% else %}else{% endfor %}",
    "{% for x in l %}{{ x }}{% continue %}{% else %}else{% endfor %}",
    "{% for x in l %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% else %}else{% endfor %}",
    "{% macro m(a=3, b=2) %}{{ a }}{{ loop is defined }}{% endmacro %}{% for x in l %}{{ m(x) }}{% endfor %}",
    "{% set ns = namespace(v=0) %}x{%- for a in range(2)%}x{{-[a,b] -}}\u00a0\n{% break %}{%else+%}\n{{- [a,b] }} \u000b {% endfor %} ",
    "{% if t %}\n{%+ for a in l +%}\n {{- a }}\r\n{%- endfor +%}\n\t{#- c -#} \n{% endif -%}\n x {%- raw -%} {{ q }} {%- endraw +%}\n",
    "{% for x in l %}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{{ s }}{{ undefined_function() }}",
    "{{ messages[0].content }}{{ raise_exception('stop') }}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% endfor %}",
    "{% set x = messages | selectattr('role', 'eq', 'nope') %}{% if x %}generator is true{% endif %}{{ x | list }}",
    "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}",
    "{% set g = l | reject('odd') %}{% for x in g %}{{ x }}{% endfor %}{% for x in g %}{{ x }}{% else %}gone{% endfor %}",
    "{% if f %}{{ s | nope }}{% endif %}ok",
    "{% if s is string %}a{% else %}{{ s is nope }}{% endif %}",
    "{{ 'a' if t else raise_exception('lazy') }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% do l.append(1) %}",
    "{% nope %}",
    "{% if t %}x",
    "{% endif %}",
    "{% if t %}{% endfor %}",
    "{% for x in l %}{% else %}{% else %}{% endfor %}",
    "{% if t %}{% else %}{% elif f %}{% endif %}",
    "{{ s",
    "{# open",
    "{% raw %}x",
    "{{ s } }",
    "{{ 'open }}",
    "{{ (s] }}",
    "{{ ! }}",
    "{{ $ }}",
    "{%  %}",
    "{% for in l %}{% endfor %}",
    "{% for x l %}{% endfor %}",
    "{% set = 1 %}",
    "{% set 1 = 1 %}",
    "{% set none = 1 %}",
    "{% macro %}{% endmacro %}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% if t x %}{% endif %}",
    "{{ }}",
    "{% set loop = 1 %}{{ loop }}",
    "{% set self = 1 %}{{ self }}",
    "{% set range = 1 %}{{ range }}",
    "{% set true_ = 1 %}{{ true_ }}{{ True }}{{ none }}{{ None }}",
    "{% for loop_messages in messages[1:] %}{{ loop_messages.role }}{% endfor %}",
    "{% for x in l %}{% for x in [x * 10] %}{{ x }} {% endfor %}{{ x }}|{% endfor %}{{ x }}",
    "{% for i in range(3) %}{% if i == 1 %}{% set y = i %}{% endif %}{{ y is defined }}{% endfor %}",
    "{% set y = 0 %}{% for i in range(3) %}{{ y }}{% set y = i %}{{ y }} {% endfor %}{{ y }}",
    "{% set content = '' %}{% for m in messages %}{% set content = content ~ m.role %}{% endfor %}[{{ content }}]",
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'text' %}{{ c.text }}{% elif c['type'] == 'image' %}<image>{% endif %}{% endfor %}{% endif %}{% endfor %}",
    "{% for tool in messages[2].tool_calls %}{{ tool.function | tojson(indent=4) | indent(4) }}{% endfor %}",
    "{{ messages | tojson(indent=2) }}",
    "{% for k, v in messages[2].tool_calls[0].function.arguments | items %}{{ k }}: {{ v | tojson }}\n{% endfor %}",
    "{%- macro render_extra_keys(json_dict, handled_keys) -%}\n{%- if json_dict is mapping %}\n{%- for json_key in json_dict if json_key not in handled_keys %}\n{%- if json_dict[json_key] is mapping or (json_dict[json_key] is sequence and json_dict[json_key] is not string) %}\n{{- '\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | tojson | safe) ~ '</' ~ json_key ~ '>' }}\n{%- else %}\n{{-'\\n<' ~ json_key ~ '>' ~ (json_dict[json_key] | string) ~ '</' ~ json_key ~ '>' }}\n{%- endif %}\n{%- endfor %}\n{%- endif %}\n{%- endmacro %}{{ render_extra_keys(d, ['zeta']) }}",
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n    {%- if ns.multi_step_tool and message.role == \"user\" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n        {%- set ns.multi_step_tool = false %}\n        {%- set ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}{{ ns.last_query_index }}",
]


def main():
    cases = [(e, "{{ " + e + " }}") for e in EXPRESSIONS] + [("template %d" % i, t) for i, t in enumerate(TEMPLATES)]
    for name, template in cases:
        row = {"name": name, "template": template, "data": DATA, "expected": None, "error": None}
        try:
            row["expected"] = ENV.from_string(template).render(**copy.deepcopy(DATA))
        except Exception as e:
            row["error"] = type(e).__name__ + ": " + str(e)
        if row["expected"] and " at 0x" in row["expected"]:
            continue  # an address
        del row["data"]
        print(json.dumps(row, ensure_ascii=False))
    print(json.dumps({"data": DATA}, ensure_ascii=False))


main()

package jinja

import (
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// filterFunc is a filter with its parameters, the value itself not counted.
type filterFunc struct {
	required int
	params   []string
	fn       func(rt *run, v Value, b bound) (Value, error)
}

// freeFilters bind their arguments themselves.
var freeFilters map[string]func(rt *run, v Value, args arguments) (Value, error)

var filters map[string]filterFunc

func init() { // filters call filters by name
	freeFilters = map[string]func(rt *run, v Value, args arguments) (Value, error){
		"tojson":     (*run).tojson,
		"map":        (*run).mapFilter,
		"select":     selectFilter("select", false, true),
		"reject":     selectFilter("reject", false, false),
		"selectattr": selectFilter("selectattr", true, true),
		"rejectattr": selectFilter("rejectattr", true, false),
		"format":     formatFilter,
	}
	filters = map[string]filterFunc{
		"upper":       textFilter(func(s string) Value { return Upper(s) }),
		"lower":       textFilter(func(s string) Value { return Lower(s) }),
		"capitalize":  textFilter(func(s string) Value { return Capitalize(s) }),
		"title":       textFilter(func(s string) Value { return titleFilter(s) }),
		"string":      {0, nil, stringFilter},
		"safe":        textFilter(func(s string) Value { return Markup(s) }),
		"forceescape": textFilter(func(s string) Value { return Markup(html.EscapeString(s)) }),
		"striptags":   textFilter(stripTags),
		"urlencode":   {0, nil, urlencodeFilter},
		"wordcount":   textFilter(func(s string) Value { return len(wordPattern.FindAllString(s, -1)) }),
		"escape":      {0, nil, escapeFilter},
		"e":           {0, nil, escapeFilter},
		"trim":        {0, []string{"chars"}, trimFilter},
		"replace":     {2, []string{"old", "new", "count"}, replaceFilter},
		"indent":      {0, []string{"width", "first", "blank"}, indentFilter},
		"center":      {0, []string{"width"}, centerFilter},
		"truncate":    {0, []string{"length", "killwords", "end", "leeway"}, truncateFilter},
		"int":         {0, []string{"default", "base"}, intFilter},
		"float":       {0, []string{"default"}, floatFilter},
		"abs":         {0, nil, absFilter},
		"round":       {0, []string{"precision", "method"}, roundFilter},
		"default":     {0, []string{"default_value", "boolean"}, defaultFilter},
		"d":           {0, []string{"default_value", "boolean"}, defaultFilter},
		"attr":        {1, []string{"name"}, attrFilter},
		"pprint":      {0, nil, func(rt *run, v Value, _ bound) (Value, error) { return rt.repr(v) }},
	}
	for name, f := range listFilters {
		filters[name] = f
	}
}

// filter applies a filter by its name.
func (rt *run) filter(name string, v Value, args arguments) (Value, error) {
	if err := rt.step(); err != nil {
		return nil, err
	}
	if f, ok := freeFilters[name]; ok {
		return f(rt, v, args)
	}
	if f, ok := rt.own[name]; ok {
		b, err := args.bind(name, f.Required, f.Params...)
		if err != nil {
			return nil, err
		}
		return f.Call(v, b.vals)
	}
	f, ok := filters[name]
	if !ok {
		return nil, runtimeError("No filter named %s.", quote(name))
	}
	b, err := args.bind(name, f.required, f.params...)
	if err != nil {
		return nil, err
	}
	return f.fn(rt, v, b)
}

// textFilter is a filter of what a value prints as.
func textFilter(fn func(s string) Value) filterFunc {
	return filterFunc{0, nil, func(rt *run, v Value, _ bound) (Value, error) {
		s, err := rt.str(v)
		if err == nil {
			err = rt.charge(len(s))
		}
		if err != nil {
			return nil, err
		}
		return fn(s), nil
	}}
}

var (
	wordStart   = regexp.MustCompile(`[-\s({\[<]+`)
	wordPattern = regexp.MustCompile(`[\pL\pN_]+`)
	tags        = regexp.MustCompile(`(?s)<!--.*?-->|<.*?>`)
)

// titleFilter is the filter title, which is not str.title: only blanks and opening brackets begin a word.
func titleFilter(s string) string {
	var out strings.Builder
	word := func(w string) {
		if w != "" {
			n := width(w)
			out.WriteString(Upper(w[:n]) + Lower(w[n:]))
		}
	}
	last := 0
	for _, m := range wordStart.FindAllStringIndex(s, -1) {
		word(s[last:m[0]])
		out.WriteString(s[m[0]:m[1]])
		last = m[1]
	}
	word(s[last:])
	return out.String()
}

func stripTags(s string) Value {
	return html.UnescapeString(strings.Join(strings.FieldsFunc(tags.ReplaceAllString(s, ""), IsSpace), " "))
}

func stringFilter(rt *run, v Value, _ bound) (Value, error) {
	if m, ok := v.(Markup); ok {
		return m, nil
	}
	return rt.str(v)
}

func escapeFilter(rt *run, v Value, _ bound) (Value, error) {
	if m, ok := v.(Markup); ok {
		return m, nil
	}
	s, err := rt.str(v)
	if err == nil {
		err = rt.charge(5 * len(s))
	}
	return escape(s), err
}

func urlencodeFilter(rt *run, v Value, _ bound) (Value, error) {
	quoted := func(v Value, query bool) (string, error) {
		s, err := rt.str(v)
		if err == nil {
			err = rt.charge(3 * len(s))
		}
		s = url.QueryEscape(s)
		if !query {
			s = strings.ReplaceAll(strings.ReplaceAll(s, "+", "%20"), "%2F", "/")
		}
		return s, err
	}
	_, isText := text(v)
	if isText || !iterable(v) {
		return quoted(v, false)
	}
	if d, ok := v.(*Dict); ok {
		v = &List{d.items()}
	}
	pairs, err := rt.iterate(v)
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(pairs))
	for i, pair := range pairs {
		kv, err := rt.iterate(pair)
		if err != nil {
			return nil, err
		}
		if len(kv) != 2 {
			return nil, valueError("cannot unpack %d values into a key and a value", len(kv))
		}
		key, err := quoted(kv[0], true)
		if err != nil {
			return nil, err
		}
		val, err := quoted(kv[1], true)
		if err != nil {
			return nil, err
		}
		parts[i] = key + "=" + val
	}
	return rt.join(parts, "&")
}

func trimFilter(rt *run, v Value, b bound) (Value, error) {
	s, err := rt.str(v)
	if err != nil {
		return nil, err
	}
	if err := rt.charge(len(s)); err != nil {
		return nil, err
	}
	return strip(s, b.vals[0], true, true)
}

func replaceFilter(rt *run, v Value, b bound) (Value, error) {
	var parts [3]string
	for i, v := range []Value{v, b.vals[0], b.vals[1]} {
		s, err := rt.str(v)
		if err != nil {
			return nil, err
		}
		parts[i] = s
	}
	count := -1
	if b.vals[2] != nil {
		n, err := b.int(2, -1, "replace")
		if err != nil {
			return nil, err
		}
		count = n
	}
	return rt.replace(parts[0], parts[1], parts[2], count)
}

func indentFilter(rt *run, v Value, b bound) (Value, error) {
	s, ok := text(v)
	if !ok {
		return nil, badOperands("+=", v, "")
	}
	indent, ok := text(b.vals[0])
	if !ok {
		n, err := b.int(0, 4, "indent")
		if err != nil {
			return nil, err
		}
		if err := rt.charge(max(n, 0)); err != nil {
			return nil, err
		}
		indent = strings.Repeat(" ", max(n, 0))
	}
	lines := splitLines(s+"\n", false)
	if len(indent) > 0 && len(lines) > maxWork/len(indent) {
		return nil, limitError("it builds too much text")
	}
	if err := rt.charge(len(s) + len(lines)*(len(indent)+itemBytes)); err != nil {
		return nil, err
	}
	for i, line := range lines {
		if i == 0 && truth(b.vals[1]) || i > 0 && (line != "" || truth(b.vals[2])) {
			lines[i] = indent + line
		}
	}
	return strings.Join(lines, "\n"), nil
}

func centerFilter(rt *run, v Value, b bound) (Value, error) {
	s, err := rt.str(v)
	if err != nil {
		return nil, err
	}
	var w Value = 80
	return stringMethods["center"].fn(rt, s, bound{[]Value{b.or(0, w), nil}, []bool{true, false}})
}

func truncateFilter(rt *run, v Value, b bound) (Value, error) {
	n, err := length(v)
	if err != nil {
		return nil, err
	}
	length, err := b.int(0, 255, "truncate")
	if err != nil {
		return nil, err
	}
	leeway, err := b.int(3, 5, "truncate")
	if err != nil {
		return nil, err
	}
	end, ok := text(b.or(2, "..."))
	if !ok || length < utf8.RuneCountInString(end) || leeway < 0 {
		return nil, valueError("expected length >= that of end, and leeway >= 0")
	}
	if n <= length+leeway {
		return v, nil
	}
	s, ok := text(v)
	if !ok {
		return nil, typeError("'%s' object can't be truncated", typeName(v))
	}
	if err := rt.charge(5 * len(s)); err != nil {
		return nil, err
	}
	runes := []rune(s)
	short := string(runes[:length-utf8.RuneCountInString(end)])
	if i := strings.LastIndexByte(short, ' '); i >= 0 && !truth(b.vals[1]) {
		short = short[:i]
	}
	return short + end, nil
}

func defaultFilter(_ *run, v Value, b bound) (Value, error) {
	if _, ok := v.(*undefined); ok || truth(b.vals[1]) && !truth(v) {
		return b.or(0, ""), nil
	}
	return v, nil
}

func attrFilter(rt *run, v Value, b bound) (Value, error) {
	name, err := b.text(0, "attr")
	if err != nil {
		return nil, err
	}
	if u, ok := v.(*undefined); ok {
		return nil, u.err()
	}
	if m, ok := rt.member(v, name); ok {
		return m, nil
	}
	return missing("'%s' has no attribute %s", objectName(v), quote(name)), nil
}

func formatFilter(rt *run, v Value, args arguments) (Value, error) {
	s, err := rt.str(v)
	if err != nil {
		return nil, err
	}
	if len(args.named) == 0 {
		return rt.percent(s, Tuple(args.pos))
	}
	if len(args.pos) > 0 {
		return nil, typeError("can't handle positional and keyword arguments at the same time")
	}
	d := NewDict()
	for _, n := range args.named {
		d.Put(n.name, n.v)
	}
	return rt.percent(s, d)
}

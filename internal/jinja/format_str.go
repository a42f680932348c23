package jinja

import (
	"strconv"
	"strings"
)

// formatter is one call of str.format.
type formatter struct {
	rt   *run
	args arguments
	auto int // the next {}
}

// format is str.format and str.format_map.
func (rt *run) format(s, method string, args arguments) (Value, error) {
	if method == "format_map" {
		if len(args.pos) != 1 {
			return nil, typeError("format_map() takes exactly one argument (%d given)", len(args.pos))
		}
		d, ok := args.pos[0].(*Dict)
		if !ok {
			return nil, typeError("format_map() argument has to be a mapping")
		}
		args = arguments{}
		for i, key := range d.keys {
			if name, ok := key.(string); ok {
				args.named = append(args.named, namedArg{name, d.vals[i]})
			}
		}
	}
	f := &formatter{rt: rt, args: args}
	out, err := f.run(s, 2)
	return out, err
}

// run fills in the fields of s; depth is how deep fields may still nest.
func (f *formatter) run(s string, depth int) (string, error) {
	if err := f.rt.charge(len(s)); err != nil {
		return "", err
	}
	if depth == 0 {
		return "", valueError("Max string recursion exceeded")
	}
	var out strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			break
		}
		out.WriteString(s[:i])
		c := s[i]
		s = s[i+1:]
		if strings.HasPrefix(s, string(c)) {
			out.WriteByte(c)
			s = s[1:]
			continue
		}
		if c == '}' {
			return "", valueError("Single '}' encountered in format string")
		}
		end := fieldEnd(s)
		if end < 0 {
			return "", valueError("Single '{' encountered in format string")
		}
		t, err := f.field(s[:end], depth)
		if err != nil {
			return "", err
		}
		if err := f.rt.charge(len(t)); err != nil {
			return "", err
		}
		out.WriteString(t)
		s = s[end+1:]
	}
	out.WriteString(s)
	return out.String(), nil
}

// fieldEnd returns where the field at the start of s ends.
func fieldEnd(s string) int {
	open := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			open++
		case '}':
			if open == 0 {
				return i
			}
			open--
		}
	}
	return -1
}

// field is name!conversion:spec.
func (f *formatter) field(s string, depth int) (string, error) {
	name, layout := s, ""
	conversion := ""
	if i := strings.IndexAny(s, ":!"); i >= 0 {
		name = s[:i]
		rest := s[i:]
		if rest[0] == '!' {
			conversion, layout, _ = strings.Cut(rest[1:], ":")
		} else {
			layout = rest[1:]
		}
	}
	v, err := f.lookup(name)
	if err != nil {
		return "", err
	}
	if layout, err = f.run(layout, depth-1+boolInt(layout == "")); err != nil {
		return "", err
	}
	switch conversion {
	case "":
	case "s":
		v, err = f.rt.str(v)
	case "r", "a":
		v, err = f.rt.repr(v)
	default:
		return "", valueError("Unknown conversion specifier %s", quote(conversion))
	}
	if err != nil {
		return "", err
	}
	return f.rt.formatValue(v, layout)
}

func (f *formatter) lookup(name string) (Value, error) {
	end := strings.IndexAny(name, ".[")
	first, rest := name, ""
	if end >= 0 {
		first, rest = name[:end], name[end:]
	}
	if first == "" {
		first = strconv.Itoa(f.auto)
		f.auto++
	}
	var v Value
	if n, err := strconv.Atoi(first); err == nil {
		if n < 0 || n >= len(f.args.pos) {
			message := "Replacement index " + first + " out of range for positional args tuple"
			return nil, &evalError{kind: "IndexError", message: message}
		}
		v = f.args.pos[n]
	} else {
		found := false
		for _, n := range f.args.named {
			if n.name == first {
				v, found = n.v, true
			}
		}
		if !found {
			return nil, &evalError{kind: "KeyError", message: quote(first)}
		}
	}
	return f.path(v, rest)
}

// path follows .name and [key].
func (f *formatter) path(v Value, path string) (Value, error) {
	for path != "" {
		var err error
		if path[0] == '.' {
			end := strings.IndexAny(path[1:], ".[") + 1
			if end == 0 {
				end = len(path)
			}
			v, err = f.rt.attribute(v, path[1:end])
			path = path[end:]
		} else {
			end := strings.IndexByte(path, ']')
			if end < 0 {
				return nil, valueError("Missing ']' in format string")
			}
			var key Value = path[1:end]
			if n, err := strconv.Atoi(path[1:end]); err == nil {
				key = n
			}
			v, err = f.rt.item(v, key)
			path = path[end+1:]
		}
		if err != nil {
			return nil, err
		}
	}
	return v, nil
}

// formatValue is Python's format(v, layout).
func (rt *run) formatValue(v Value, layout string) (string, error) {
	if layout == "" {
		return rt.str(v)
	}
	m := specPattern.FindStringSubmatch(layout)
	if m == nil {
		return "", valueError("Invalid format specifier %s for object of type '%s'", quote(layout), typeName(v))
	}
	sp := spec{fill: " ", alternate: m[4] != "", comma: m[7], precision: -1}
	if m[1] != "" {
		sp.fill = m[1]
	}
	if m[2] != "" {
		sp.align = m[2][0]
	}
	if m[3] != "" && m[3] != "-" {
		sp.sign = m[3][0]
	}
	if m[5] != "" && sp.align == 0 {
		sp.fill, sp.align = "0", '='
	}
	for i, into := range map[int]*int{6: &sp.width, 8: &sp.precision} {
		if m[i] == "" {
			continue
		}
		n, err := strconv.Atoi(m[i])
		if err != nil || n > maxWork {
			return "", limitError("a width is too large")
		}
		*into = n
	}
	if m[9] != "" {
		sp.verb = m[9][0]
	}
	_, isBool := v.(bool)
	if _, ok := number(v); ok && (!isBool || sp.verb != 0) {
		return rt.formatNumber(sp, v)
	}
	s, ok := text(v)
	if isBool {
		s, ok = strconv.Itoa(boolInt(v.(bool))), true
	}
	if !ok {
		return "", typeError("unsupported format string passed to %s.__format__", typeName(v))
	}
	if sp.verb != 0 && sp.verb != 's' {
		return "", valueError("Unknown format code '%c' for object of type 'str'", sp.verb)
	}
	return rt.layText(sp, s)
}

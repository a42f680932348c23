package jinja

import (
	"strings"
	"unicode/utf8"
)

func strip(s string, chars Value, left, right bool) (string, error) {
	cut := IsSpace
	if chars != nil {
		set, ok := text(chars)
		if !ok {
			return "", typeError("strip arg must be None or str, not %s", typeName(chars))
		}
		cut = func(r rune) bool { return strings.ContainsRune(set, r) }
	}
	if left {
		s = strings.TrimLeftFunc(s, cut)
	}
	if right {
		s = strings.TrimRightFunc(s, cut)
	}
	return s, nil
}

func stripMethod(left, right bool) func(*run, string, bound) (Value, error) {
	return func(_ *run, s string, b bound) (Value, error) { return strip(s, b.vals[0], left, right) }
}

// span cuts s to the code points from start to end, which arguments i and i+1 give; ok is false where start is beyond.
func (b bound) span(s string, i int) (part string, before int, ok bool, err error) {
	if !b.given[i] {
		return s, 0, true, nil
	}
	runes := []rune(s)
	n := len(runes)
	bounds := [2]int{0, n}
	for k := range bounds {
		if b.given[i+k] && b.vals[i+k] != nil {
			v, err := b.int(i+k, 0, "slice")
			if err != nil {
				return "", 0, false, err
			}
			bounds[k] = max(fromEnd(v, n), 0)
		}
	}
	from, to := bounds[0], min(bounds[1], n)
	if from > to {
		return "", from, false, nil
	}
	return string(runes[from:to]), from, true, nil
}

func affixMethod(has func(s, affix string) bool) func(*run, string, bound) (Value, error) {
	return func(_ *run, s string, b bound) (Value, error) {
		part, _, ok, err := b.span(s, 1)
		if err != nil {
			return nil, err
		}
		several, isTuple := b.vals[0].(Tuple)
		if !isTuple {
			several = Tuple{b.vals[0]}
		}
		for _, v := range several {
			affix, isText := text(v)
			if !isText {
				if u, ok := v.(*undefined); ok {
					return nil, u.err()
				}
				return nil, typeError("the first arg must be str or a tuple of str, not %s", typeName(v))
			}
			if ok && has(part, affix) {
				return true, nil
			}
		}
		return false, nil
	}
}

// replace is str.replace; a negative count is all.
func (rt *run) replace(s, old, new string, count int) (string, error) {
	n := strings.Count(s, old)
	if count >= 0 {
		n = min(n, count)
	}
	if len(new) > 0 && n > maxWork/len(new) {
		return "", limitError("it builds too much text")
	}
	if err := rt.charge(len(s) + n*len(new)); err != nil {
		return "", err
	}
	return strings.Replace(s, old, new, count), nil
}

func replaceMethod(rt *run, s string, b bound) (Value, error) {
	old, err := b.text(0, "replace")
	if err != nil {
		return nil, err
	}
	new, err := b.text(1, "replace")
	if err != nil {
		return nil, err
	}
	count, err := b.int(2, -1, "replace")
	if err != nil {
		return nil, err
	}
	return rt.replace(s, old, new, count)
}

func joinMethod(rt *run, s string, b bound) (Value, error) {
	items, err := rt.iterate(b.vals[0])
	if err != nil {
		return nil, err
	}
	parts := make([]string, len(items))
	for i, item := range items {
		part, ok := text(item)
		if !ok {
			if u, ok := item.(*undefined); ok {
				return nil, u.err()
			}
			return nil, typeError("sequence item %d: expected str instance, %s found", i, typeName(item))
		}
		parts[i] = part
	}
	return rt.join(parts, s)
}

func (rt *run) join(parts []string, sep string) (string, error) {
	n := 0
	for _, part := range parts {
		if n += len(part) + len(sep); n > maxWork {
			break
		}
	}
	if err := rt.charge(n); err != nil {
		return "", err
	}
	return strings.Join(parts, sep), nil
}

func findMethod(find func(s, sub string) int, must bool) func(*run, string, bound) (Value, error) {
	return func(_ *run, s string, b bound) (Value, error) {
		sub, err := b.text(0, "find")
		if err != nil {
			return nil, err
		}
		part, before, ok, err := b.span(s, 1)
		if err != nil {
			return nil, err
		}
		i := find(part, sub)
		if !ok || i < 0 {
			if must {
				return nil, valueError("substring not found")
			}
			return -1, nil
		}
		return before + utf8.RuneCountInString(part[:i]), nil
	}
}

func countMethod(_ *run, s string, b bound) (Value, error) {
	sub, err := b.text(0, "count")
	if err != nil {
		return nil, err
	}
	part, _, ok, err := b.span(s, 1)
	if err != nil || !ok {
		return 0, err
	}
	return strings.Count(part, sub), nil
}

func partitionMethod(find func(s, sep string) int, right bool) func(*run, string, bound) (Value, error) {
	return func(_ *run, s string, b bound) (Value, error) {
		sep, err := b.text(0, "partition")
		if err != nil {
			return nil, err
		}
		if sep == "" {
			return nil, valueError("empty separator")
		}
		i := find(s, sep)
		switch {
		case i >= 0:
			return Tuple{s[:i], sep, s[i+len(sep):]}, nil
		case right:
			return Tuple{"", "", s}, nil
		}
		return Tuple{s, "", ""}, nil
	}
}

// pad fills s to a width: '<' puts it left, '>' right, '^' in the middle as format does.
func (rt *run) pad(s string, width int, fill string, align byte) (string, error) {
	n := width - utf8.RuneCountInString(s)
	if n <= 0 {
		return s, nil
	}
	if err := rt.charge(width * len(fill)); err != nil {
		return "", err
	}
	left := 0
	switch align {
	case '>':
		left = n
	case '^':
		left = n / 2
	}
	return strings.Repeat(fill, left) + s + strings.Repeat(fill, n-left), nil
}

func padMethod(align byte) func(*run, string, bound) (Value, error) {
	return func(rt *run, s string, b bound) (Value, error) {
		width, err := b.int(0, 0, "width")
		if err != nil {
			return nil, err
		}
		fill := " "
		if b.given[1] {
			if fill, err = b.text(1, "fillchar"); err != nil {
				return nil, err
			}
			if utf8.RuneCountInString(fill) != 1 {
				return nil, typeError("The fill character must be exactly one character long")
			}
		}
		if n := width - utf8.RuneCountInString(s); align == '^' && n > 0 && n&width&1 == 1 {
			// str.center puts the odd blank of an odd width on the left
			if s, err = rt.pad(s, width-1, fill, '^'); err != nil {
				return nil, err
			}
			return fill + s, nil
		}
		return rt.pad(s, width, fill, align)
	}
}

func zfillMethod(rt *run, s string, b bound) (Value, error) {
	width, err := b.int(0, 0, "zfill")
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(s, "+") || strings.HasPrefix(s, "-") {
		digits, err := rt.pad(s[1:], width-1, "0", '>')
		return s[:1] + digits, err
	}
	return rt.pad(s, width, "0", '>')
}

// splitLines is str.splitlines.
func splitLines(s string, keep bool) []string {
	var lines []string
	start := 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		end := i
		i += n
		switch r {
		case '\r':
			if strings.HasPrefix(s[i:], "\n") {
				i++
			}
		case '\n', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
		default:
			continue
		}
		if keep {
			end = i
		}
		lines = append(lines, s[start:end])
		start = i
	}
	if start < len(s) {
		lines = append(lines, s[start:])
	}
	return lines
}

func splitLinesMethod(rt *run, s string, b bound) (Value, error) {
	return rt.texts(splitLines(s, truth(b.vals[0])))
}

func expandTabsMethod(rt *run, s string, b bound) (Value, error) {
	size, err := b.int(0, 8, "expandtabs")
	if err != nil {
		return nil, err
	}
	if err := rt.charge(strings.Count(s, "\t") * max(min(size, maxWork), 0)); err != nil {
		return nil, err
	}
	var out strings.Builder
	column := 0
	for _, r := range s {
		switch {
		case r == '\t' && size > 0:
			n := size - column%size
			out.WriteString(strings.Repeat(" ", n))
			column += n
		case r == '\t':
		default:
			out.WriteRune(r)
			column++
			if r == '\n' || r == '\r' {
				column = 0
			}
		}
	}
	return out.String(), nil
}

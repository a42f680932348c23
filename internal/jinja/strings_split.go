package jinja

import "strings"

func splitMethod(right bool) func(*run, string, bound) (Value, error) {
	return func(rt *run, s string, b bound) (Value, error) {
		most, err := b.int(1, -1, "split")
		if err != nil {
			return nil, err
		}
		var parts []string
		if b.vals[0] == nil {
			parts = splitSpace(s, most, right)
		} else {
			sep, err := b.text(0, "split")
			if err != nil {
				return nil, err
			}
			if sep == "" {
				return nil, valueError("empty separator")
			}
			if right {
				parts = splitRight(s, sep, most)
			} else if most < 0 {
				parts = strings.Split(s, sep)
			} else {
				parts = strings.SplitN(s, sep, most+1)
			}
		}
		return rt.texts(parts)
	}
}

// texts makes a list of strings.
func (rt *run) texts(parts []string) (Value, error) {
	items := make([]Value, len(parts))
	for i, part := range parts {
		items[i] = part
	}
	return &List{items}, rt.items(len(parts))
}

func splitRight(s, sep string, most int) []string {
	var back []string
	for ; most != 0; most-- {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		back = append(back, s[i+len(sep):])
		s = s[:i]
	}
	back = append(back, s)
	for i, j := 0, len(back)-1; i < j; i, j = i+1, j-1 {
		back[i], back[j] = back[j], back[i]
	}
	return back
}

// splitSpace splits at runs of whitespace, at most so often.
func splitSpace(s string, most int, right bool) []string {
	var parts []string
	if right && most >= 0 {
		for s = strings.TrimRightFunc(s, IsSpace); s != ""; s = strings.TrimRightFunc(s, IsSpace) {
			i := strings.LastIndexFunc(s, IsSpace)
			if most == 0 || i < 0 {
				parts = append(parts, s)
				break
			}
			parts = append(parts, s[i+width(s[i:]):])
			s = s[:i]
			most--
		}
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
		return parts
	}
	for s = strings.TrimLeftFunc(s, IsSpace); s != ""; s = strings.TrimLeftFunc(s, IsSpace) {
		i := strings.IndexFunc(s, IsSpace)
		if most == 0 || i < 0 {
			return append(parts, s)
		}
		parts = append(parts, s[:i])
		s = s[i:]
		most--
	}
	return parts
}

package metric

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dlclark/regexp2"
)

// What Python's \w, \s and their complements stand for, as the inside of a character class. Python's \w is what
// str.isalnum accepts, and "_"; its \s is what str.isspace accepts.
const (
	wordClass  = `\p{L}\p{N}_`
	spaceClass = `\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000`
	digitClass = `\p{Nd}`
	notWord    = `\p{M}\p{Pd}\p{Ps}\p{Pe}\p{Pi}\p{Pf}\p{Po}\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f\p{S}\p{Z}\p{C}`
	notSpace   = `\x00-\x08\x0e-\x1b\x21-\x84\x86-\x9f\xa1-\u167f\u1681-\u1fff\u200b-\u2027\u202a-\u202e\u2030-\u205e\u2060-\u2fff\u3001-` + "\U0010FFFF"
	notDigit   = `\P{Nd}`
)

// maxMatching bounds how long one pattern may look at one text: a pattern that backtracks without end is an error.
const maxMatching = 20 * time.Second

// A Pattern is a regular expression of Python's re.
type Pattern struct {
	source string
	re     *regexp2.Regexp
	groups int
	names  map[string]int
}

// Compile reads a pattern as Python's re.compile does.
func Compile(source string) (*Pattern, error) {
	t := translator{in: []rune(source)}
	out, err := t.translate()
	if err != nil {
		return nil, fmt.Errorf("the pattern %q: %w", source, err)
	}
	re, err := regexp2.Compile(out, regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("the pattern %q: %w", source, err)
	}
	re.MatchTimeout = maxMatching
	return &Pattern{source, re, t.groups, t.names}, nil
}

// Literal is a pattern that matches one of several texts, the first that fits.
func Literal(texts []string) (*Pattern, error) {
	quoted := make([]string, len(texts))
	for i, s := range texts {
		quoted[i] = regexp2.Escape(s)
	}
	re, err := regexp2.Compile(strings.Join(quoted, "|"), regexp2.None)
	if err != nil {
		return nil, fmt.Errorf("a pattern of %d texts: %w", len(texts), err)
	}
	re.MatchTimeout = maxMatching
	return &Pattern{source: "choices", re: re}, nil
}

// FindAll is re.findall: for each match its groups, or the whole match where the pattern has none. A group that took
// no part is "".
func (p *Pattern) FindAll(text string) ([][]string, error) {
	var all [][]string
	m, err := p.re.FindStringMatch(text)
	for ; m != nil && err == nil; m, err = p.re.FindNextMatch(m) {
		if p.groups == 0 {
			all = append(all, []string{m.String()})
			continue
		}
		found := make([]string, p.groups)
		for i := range found {
			if g := m.GroupByNumber(i + 1); g != nil {
				found[i] = g.String()
			}
		}
		all = append(all, found)
	}
	if err != nil {
		return nil, p.failed(err)
	}
	return all, nil
}

// Remove is re.sub with an empty replacement.
func (p *Pattern) Remove(text string) (string, error) {
	out, err := p.re.Replace(text, "", -1, -1)
	if err != nil {
		return "", p.failed(err)
	}
	return out, nil
}

// Count is how often the pattern matches.
func (p *Pattern) Count(text string) (int, error) {
	all, err := p.FindAll(text)
	return len(all), err
}

func (p *Pattern) failed(err error) error {
	return fmt.Errorf("the pattern %q: %w", p.source, err)
}

// translator rewrites a pattern of Python's re for regexp2, which follows .NET.
type translator struct {
	in     []rune
	at     int
	out    strings.Builder
	groups int
	names  map[string]int
}

func (t *translator) translate() (string, error) {
	t.names = map[string]int{}
	for t.at < len(t.in) {
		switch c := t.in[t.at]; {
		case c == '\\':
			t.escape()
		case c == '[':
			t.class()
		case c == '(':
			if err := t.group(); err != nil {
				return "", err
			}
		case c == '{' && t.at+1 < len(t.in) && t.in[t.at+1] == ',':
			t.out.WriteString("{0") // Python's {,n}
			t.at++
		default:
			t.out.WriteRune(c)
			t.at++
		}
	}
	return t.out.String(), nil
}

// escape rewrites a backslash and what follows it, outside a class.
func (t *translator) escape() {
	if t.at+1 == len(t.in) {
		t.out.WriteRune('\\')
		t.at++
		return
	}
	c := t.in[t.at+1]
	t.at += 2
	switch c {
	case 'w':
		t.out.WriteString("[" + wordClass + "]")
	case 'W':
		t.out.WriteString("[^" + wordClass + "]")
	case 's':
		t.out.WriteString("[" + spaceClass + "]")
	case 'S':
		t.out.WriteString("[^" + spaceClass + "]")
	case 'd':
		t.out.WriteString("[" + digitClass + "]")
	case 'D':
		t.out.WriteString("[^" + digitClass + "]")
	case 'b':
		t.out.WriteString("(?:(?<=[" + wordClass + "])(?![" + wordClass + "])|(?<![" + wordClass + "])(?=[" + wordClass + "]))")
	case 'B':
		t.out.WriteString("(?:(?<=[" + wordClass + "])(?=[" + wordClass + "])|(?<![" + wordClass + "])(?![" + wordClass + "]))")
	case 'Z':
		t.out.WriteString(`\z`) // .NET's \Z would also match before a last newline
	default:
		t.out.WriteRune('\\')
		t.out.WriteRune(c)
	}
}

// class rewrites a character class. A bracket in it is a character to Python, a subtraction to .NET.
func (t *translator) class() {
	t.out.WriteRune('[')
	t.at++
	if t.at < len(t.in) && t.in[t.at] == '^' {
		t.out.WriteRune('^')
		t.at++
	}
	for first := true; t.at < len(t.in); first = false {
		c := t.in[t.at]
		t.at++
		switch {
		case c == ']' && !first:
			t.out.WriteRune(']')
			return
		case c == '[' || c == ']':
			t.out.WriteString(`\` + string(c))
		case c == '\\' && t.at < len(t.in):
			t.classEscape(t.in[t.at])
			t.at++
		default:
			t.out.WriteRune(c)
		}
	}
}

func (t *translator) classEscape(c rune) {
	sets := map[rune]string{'w': wordClass, 'W': notWord, 's': spaceClass, 'S': notSpace, 'd': digitClass, 'D': notDigit}
	if set, ok := sets[c]; ok {
		t.out.WriteString(set)
		return
	}
	t.out.WriteRune('\\')
	t.out.WriteRune(c)
}

// group rewrites what an opening parenthesis begins. Groups get numbers instead of names, since .NET counts named ones
// after all others.
func (t *translator) group() error {
	rest := string(t.in[t.at:])
	switch {
	case strings.HasPrefix(rest, "(?P<"):
		name, _, closed := strings.Cut(rest[4:], ">")
		if !closed {
			return fmt.Errorf("a group's name has no end")
		}
		t.groups++
		t.names[name] = t.groups
		t.out.WriteRune('(')
		t.at += len([]rune("(?P<"+name)) + 1
	case strings.HasPrefix(rest, "(?P="):
		name, _, closed := strings.Cut(rest[4:], ")")
		number, known := t.names[name]
		if !closed || !known {
			return fmt.Errorf("there is no group %q", name)
		}
		t.out.WriteString(`(?:\` + strconv.Itoa(number) + ")")
		t.at += len([]rune("(?P="+name)) + 1
	case strings.HasPrefix(rest, "(?"):
		t.out.WriteString("(?")
		t.at += 2
	default:
		t.groups++
		t.out.WriteRune('(')
		t.at++
	}
	return nil
}

// Sub is re.sub(replacement, text, count): what matches is replaced, all of it where count is 0, a replacement's \1,
// \g<1> and \g<name> being the match's groups.
func (p *Pattern) Sub(replacement, text string, count int) (string, error) {
	if count <= 0 {
		count = -1
	}
	var bad error
	out, err := p.re.ReplaceFunc(text, func(m regexp2.Match) string {
		s, err := p.expand(replacement, &m)
		if err != nil {
			bad = err
		}
		return s
	}, -1, count)
	if err == nil {
		err = bad
	}
	if err != nil {
		return "", p.failed(err)
	}
	return out, nil
}

// replacementEscapes are the characters a replacement spells with a backslash.
var replacementEscapes = map[byte]string{'n': "\n", 't': "\t", 'r': "\r", 'f': "\f", 'v': "\v", 'a': "\a", 'b': "\b",
	'\\': `\`}

// expand fills a replacement in.
func (p *Pattern) expand(replacement string, m *regexp2.Match) (string, error) {
	var out strings.Builder
	for s := replacement; s != ""; {
		before, after, found := strings.Cut(s, `\`)
		out.WriteString(before)
		if !found {
			break
		}
		if after == "" {
			return "", errors.New("the replacement ends in a backslash")
		}
		if t, ok := replacementEscapes[after[0]]; ok {
			out.WriteString(t)
			s = after[1:]
			continue
		}
		number, rest, err := p.reference(after)
		if err != nil {
			return "", err
		}
		if g := m.GroupByNumber(number); g != nil {
			out.WriteString(g.String())
		}
		s = rest
	}
	return out.String(), nil
}

// reference reads which group s, what follows a backslash, means.
func (p *Pattern) reference(s string) (number int, rest string, err error) {
	name := ""
	if after, ok := strings.CutPrefix(s, "g<"); ok {
		if name, rest, ok = strings.Cut(after, ">"); !ok {
			return 0, "", errors.New("a group's name in the replacement has no end")
		}
		if n, ok := p.names[name]; ok {
			return n, rest, nil
		}
	} else {
		digits := 0
		for digits < min(2, len(s)) && s[digits] >= '0' && s[digits] <= '9' {
			digits++
		}
		name, rest = s[:digits], s[digits:]
	}
	if number, err = strconv.Atoi(name); err != nil || number > p.groups {
		return 0, "", fmt.Errorf("the replacement's \\%.10s is no group", s)
	}
	return number, rest, nil
}

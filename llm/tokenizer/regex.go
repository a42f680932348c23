package tokenizer

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// regex is a regular expression of tokenizer.json in the dialect of Oniguruma's Ruby syntax, run by regexp2, which
// knows look-ahead, on explicit ranges instead of Go's older Unicode tables.
type regex struct{ re *regexp2.Regexp }

// match is a stretch of bytes that an expression found.
type match struct{ start, end int }

// maxRegex bounds the time that the translation takes; the longest in use have a tenth of it.
const maxRegex = 4096

func newRegex(source string) (*regex, error) {
	t := translator{in: []rune(source)}
	if len(t.in) > maxRegex {
		return nil, fmt.Errorf("a regular expression of %d characters isn't supported", len(t.in))
	}
	if err := t.all(); err != nil {
		return nil, fmt.Errorf("the regular expression %.100q isn't supported: %w", source, err)
	}
	re, err := regexp2.Compile(t.out.String(), regexp2.Multiline) // ^ and $ match at line breaks in Ruby's syntax
	if err != nil {
		return nil, fmt.Errorf("the regular expression %.100q isn't supported: %w", source, err)
	}
	return &regex{re}, nil
}

// find returns all matches, in bytes.
func (x *regex) find(s string) []match {
	var found []match
	runes := []rune(s)
	m, err := x.re.FindRunesMatch(runes)
	at, bytes := 0, 0 // rune and its byte
	advance := func(to int) int {
		for ; at < to; at++ {
			bytes += utf8.RuneLen(runes[at])
		}
		return bytes
	}
	for m != nil && err == nil { // without a time limit regexp2 has no errors
		start := advance(m.Index)
		found = append(found, match{start, advance(m.Index + m.Length)})
		m, err = x.re.FindNextMatch(m)
	}
	return found
}

// translator rewrites Oniguruma's dialect as regexp2's.
type translator struct {
	in   []rune
	at   int
	out  strings.Builder
	fold []bool // by open group: whether case is ignored in it
}

func (t *translator) more() bool { return t.at < len(t.in) }

func (t *translator) folding() bool { return len(t.fold) > 0 && t.fold[len(t.fold)-1] }

// all translates the whole expression. atom is where in the output the last atom began, for a quantifier after it.
func (t *translator) all() error {
	var groups []int
	atom := 0
	for t.more() {
		switch c := t.in[t.at]; c {
		case '(':
			groups = append(groups, t.out.Len())
			if err := t.open(); err != nil {
				return err
			}
		case ')':
			if len(groups) == 0 {
				return fmt.Errorf("unmatched )")
			}
			atom, groups = groups[len(groups)-1], groups[:len(groups)-1]
			t.fold = t.fold[:len(t.fold)-1]
			t.write(c)
		case '*', '+', '?', '{':
			if err := t.quantify(atom); err != nil {
				return err
			}
		case '|', '^', '$':
			t.write(c)
		case '.':
			atom = t.out.Len()
			t.write(c)
		case '[':
			atom = t.out.Len()
			if err := t.class(); err != nil {
				return err
			}
		case '\\':
			atom = t.out.Len()
			set, negated, err := t.escape()
			if err != nil {
				return err
			}
			t.set(set, negated)
		default:
			atom = t.out.Len()
			if err := t.foldable(c); err != nil {
				return err
			}
			t.at++
			t.set(t.literal(c), false)
		}
	}
	return nil
}

func (t *translator) write(c rune) {
	t.out.WriteRune(c)
	t.at++
}

// open translates the start of a group: (?: (?i: (?= (?! (?<= (?<! (?> or a plain one.
func (t *translator) open() error {
	rest := string(t.in[t.at:min(t.at+5, len(t.in))])
	fold := t.folding()
	for _, start := range []string{"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:"} {
		if !strings.HasPrefix(rest, start) {
			continue
		}
		if start == "(?i:" {
			fold = true
			t.out.WriteString("(?:")
		} else {
			t.out.WriteString(start)
		}
		t.at += len(start)
		t.fold = append(t.fold, fold)
		return nil
	}
	if strings.HasPrefix(rest, "(?") {
		return fmt.Errorf("unknown group %s", rest)
	}
	t.out.WriteString("(?:")
	t.at++
	t.fold = append(t.fold, fold)
	return nil
}

// repetition is a quantifier in braces.
var repetition = regexp.MustCompile(`^\{([0-9]+(,[0-9]*)?|,[0-9]+)\}$`)

// quantify translates a quantifier. One with + after it is possessive; after {n,m} it is a second quantifier in Ruby's
// syntax.
func (t *translator) quantify(atom int) error {
	first := t.at
	braces := t.in[t.at] == '{'
	if braces {
		for t.more() && t.in[t.at] != '}' {
			t.at++
		}
	}
	if !t.more() {
		return fmt.Errorf("unmatched {")
	}
	t.at++
	quantifier := string(t.in[first:t.at])
	reluctant := t.more() && t.in[t.at] == '?'
	if braces && (!repetition.MatchString(quantifier) || reluctant && !strings.Contains(quantifier, ",")) {
		return fmt.Errorf("unknown quantifier %s", quantifier)
	}
	quantifier = strings.Replace(quantifier, "{,", "{0,", 1) // regexp2 takes it for plain text without the 0
	all := t.out.String()
	before, body := all[:atom], all[atom:]
	switch {
	case t.more() && t.in[t.at] == '+':
		t.at++
		body = "(?>" + body + quantifier + ")"
		if braces {
			body = "(?:" + all[atom:] + quantifier + ")+"
		}
	case reluctant:
		t.at++
		body += quantifier + "?"
	default:
		body += quantifier
	}
	t.out.Reset()
	t.out.WriteString(before + body)
	return nil
}

var errFold = errors.New("without regard to case only single ASCII letters are known")

// foldable refuses the next character c where ignoring its case takes more than literal knows: another letter than
// ASCII's, or two that match one character together, as ss does ß.
func (t *translator) foldable(c rune) error {
	if !t.folding() {
		return nil
	}
	if c >= utf8.RuneSelf && classes().of(c)&(classP|classZ) == 0 {
		return errFold
	}
	switch strings.ToLower(string(t.in[t.at-1 : t.at+1])) {
	case "ss", "st", "ff", "fi", "fl":
		return errFold
	}
	return nil
}

// literal returns the set of one character, with what differs in case alone where case is ignored.
func (t *translator) literal(c rune) []rune {
	set := []rune{c, c}
	if !t.folding() {
		return set
	}
	lower, upper := c, c
	switch {
	case c >= 'A' && c <= 'Z':
		lower = c + 'a' - 'A'
	case c >= 'a' && c <= 'z':
		upper = c - 'a' + 'A'
	}
	set = []rune{lower, lower, upper, upper}
	switch lower {
	case 's':
		set = append(set, 'ſ', 'ſ')
	case 'k':
		set = append(set, '\u212A', '\u212A') // the Kelvin sign
	}
	return set
}

// escape reads \p{…}, \s, \d, \n, … and returns what it matches.
func (t *translator) escape() (set []rune, negated bool, err error) {
	t.at++
	if !t.more() {
		return nil, false, fmt.Errorf("it ends with \\")
	}
	c := t.in[t.at]
	t.at++
	switch c {
	case 'p', 'P':
		if t.folding() {
			return nil, false, errFold
		}
		name, err := t.braced()
		if err != nil {
			return nil, false, err
		}
		negated := c == 'P'
		if trimmed := strings.TrimPrefix(name, "^"); trimmed != name {
			name, negated = trimmed, !negated
		}
		of, ok := classNames[name]
		if !ok {
			return nil, false, fmt.Errorf("unknown class \\p{%s}", name)
		}
		return classes().ranges(of), negated, nil
	case 's', 'S':
		return rangesSpace, c == 'S', nil
	case 'd', 'D':
		return rangesNd, c == 'D', nil
	case 'n':
		return []rune{'\n', '\n'}, false, nil
	case 'r':
		return []rune{'\r', '\r'}, false, nil
	case 't':
		return []rune{'\t', '\t'}, false, nil
	}
	if c >= utf8.RuneSelf || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
		return nil, false, fmt.Errorf("unknown escape \\%c", c)
	}
	return []rune{c, c}, false, nil
}

func (t *translator) braced() (string, error) {
	rest := string(t.in[t.at:])
	end := strings.IndexByte(rest, '}')
	if !strings.HasPrefix(rest, "{") || end < 0 {
		return "", fmt.Errorf("\\p lacks its {…}")
	}
	t.at += utf8.RuneCountInString(rest[:end+1])
	return rest[1:end], nil
}

// class translates a bracket expression into one of explicit ranges.
func (t *translator) class() error {
	t.at++
	negated := t.more() && t.in[t.at] == '^'
	if negated {
		t.at++
	}
	var set []rune
	for first := true; ; first = false {
		if !t.more() {
			return fmt.Errorf("unmatched [")
		}
		c := t.in[t.at]
		switch {
		case c == ']' && !first:
			t.at++
			t.set(set, negated)
			return nil
		case c == '[' || c == '&' && t.at+1 < len(t.in) && t.in[t.at+1] == '&':
			return fmt.Errorf("a class within a class")
		case c == '\\':
			part, not, err := t.escape()
			if err != nil {
				return err
			}
			if not {
				part = complement(part)
			}
			if len(part) > 2 || not {
				set = append(set, part...)
				continue
			}
			c = part[0]
		default:
			t.at++
		}
		if t.at+1 < len(t.in) && t.in[t.at] == '-' && t.in[t.at+1] != ']' {
			last, err := t.rangeEnd()
			if err != nil || last < c {
				return fmt.Errorf("a range in brackets runs backwards or lacks its end")
			}
			if t.folding() && last > '9' {
				return errFold
			}
			set = append(set, c, last)
			continue
		}
		if c >= utf8.RuneSelf && t.foldable(c) != nil {
			return errFold
		}
		set = append(set, t.literal(c)...)
	}
}

// rangeEnd reads - and the last character of a range.
func (t *translator) rangeEnd() (rune, error) {
	t.at++
	if t.in[t.at] != '\\' {
		t.at++
		return t.in[t.at-1], nil
	}
	part, not, err := t.escape()
	if err != nil || not || len(part) != 2 {
		return 0, fmt.Errorf("a class can't end a range")
	}
	return part[0], nil
}

// set writes a set of ranges as a bracket expression.
func (t *translator) set(ranges []rune, negated bool) {
	if negated {
		ranges = complement(ranges)
	}
	t.out.WriteByte('[')
	for i := 0; i < len(ranges); i += 2 {
		t.quote(ranges[i])
		if ranges[i] != ranges[i+1] {
			t.out.WriteByte('-')
			t.quote(ranges[i+1])
		}
	}
	t.out.WriteByte(']')
}

// quote writes a character of a bracket expression.
func (t *translator) quote(r rune) {
	if r < utf8.RuneSelf {
		fmt.Fprintf(&t.out, `\x%02X`, r)
		return
	}
	t.out.WriteRune(r)
}

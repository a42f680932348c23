package metric

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// exactMatch compares texts after some of them is left out, as the exact_match of Hugging Face's evaluate does.
type exactMatch struct {
	patterns           []*Pattern
	lower              bool
	punctuation, digit bool // are left out
}

// asciiPunctuation is Python's string.punctuation.
const asciiPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

func newExactMatch(s Settings) (*exactMatch, error) {
	for key := range s {
		switch key {
		case "regexes_to_ignore", "ignore_case", "ignore_punctuation", "ignore_numbers":
		default:
			return nil, fmt.Errorf("exact_match has no setting %s", key)
		}
	}
	m := &exactMatch{}
	var err error
	if m.patterns, err = patterns(s["regexes_to_ignore"]); err != nil {
		return nil, err
	}
	if m.lower, err = setting(s, "ignore_case", false); err != nil {
		return nil, err
	}
	if m.punctuation, err = setting(s, "ignore_punctuation", false); err != nil {
		return nil, err
	}
	m.digit, err = setting(s, "ignore_numbers", false)
	return m, err
}

// share is the share of answers that equal their references.
func (m *exactMatch) share(answers, references []string) (float64, error) {
	a, err := m.prepare(answers)
	if err != nil {
		return 0, err
	}
	r, err := m.prepare(references)
	if err != nil {
		return 0, err
	}
	equal := 0.0
	for i := range a {
		if a[i] == r[i] {
			equal++
		}
	}
	return equal / float64(len(a)), nil
}

// prepare makes the texts comparable. They are an array of numpy's in the harness: zeros at their ends are lost, and a
// text can't grow beyond the longest, as "İ" would in lower case.
func (m *exactMatch) prepare(texts []string) ([]string, error) {
	out := make([]string, len(texts))
	widest := 1
	for i, s := range texts {
		s = strings.TrimRight(s, "\x00")
		for _, p := range m.patterns {
			var err error
			if s, err = p.Remove(s); err != nil {
				return nil, err
			}
			s = strings.TrimRight(s, "\x00")
		}
		out[i] = s
		widest = max(widest, utf8.RuneCountInString(s))
	}
	for i, s := range out {
		if m.lower {
			s = firstRunes(lower(s), widest)
		}
		out[i] = strings.TrimRight(strings.Map(m.keep, s), "\x00")
	}
	return out, nil
}

func (m *exactMatch) keep(r rune) rune {
	if m.punctuation && r < 0x80 && strings.ContainsRune(asciiPunctuation, r) || m.digit && r >= '0' && r <= '9' {
		return -1
	}
	return r
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

package metric

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// multiChoice looks for the answer's letter: by the pattern, else by the text of a choice, else after a colon.
type multiChoice struct {
	regexFilter
	ignore ignore
}

// ignore is what is left out of texts before they are compared.
type ignore struct {
	patterns    []*Pattern
	lower       bool
	punctuation bool
}

func (g ignore) apply(s string) (string, error) {
	var err error
	for _, p := range g.patterns {
		if s, err = p.Remove(s); err != nil {
			return "", err
		}
	}
	if g.lower {
		s = lower(s)
	}
	if g.punctuation {
		s = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.P, r) {
				return -1
			}
			return r
		}, s)
	}
	return s, nil
}

func newMultiChoice(s Settings) (Filter, error) {
	r, err := newRegexFilter(s)
	if err != nil {
		return nil, err
	}
	f := &multiChoice{regexFilter: *r}
	if f.ignore.lower, err = setting(s, "ignore_case", false); err != nil {
		return nil, err
	}
	if f.ignore.punctuation, err = setting(s, "ignore_punctuation", false); err != nil {
		return nil, err
	}
	f.ignore.patterns, err = patterns(s["regexes_to_ignore"])
	return f, err
}

func (f *multiChoice) Apply(answers []any, documents []Document) ([]any, error) {
	out := make([]any, len(answers))
	for i := range answers {
		value, _ := documents[i].Get("choices")
		choices, ok := value.([]any)
		if !ok {
			return nil, errors.New("the filter needs the column choices, a list")
		}
		one, err := f.of(choices)
		if err != nil {
			return nil, err
		}
		got, err := each(one).Apply(answers[i:i+1], nil)
		if err != nil {
			return nil, err
		}
		out[i] = got[0]
	}
	return out, nil
}

// of makes what finds the letter of one of a document's choices.
func (f *multiChoice) of(choices []any) (func(any) (any, error), error) {
	texts, letters := make([]string, len(choices)), make([]string, len(choices))
	byText, byLetter := map[string]string{}, map[string]string{}
	for i, c := range choices {
		s, ok := c.(string)
		if !ok {
			return nil, fmt.Errorf("the filter needs choices that are texts, found %T", c)
		}
		var err error
		if texts[i], err = f.ignore.apply(strip(s)); err != nil {
			return nil, err
		}
		letters[i] = string(rune('A' + i))
		byText[texts[i]], byLetter[letters[i]] = "("+letters[i]+")", "("+letters[i]+")"
	}
	ofText, err := Literal(texts)
	if err != nil {
		return nil, err
	}
	afterColon, err := Compile(`:[\s]*(` + strings.Join(letters, "|") + ")")
	if err != nil {
		return nil, err
	}
	return func(answer any) (any, error) {
		text, _ := answer.(string)
		plain, err := f.ignore.apply(text)
		if err != nil {
			return nil, err
		}
		for _, step := range []struct {
			pattern *Pattern
			text    string
			letters map[string]string
		}{{f.pattern, text, nil}, {ofText, plain, byText}, {afterColon, text, byLetter}} {
			found, _, err := f.find(step.pattern, step.text)
			if err != nil {
				return nil, err
			}
			if found = strip(found); found == "" {
				continue
			}
			if letter, ok := step.letters[found]; ok {
				return letter, nil
			}
			return found, nil
		}
		return f.fallback, nil
	}, nil
}

package metric

import (
	"errors"
	"fmt"
)

// A Document is a row of a data set.
type Document interface {
	// Get returns the value of a column: string, bool, int64, float64, nil or []any of these.
	Get(column string) (any, bool)
}

// LogLikelihood answers a loglikelihood request.
type LogLikelihood struct {
	Sum    float64 // of the continuation's tokens, natural logarithm
	Greedy bool    // greedy decoding writes the continuation
}

// A Filter rewrites the answers to all requests of a task. What an answer is, is what the filter before it made of it:
// at first the list ([]any) of a request's repeated answers.
type Filter interface {
	Apply(answers []any, documents []Document) ([]any, error)
}

// Settings are a filter's or metric's own keys in the task file: string, bool, int64, float64, nil, []any or
// map[string]any of these.
type Settings map[string]any

// NewFilter makes the filter of a name with its settings, as a task file writes them under "filter".
func NewFilter(name string, s Settings) (Filter, error) {
	build, ok := filters[name]
	if !ok {
		return nil, fmt.Errorf("there is no filter %q", name)
	}
	f, err := build(s)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", name, err)
	}
	return f, nil
}

var filters = map[string]func(Settings) (Filter, error){
	"regex":              func(s Settings) (Filter, error) { return newRegexFilter(s) },
	"multi_choice_regex": newMultiChoice,
	"regex_pos":          newTagFilter,
	"take_first":         func(Settings) (Filter, error) { return perRequest(takeFirst), nil },
	"take_first_k":       newTakeFirstK,
	"majority_vote":      func(Settings) (Filter, error) { return perRequest(majority), nil },
	"lowercase":          func(Settings) (Filter, error) { return perText(lower), nil },
	"uppercase":          func(Settings) (Filter, error) { return perText(upper), nil },
	"remove_whitespace":  func(Settings) (Filter, error) { return perText(strip), nil },
	"map":                newMapFilter,
	"format_span":        newSpanFilter,
}

// Chain applies filters one after the other.
func Chain(list []Filter, answers []any, documents []Document) ([]any, error) {
	var err error
	for _, f := range list {
		if answers, err = f.Apply(answers, documents); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// perRequest filters the answers to each request alone.
type perRequest func(answers any) (any, error)

func (f perRequest) Apply(answers []any, _ []Document) ([]any, error) {
	out := make([]any, len(answers))
	for i, a := range answers {
		var err error
		if out[i], err = f(a); err != nil {
			return nil, fmt.Errorf("answer %d: %w", i+1, err)
		}
	}
	return out, nil
}

// each makes a filter of what happens to each of a request's answers.
func each(one func(answer any) (any, error)) Filter {
	return perRequest(func(answers any) (any, error) {
		list, ok := answers.([]any)
		if !ok {
			return nil, errors.New("the filter needs the list of a request's answers; put it before take_first")
		}
		out := make([]any, len(list))
		for i, a := range list {
			var err error
			if out[i], err = one(a); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

func perText(change func(string) string) Filter {
	return each(func(answer any) (any, error) {
		s, ok := answer.(string)
		if !ok {
			return nil, fmt.Errorf("the filter needs text, found %T", answer)
		}
		return change(s), nil
	})
}

func takeFirst(answers any) (any, error) {
	switch list := answers.(type) {
	case []any:
		if len(list) == 0 {
			return nil, errors.New("there is no answer to take")
		}
		return list[0], nil
	case string: // Python's r[0] of a text
		for _, r := range list {
			return string(r), nil
		}
	}
	return nil, errors.New("there is no answer to take")
}

func newTakeFirstK(s Settings) (Filter, error) {
	k, ok := s["k"].(int64)
	if !ok || k < 0 {
		return nil, errors.New("it needs k, a number of answers")
	}
	return perRequest(func(answers any) (any, error) {
		list, _ := answers.([]any)
		if int64(len(list)) < k {
			return nil, fmt.Errorf("%d answers are needed, there are %d; raise the task's repeats", k, len(list))
		}
		return list[:k], nil
	}), nil
}

// majority keeps the answer that comes most often, of equal ones the first.
func majority(answers any) (any, error) {
	list, _ := answers.([]any)
	if len(list) == 0 {
		return nil, errors.New("there are no answers to vote")
	}
	counts := map[any]int{}
	for _, a := range list {
		switch a.(type) {
		case []any, map[string]any:
			return nil, fmt.Errorf("a vote needs text, found %T", a)
		}
		counts[a]++
	}
	best := list[0]
	for _, a := range list {
		if counts[a] > counts[best] {
			best = a
		}
	}
	return []any{best}, nil
}

func newMapFilter(s Settings) (Filter, error) {
	table, ok := s["mapping_dict"].(map[string]any)
	if !ok && s["mapping_dict"] != nil {
		return nil, errors.New("mapping_dict is not a mapping")
	}
	return each(func(answer any) (any, error) {
		text, _ := answer.(string)
		if value, ok := table[text]; ok {
			return value, nil
		}
		return s["default_value"], nil
	}), nil
}

// regexFilter keeps one match of a pattern.
type regexFilter struct {
	pattern  *Pattern
	pick     int // of the matches; negative counts from the end
	fallback string
}

func newRegexFilter(s Settings) (*regexFilter, error) {
	source, err := setting(s, "regex_pattern", `#### (\-?[0-9\.\,]+)`)
	if err != nil {
		return nil, err
	}
	f := &regexFilter{}
	if f.pattern, err = Compile(source); err != nil {
		return nil, err
	}
	pick, err := setting(s, "group_select", int64(0))
	if err != nil {
		return nil, err
	}
	f.pick = int(pick)
	f.fallback, err = setting(s, "fallback", "[invalid]")
	return f, err
}

func (f *regexFilter) Apply(answers []any, documents []Document) ([]any, error) {
	return each(func(answer any) (any, error) {
		text, _ := answer.(string)
		found, ok, err := f.find(f.pattern, text)
		if err != nil || !ok {
			return f.fallback, err
		}
		return strip(found), nil
	}).Apply(answers, documents)
}

// find returns the picked match, of several groups the first that isn't empty.
func (f *regexFilter) find(p *Pattern, text string) (string, bool, error) {
	all, err := p.FindAll(text)
	if err != nil || len(all) == 0 {
		return "", false, err
	}
	at := f.pick
	if at < 0 {
		at += len(all)
	}
	if at < 0 || at >= len(all) {
		return "", false, fmt.Errorf("group_select is %d, but the pattern matched %d times", f.pick, len(all))
	}
	groups := all[at]
	if len(groups) == 1 {
		return groups[0], true, nil
	}
	for _, g := range groups {
		if g != "" {
			return g, true, nil
		}
	}
	return "", false, nil
}

// newTagFilter keeps the tags of a Python list of (token, tag) that the answer writes.
func newTagFilter(s Settings) (Filter, error) {
	pairs, err := Compile(`\('([^']*)', '([^']*)'\)`)
	if err != nil {
		return nil, err
	}
	fallback, err := setting(s, "fallback", []any{"invalid"})
	return each(func(answer any) (any, error) {
		text, ok := answer.(string)
		if !ok {
			return nil, fmt.Errorf("the filter needs text, found %T", answer)
		}
		all, err := pairs.FindAll(text)
		if err != nil || len(all) == 0 {
			return fallback, err
		}
		tags := make([]any, len(all))
		for i, pair := range all {
			tags[i] = pair[1]
		}
		return tags, nil
	}), err
}

// setting reads one of the settings; a missing one or null has its default.
func setting[T any](s Settings, key string, usual T) (T, error) {
	value, ok := s[key]
	if !ok || value == nil {
		return usual, nil
	}
	got, ok := value.(T)
	if !ok {
		return usual, fmt.Errorf("%s is %v, want %T", key, value, usual)
	}
	return got, nil
}

// patterns compiles a list of patterns; nil is none.
func patterns(value any) ([]*Pattern, error) {
	list, ok := value.([]any)
	if !ok && value != nil {
		return nil, fmt.Errorf("regexes_to_ignore is %v, want a list of patterns", value)
	}
	var all []*Pattern
	for _, v := range list {
		source, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("regexes_to_ignore holds %v, want patterns", v)
		}
		p, err := Compile(source)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

package metric

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// A Rule is how a task's documents are judged.
type Rule struct {
	Output         string // one of the Output… constants
	Metrics        []Metric
	Helper         string           // name of a process_results function; "" = the usual way
	HasChoices     bool             // the task has doc_to_choice
	MultipleTarget bool             // several right answers
	Str            func(any) string // Python's str of a target that isn't text
}

// A Case is a document with the filtered answers to its requests.
type Case struct {
	Document Document
	Answers  []any    // LogLikelihood, float64 (rolling) or what the filters made of text
	Choices  []string // doc_to_choice
	// Target is doc_to_target: int64, bool, float64, string or []any of these. With several contexts and one
	// continuation, as WinoGrande has them, it is the index of the right context.
	Target any
}

// Judge is the task's process_results.
func (r *Rule) Judge(c Case) ([]Measure, error) {
	if r.Helper != "" {
		help, ok := helpers[r.Helper]
		if !ok {
			return nil, fmt.Errorf("there is no Go function for process_results %s", r.Helper)
		}
		return help(c)
	}
	if len(c.Answers) == 0 {
		return nil, errors.New("the document has no answers")
	}
	switch r.Output {
	case OutputLogLikelihood:
		return r.likelihood(c)
	case OutputRolling:
		return r.rolling(c)
	case OutputMultipleChoice:
		return r.choice(c)
	case OutputGenerate:
		return r.generated(c)
	}
	return nil, fmt.Errorf("there is no output_type %q", r.Output)
}

func (r *Rule) has(name string) bool {
	return slices.ContainsFunc(r.Metrics, func(m Metric) bool { return m.Name == name })
}

func (r *Rule) likelihood(c Case) (out []Measure, err error) {
	a, ok := c.Answers[0].(LogLikelihood)
	if !ok {
		return nil, fmt.Errorf("a log-likelihood is needed, found %T", c.Answers[0])
	}
	if r.has("perplexity") {
		out = append(out, Measure{"perplexity", a.Sum})
	}
	if r.has("acc") {
		out = append(out, Measure{"acc", number(a.Greedy)})
	}
	return out, nil
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

var space, _ = Compile(`\s+`) // a pattern that compiles

func (r *Rule) rolling(c Case) (out []Measure, err error) {
	sum, ok := c.Answers[0].(float64)
	if !ok {
		return nil, fmt.Errorf("a log-likelihood is needed, found %T", c.Answers[0])
	}
	text, ok := c.Target.(string)
	if !ok {
		return nil, fmt.Errorf("the target has to be the text, found %T", c.Target)
	}
	gaps, err := space.Count(text)
	if err != nil {
		return nil, err
	}
	for _, m := range []Measure{
		{"word_perplexity", Ratio{sum, gaps + 1}}, {"byte_perplexity", Ratio{sum, len(text)}}, {"bits_per_byte", Ratio{sum, len(text)}},
	} {
		if r.has(m.Name) {
			out = append(out, m)
		}
	}
	return out, nil
}

// argmax is numpy's: the first of equal values, and the first that is not a number.
func argmax(x []float64) int {
	best := 0
	for i, v := range x {
		if math.IsNaN(v) {
			return i
		}
		if v > x[best] {
			best = i
		}
	}
	return best
}

func scaled(x []float64, texts []string, length func(string) int) []float64 {
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] / float64(length(texts[i]))
	}
	return out
}

// choice judges a document by which of its choices is the most likely.
func (r *Rule) choice(c Case) (out []Measure, err error) {
	sums, greedy := make([]float64, len(c.Answers)), make([]bool, len(c.Answers))
	for i, a := range c.Answers {
		l, ok := a.(LogLikelihood)
		if !ok {
			return nil, fmt.Errorf("a log-likelihood is needed, found %T", a)
		}
		sums[i], greedy[i] = l.Sum, l.Greedy
	}
	var alone []float64 // of the choices without the question
	if n := len(c.Choices); r.has("acc_mutual_info") && len(sums) == 2*n {
		sums, alone = sums[:n], sums[n:]
	}
	if len(sums) != len(c.Choices) {
		return nil, fmt.Errorf("there are %d choices and %d answers", len(c.Choices), len(sums))
	}
	right, err := gold(c)
	if err != nil {
		return nil, err
	}
	picked := argmax(sums)
	is := func(i int) float64 { return float64(number(right.is(i))) }
	for _, name := range []string{"acc", "f1", "mcc", "acc_norm", "acc_bytes", "exact_match", "brier_score", "likelihood", "acc_mutual_info"} {
		if !r.has(name) {
			continue
		}
		var v Value
		switch name {
		case "acc":
			v = is(picked)
		case "f1", "mcc":
			v = Label{right.only(), picked}
		case "acc_norm":
			v = is(argmax(scaled(sums, c.Choices, utf8.RuneCountInString)))
		case "acc_bytes":
			v = is(argmax(scaled(sums, c.Choices, func(s string) int { return len(s) })))
		case "exact_match":
			v = number(right.written(greedy))
		case "brier_score":
			v = Choice{right.only(), softmax(sums)}
		case "likelihood":
			v = Choice{right.only(), sums}
		case "acc_mutual_info":
			if alone == nil {
				return nil, errors.New("acc_mutual_info needs the choices' own log-likelihoods")
			}
			gain := make([]float64, len(sums))
			for i := range gain {
				gain[i] = sums[i] - alone[i]
			}
			v = is(argmax(gain))
		}
		out = append(out, Measure{name, v})
	}
	return out, nil
}

func softmax(x []float64) []float64 {
	top, sum := slices.Max(x), 0.0
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = math.Exp(v - top)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// outside is the index the harness gives to a right answer that is none of the choices.
const outside = -100

// golden are the indexes of the right choices.
type golden []int

func (g golden) is(i int) bool { return slices.Contains(g, i) }

func (g golden) only() int {
	if len(g) != 1 {
		return outside
	}
	return g[0]
}

// written tells whether greedy decoding writes a right choice. A negative index counts from the end, as Python's does.
func (g golden) written(greedy []bool) bool {
	return slices.ContainsFunc(g, func(i int) bool {
		if i < 0 {
			i += len(greedy)
		}
		return i >= 0 && i < len(greedy) && greedy[i]
	})
}

// gold reads which choices are right.
func gold(c Case) (golden, error) {
	list, ok := c.Target.([]any)
	if !ok {
		list = []any{c.Target}
	}
	var out golden
	for _, v := range list {
		i := 0
		switch v := v.(type) {
		case int64:
			i = int(v)
		case bool:
			i = int(number(v))
		case string:
			if i = slices.Index(c.Choices, v); i < 0 {
				i = outside
			}
		default:
			return nil, fmt.Errorf("the right answer is a %T, want the index of a choice or its text", v)
		}
		if i >= len(c.Choices) {
			i = outside
		}
		out = append(out, i)
	}
	return out, nil
}

// generated judges the text a model wrote.
func (r *Rule) generated(c Case) (out []Measure, err error) {
	answer := c.Answers[0]
	if list, ok := answer.([]any); ok && len(list) == 1 { // an array of one answer is compared as that
		answer = list[0]
	}
	targets, err := r.targets(c)
	if err != nil {
		return nil, err
	}
	text, ok := answer.(string)
	if !ok && !r.has("bypass") {
		return nil, fmt.Errorf("the filters left a %T; the metrics compare text", answer)
	}
	for _, m := range r.Metrics {
		var v Value
		switch m.Name {
		case "exact_match":
			if v, err = m.matches(text, targets); err != nil {
				return nil, fmt.Errorf("exact_match: %w", err)
			}
		case "bleu", "chrf", "ter":
			if r.MultipleTarget {
				return nil, fmt.Errorf("%s has one reference, the document has several targets", m.Name)
			}
			v = Translation{targets, text}
		case "bypass":
		default:
			return nil, fmt.Errorf("metric %s doesn't judge text", m.Name)
		}
		out = append(out, Measure{m.Name, v})
	}
	return out, nil
}

// matches is 1 if the text equals any of the targets.
func (m Metric) matches(text string, targets []string) (float64, error) {
	share, err := m.exact.share(slices.Repeat([]string{text}, len(targets)), targets)
	if share > 0 {
		share = 1
	}
	return share, err
}

// targets are the right answers as text.
func (r *Rule) targets(c Case) ([]string, error) {
	if r.HasChoices {
		i, ok := c.Target.(int64)
		if i < 0 {
			i += int64(len(c.Choices))
		}
		if !ok || i < 0 || i >= int64(len(c.Choices)) {
			return nil, fmt.Errorf("the target %v is not the index of one of %d choices", c.Target, len(c.Choices))
		}
		return []string{c.Choices[i]}, nil
	}
	list, ok := c.Target.([]any)
	if !ok || !r.MultipleTarget {
		list = []any{c.Target}
	}
	if len(list) == 0 {
		return nil, errors.New("the document has no target")
	}
	out := make([]string, len(list))
	for i, v := range list {
		if s, ok := v.(string); ok {
			out[i] = s
			continue
		}
		out[i] = r.Str(v)
	}
	return out, nil
}

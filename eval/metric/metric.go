// Package metric turns a model's answers into scores exactly as lm-evaluation-harness does:
//
//	answers ─► filters ─► metrics of a document ─► aggregate, standard error ─► groups ─► the board's average
//
// Names, defaults, ties and rounding are the harness' own. What only Python would do (an unknown name, a value of the
// wrong kind) is an error.
package metric

import (
	"errors"
	"fmt"
)

// What a task asks of a model.
const (
	OutputLogLikelihood  = "loglikelihood"
	OutputRolling        = "loglikelihood_rolling"
	OutputMultipleChoice = "multiple_choice"
	OutputGenerate       = "generate_until"
)

// A Metric is what is measured of each document, and how that becomes one number.
type Metric struct {
	Name           string
	Aggregation    Aggregation
	HigherIsBetter bool
	exact          *exactMatch
}

// usual are the metrics the harness knows, with their aggregation and whether higher is better.
var usual = map[string]struct {
	aggregation string
	higher      bool
}{
	"acc": {"mean", true}, "acc_norm": {"mean", true}, "acc_mutual_info": {"mean", true}, "acc_bytes": {"mean", true},
	"exact_match": {"mean", true}, "likelihood": {"mean", true}, "bypass": {"bypass", true},
	"perplexity": {"perplexity", false}, "word_perplexity": {"weighted_perplexity", false},
	"byte_perplexity": {"weighted_perplexity", false}, "bits_per_byte": {"bits_per_byte", false},
	"brier_score": {"brier_score", false}, "mcc": {"matthews_corrcoef", true}, "f1": {"f1", true},
	"bleu": {"bleu", true}, "chrf": {"chrf", true}, "ter": {"ter", true},
}

// Defaults are the metrics of a kind of task that names none.
func Defaults(output string) ([]Metric, error) {
	names := map[string][]string{
		OutputLogLikelihood:  {"perplexity", "acc"},
		OutputRolling:        {"word_perplexity", "byte_perplexity", "bits_per_byte"},
		OutputMultipleChoice: {"acc", "acc_norm"},
		OutputGenerate:       {"exact_match"},
	}[output]
	var all []Metric
	for _, name := range names {
		m, err := NewMetric(name, nil, false)
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// NewMetric makes a metric from its entry in a task's metric_list: "aggregation" and "higher_is_better", and what is
// left are settings of its own. The names of a task with a process_results helper are the helper's own.
func NewMetric(name string, s Settings, helper bool) (Metric, error) {
	m := Metric{Name: name}
	own := Settings{}
	for key, value := range s {
		switch key {
		case "metric", "aggregation", "higher_is_better":
		case "hf_evaluate":
			if value == true && !helper {
				return m, fmt.Errorf("metric %s is one of Hugging Face's evaluate, which needs Python", name)
			}
		default:
			own[key] = value
		}
	}
	known, ok := usual[name]
	if !ok && !helper {
		return m, fmt.Errorf("there is no metric %q", name)
	}
	aggregation, err := setting(s, "aggregation", known.aggregation)
	if err != nil {
		return m, err
	}
	if aggregation == "" {
		return m, fmt.Errorf("metric %s names no aggregation", name)
	}
	if m.Aggregation, err = NewAggregation(aggregation); err != nil {
		return m, fmt.Errorf("metric %s: %w", name, err)
	}
	if m.HigherIsBetter, err = setting(s, "higher_is_better", known.higher || !ok); err != nil {
		return m, fmt.Errorf("metric %s: %w", name, err)
	}
	switch {
	case helper:
	case name == "exact_match":
		m.exact, err = newExactMatch(own)
	case len(own) > 0:
		err = errors.New("it has no settings of its own")
	}
	if err != nil {
		return m, fmt.Errorf("metric %s: %w", name, err)
	}
	return m, nil
}

// A Measure is the value of one metric for one document: what its aggregation takes, or an int64 or bool that counts as
// a number.
type Measure struct {
	Name  string
	Value Value
}

package taskrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"d2nwg/eval/lm"
	"d2nwg/eval/metric"
	"d2nwg/eval/task"
	"d2nwg/internal/jinja"
)

// An Answerer answers all requests of a task: for each request, in order, the list of its repeated answers.
type Answerer func(ctx context.Context, t *Task) ([]any, lm.Tokens, error)

// Options of Evaluate.
type Options struct {
	Resamples int // of bootstrapped standard errors; 0 = no standard errors at all
}

// Evaluation is what Evaluate found.
type Evaluation struct {
	Tasks  []*TaskResult
	Groups []*GroupResult
}

// TaskResult is what a task's documents scored.
type TaskResult struct {
	Task    *Task
	Metrics []Aggregate
	Samples []task.Doc // one a document and filter, as samples files hold them
	Hash    string     // of all documents, prompts and targets
	Tokens  lm.Tokens
	higher  []higher
	// Scores are the documents' values of each metric that has numbers, by "metric,filter".
	Scores map[string][]float64
}

type higher struct {
	metric string
	better bool
}

// Aggregate is a metric over all documents.
type Aggregate struct {
	Metric, Filter string
	Value          float64
	StdErr         float64
	HasStdErr      bool
}

// Key names the aggregate as results files do.
func (a Aggregate) Key() string { return a.Metric + "," + a.Filter }

// Evaluate asks, judges and aggregates. Tasks come in the order given, whatever the number of workers.
func Evaluate(ctx context.Context, tasks []*Task, groups []Group, answer Answerer, o Options) (*Evaluation, error) {
	for _, t := range tasks {
		if err := CheckTask(t); err != nil {
			return nil, err
		}
	}
	e := &Evaluation{}
	for _, t := range tasks {
		answers, tokens, err := answer(ctx, t)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", t.Name(), err)
		}
		r, err := judge(t, answers, o)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", t.Name(), err)
		}
		r.Tokens = tokens
		e.Tasks = append(e.Tasks, r)
	}
	e.Groups = aggregateGroups(groups, e.Tasks)
	return e, nil
}

// judge turns a task's answers into samples and aggregates.
func judge(t *Task, answers []any, o Options) (*TaskResult, error) {
	rule, err := t.rule()
	if err != nil {
		return nil, err
	}
	lines, err := t.pipelines()
	if err != nil {
		return nil, err
	}
	var docs []metric.Document
	for _, in := range t.Instances {
		for range in.Requests {
			docs = append(docs, document{in.Doc})
		}
	}
	if len(answers) != len(docs) {
		return nil, fmt.Errorf("%d answers to %d requests", len(answers), len(docs))
	}
	r := &TaskResult{Task: t, Scores: map[string][]float64{}}
	for _, m := range rule.Metrics {
		r.higher = append(r.higher, higher{m.Name, m.HigherIsBetter})
	}
	for _, line := range lines {
		filtered, err := metric.Chain(line.chain, answers, docs)
		if err != nil {
			return nil, fmt.Errorf("filter %s: %w", line.name, err)
		}
		if err := r.line(rule, line.name, answers, filtered, o); err != nil {
			return nil, fmt.Errorf("filter %s: %w", line.name, err)
		}
	}
	r.Hash = t.hash(len(lines))
	return r, nil
}

// hash is the harness' task hash: of all samples, which are as many as documents times chains of filters.
func (t *Task) hash(lines int) string {
	sum := sha256.New()
	for range lines {
		for _, in := range t.Instances {
			sum.Write([]byte(in.DocHash + in.PromptHash + in.TargetHash))
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// line judges what one chain of filters left of the answers.
func (r *TaskResult) line(rule *metric.Rule, filter string, answers, filtered []any, o Options) error {
	values := map[string][]metric.Value{}
	var order []string
	at := 0
	for _, in := range r.Task.Instances {
		n := len(in.Requests)
		c := metric.Case{Document: document{in.Doc}, Answers: filtered[at : at+n], Choices: in.Choices, Target: plain(in.Target)}
		if r.Task.Config.OutputType == task.MultipleChoice {
			c.Target = plain(in.Gold)
		}
		measures, err := rule.Judge(c)
		if err != nil {
			return fmt.Errorf("document %d: %w", in.TrueID, err)
		}
		for _, m := range measures {
			if values[m.Name] == nil {
				order = append(order, m.Name)
			}
			values[m.Name] = append(values[m.Name], m.Value)
		}
		r.Samples = append(r.Samples, sample(in, filter, answers[at:at+n], filtered[at:at+n], measures))
		at += n
	}
	for _, name := range order {
		if err := r.aggregate(rule, name, filter, values[name], o); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (r *TaskResult) aggregate(rule *metric.Rule, name, filter string, values []metric.Value, o Options) error {
	aggregation, err := metric.NewAggregation("mean") // of metrics that only the helper names
	for _, m := range rule.Metrics {
		if m.Name == name {
			aggregation = m.Aggregation
		}
	}
	if err != nil {
		return err
	}
	a := Aggregate{Metric: name, Filter: filter}
	if a.Value, err = aggregation.Of(values); err != nil {
		return err
	}
	if a.StdErr, a.HasStdErr, err = aggregation.StdErr(values, o.Resamples); err != nil {
		return err
	}
	r.Metrics = append(r.Metrics, a)
	if scores, ok := metric.Numbers(values); ok {
		r.Scores[a.Key()] = scores
	}
	return nil
}

// sample is a document's line of a samples file.
func sample(in task.Instance, filter string, answers, filtered []any, measures []metric.Measure) task.Doc {
	arguments := jinja.NewDict()
	for i, q := range in.Requests {
		args := object("arg_0", q.Context, "arg_1", q.Continuation)
		switch q.Type {
		case task.LoglikelihoodRolling:
			args = object("arg_0", q.Continuation)
		case task.GenerateUntil:
			args = object("arg_0", q.Context, "arg_1", q.GenKwargs)
		}
		arguments.Put(fmt.Sprintf("gen_args_%d", i), args)
	}
	names := make([]string, len(measures))
	for i, m := range measures {
		names[i] = m.Name
	}
	d := object("doc_id", in.TrueID, "doc", in.Doc, "target", pythonText(in.Target), "arguments", arguments,
		"resps", sanitized(answers), "filtered_resps", sanitized(filtered), "filter", filter, "metrics", list(names),
		"doc_hash", in.DocHash, "prompt_hash", in.PromptHash, "target_hash", in.TargetHash)
	for _, m := range measures {
		d.Put(m.Name, shown(m.Value))
	}
	return d
}

// SampleKeys are the metrics and filters of a result, sorted.
func (r *TaskResult) SampleKeys() []string { return slices.Sorted(maps.Keys(r.Scores)) }

// Values are the documents' numbers of a metric; filter "" takes the first that has it.
func (r *TaskResult) Values(metric, filter string) ([]float64, error) {
	for _, a := range r.Metrics {
		if a.Metric == metric && (filter == "" || a.Filter == filter) && r.Scores[a.Key()] != nil {
			return r.Scores[a.Key()], nil
		}
	}
	return nil, fmt.Errorf("task %s has no metric %s with a number a document; it has %s", r.Task.Name(), metric, strings.Join(r.SampleKeys(), " "))
}

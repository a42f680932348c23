// Package taskrun evaluates tasks: it asks the model what the tasks ask, keeps every answer in a journal, judges the answers
// and writes results and samples in the layout of lm-evaluation-harness.
//
//	task.Instance ─► lm (answers, journal) ─► filters ─► metrics ─► samples, aggregates ─► groups ─► results
package taskrun

import (
	"fmt"
	"strings"

	"d2nwg/eval/metric"
	"d2nwg/eval/task"
)

// A Task is a task with what it asks of a model.
type Task struct {
	Config          *task.Config
	Instances       []task.Instance
	Documents       int         // of the task, before a limit
	Files           []task.File // its data
	Shots           int         // few-shot examples
	MultipleTargets bool        // doc_to_target gives several right answers
}

// Name is the task's name.
func (t *Task) Name() string { return t.Config.Task }

// base is a function's name without its module.
func base(f task.Function) string { return f.Name[strings.LastIndexByte(f.Name, '.')+1:] }

// rule says how the task's documents are judged.
func (t *Task) rule() (*metric.Rule, error) {
	c := t.Config
	r := &metric.Rule{Output: string(c.OutputType), Helper: base(c.ProcessResults), HasChoices: c.DocToChoice.Set(), MultipleTarget: t.MultipleTargets, Str: func(v any) string { return pythonText(v) }}
	if r.Helper != "" && !metric.HasHelper(r.Helper) {
		return nil, fmt.Errorf("task %s needs the Python helper %s, for which there is no Go function", c.Task, c.ProcessResults.Name)
	}
	if c.Metrics == nil {
		var err error
		if r.Metrics, err = metric.Defaults(r.Output); err != nil {
			return nil, fmt.Errorf("task %s: %w", c.Task, err)
		}
	}
	for _, m := range c.Metrics {
		if m.Function.Name != "" {
			return nil, fmt.Errorf("task %s needs the Python metric %s, for which there is no Go function", c.Task, m.Function.Name)
		}
		s := settings(m.Args)
		if m.Aggregation != "" {
			s["aggregation"] = m.Aggregation
		}
		if m.AggregationFunction.Name != "" {
			s["aggregation"] = base(m.AggregationFunction)
		}
		if m.HigherIsBetter != nil {
			s["higher_is_better"] = *m.HigherIsBetter
		}
		made, err := metric.NewMetric(m.Name, s, r.Helper != "")
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", c.Task, err)
		}
		r.Metrics = append(r.Metrics, made)
	}
	return r, nil
}

// pipeline is a chain of filters with its name.
type pipeline struct {
	name  string
	chain []metric.Filter
}

func (t *Task) pipelines() ([]pipeline, error) {
	all := t.Config.Filters
	if all == nil {
		all = []task.FilterPipeline{{Name: "none", Steps: []task.Filter{{Function: "take_first"}}}}
	}
	var out []pipeline
	for _, p := range all {
		made := pipeline{name: p.Name}
		for _, step := range p.Steps {
			if step.Helper.Name != "" {
				return nil, fmt.Errorf("task %s needs the Python filter %s, for which there is no Go function", t.Name(), step.Helper.Name)
			}
			f, err := metric.NewFilter(step.Function, settings(step.Args))
			if err != nil {
				return nil, fmt.Errorf("task %s: %w", t.Name(), err)
			}
			made.chain = append(made.chain, f)
		}
		out = append(out, made)
	}
	return out, nil
}

// CheckTask tells whether the task's answers can be judged, before any work starts.
func CheckTask(t *Task) error {
	if _, err := t.rule(); err != nil {
		return err
	}
	_, err := t.pipelines()
	return err
}

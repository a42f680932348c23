package taskrun

import (
	"d2nwg/eval/task"
	"d2nwg/internal/jinja"
)

// dump is a task's configuration as the harness dumps it: its fields in their order, those without a value left out.
func dump(t *Task) *jinja.Dict {
	c := t.Config
	d := object("task", c.Task)
	text := func(key, value string) {
		if value != "" {
			d.Put(key, value)
		}
	}
	text("task_alias", c.TaskAlias)
	if len(c.Tags) > 0 {
		d.Put("tag", list(c.Tags))
	}
	text("dataset_path", c.DatasetPath)
	text("dataset_name", c.DatasetName)
	if c.DatasetKwargs != nil {
		d.Put("dataset_kwargs", c.DatasetKwargs)
	}
	text("training_split", c.TrainingSplit)
	text("validation_split", c.ValidationSplit)
	text("test_split", c.TestSplit)
	text("fewshot_split", c.FewshotSplit)
	text("process_docs", c.ProcessDocs.Name)
	d.Put("doc_to_text", fieldValue(c.DocToText))
	d.Put("doc_to_target", fieldValue(c.DocToTarget))
	d.Put("unsafe_code", false)
	if c.DocToChoice.Set() {
		d.Put("doc_to_choice", fieldValue(c.DocToChoice))
	}
	text("process_results", c.ProcessResults.Name)
	d.Put("description", c.Description)
	d.Put("target_delimiter", c.TargetDelimiter)
	d.Put("fewshot_delimiter", c.FewshotDelimiter)
	d.Put("fewshot_config", fewshot(c.Fewshot))
	d.Put("num_fewshot", t.Shots)
	if c.Metrics != nil {
		d.Put("metric_list", metricList(c.Metrics))
	}
	d.Put("output_type", string(c.OutputType))
	if c.GenerationKwargs != nil {
		d.Put("generation_kwargs", t.generation())
	}
	d.Put("repeats", max(1, c.Repeats))
	if c.Filters != nil {
		d.Put("filter_list", filterList(c.Filters))
	}
	rest(d, c.Raw)
	return d
}

// generation are the settings the task's requests were built with, those of the command line included.
func (t *Task) generation() task.Doc {
	for _, in := range t.Instances {
		for _, q := range in.Requests {
			if q.GenKwargs != nil {
				return q.GenKwargs
			}
		}
	}
	return t.Config.GenerationKwargs
}

// rest adds what only shows in the dump.
func rest(d *jinja.Dict, raw task.Doc) {
	get := func(key string) task.Value {
		if raw == nil {
			return nil
		}
		v, _ := raw.Get(key)
		return v
	}
	decontaminate := get("should_decontaminate")
	if decontaminate == nil {
		decontaminate = false
	}
	d.Put("should_decontaminate", decontaminate)
	for _, key := range []string{"doc_to_decontamination_query", "gen_prefix", "metadata"} {
		if v := get(key); v != nil {
			d.Put(key, v)
		}
	}
}

func fieldValue(f task.Field) task.Value {
	if f.Function.Name != "" {
		return f.Function.Name
	}
	return f.Value
}

func orNone(s string) task.Value {
	if s == "" {
		return nil
	}
	return s
}

func fewshot(f task.FewshotConfig) *jinja.Dict {
	var samples task.Value
	if f.Samples != nil {
		samples = list(f.Samples)
	}
	if f.SamplesFunction.Name != "" {
		samples = f.SamplesFunction.Name
	}
	sampler := f.Sampler
	if sampler == "" {
		sampler = "default"
	}
	return object("sampler", sampler, "split", orNone(f.Split), "process_docs", orNone(f.ProcessDocs.Name), "fewshot_indices", nil,
		"samples", samples, "doc_to_text", fieldValue(f.DocToText), "doc_to_choice", fieldValue(f.DocToChoice),
		"doc_to_target", fieldValue(f.DocToTarget), "gen_prefix", orNone(f.GenPrefix), "fewshot_delimiter", f.FewshotDelimiter,
		"target_delimiter", f.TargetDelimiter)
}

func metricList(all []task.Metric) *jinja.List {
	l := &jinja.List{}
	for _, m := range all {
		d := object("metric", m.Name)
		aggregation := m.Aggregation
		if m.AggregationFunction.Name != "" {
			aggregation = m.AggregationFunction.Name
		}
		if aggregation != "" {
			d.Put("aggregation", aggregation)
		}
		if m.HigherIsBetter != nil {
			d.Put("higher_is_better", *m.HigherIsBetter)
		}
		if m.Args != nil {
			d.Merge(m.Args)
		}
		l.Items = append(l.Items, d)
	}
	return l
}

func filterList(all []task.FilterPipeline) *jinja.List {
	l := &jinja.List{}
	for _, p := range all {
		steps := &jinja.List{}
		for _, s := range p.Steps {
			d := object("function", s.Function)
			if s.Args != nil {
				d.Merge(s.Args)
			}
			steps.Items = append(steps.Items, d)
		}
		l.Items = append(l.Items, object("name", p.Name, "filter", steps))
	}
	return l
}

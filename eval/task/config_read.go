package task

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"d2nwg/internal/jinja"
)

// ErrHelper is wrapped by the error of a task that needs something only Python can do; the error names it.
var ErrHelper = errors.New("the task needs Python")

// Keys of a task file. The structural ones name it, the others are the fields of the harness' TaskConfig.
var (
	structural = []string{"tag", "group", "task_list", "include"}
	taskKeys   = []string{"task", "task_alias", "custom_dataset", "dataset_path", "dataset_name", "dataset_kwargs",
		"training_split", "validation_split", "test_split", "fewshot_split", "process_docs", "doc_to_text",
		"doc_to_target", "doc_to_image", "doc_to_audio", "unsafe_code", "doc_to_choice", "process_results", "use_prompt",
		"description", "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot", "metric_list",
		"output_type", "generation_kwargs", "repeats", "filter_list", "should_decontaminate",
		"doc_to_decontamination_query", "gen_prefix", "metadata"}
	fewshotKeys = []string{"sampler", "split", "process_docs", "fewshot_indices", "samples", "doc_to_text",
		"doc_to_choice", "doc_to_target", "gen_prefix", "fewshot_delimiter", "target_delimiter"}
	outputTypes = []OutputType{Loglikelihood, LoglikelihoodRolling, GenerateUntil, MultipleChoice}
)

// parseConfig makes a Config of a merged task file, with the harness' defaults.
func parseConfig(d Doc, source string) (*Config, error) {
	f := &fields{d: d, where: source}
	for key := range d.All() {
		if name, ok := key.(string); !ok || !slices.Contains(taskKeys, name) && !slices.Contains(structural, name) {
			if key == "class" {
				return nil, fmt.Errorf("%s: %w: it is written in Python as class %v", source, ErrHelper, shown(f.get("class")))
			}
			return nil, fmt.Errorf("%s: a task file has no key %v", source, key)
		}
	}
	c := &Config{Source: source, Raw: d, Task: f.text("task", ""), TaskAlias: f.text("task_alias", ""), Tags: f.names("tag"),
		DatasetPath: f.text("dataset_path", ""), DatasetName: f.name("dataset_name"), DatasetKwargs: f.dict("dataset_kwargs"),
		TrainingSplit: f.text("training_split", ""), ValidationSplit: f.text("validation_split", ""),
		TestSplit: f.text("test_split", ""), FewshotSplit: f.text("fewshot_split", ""),
		ProcessDocs: f.function("process_docs"), DocToText: f.field("doc_to_text"),
		DocToTarget: f.field("doc_to_target"), DocToChoice: f.field("doc_to_choice"),
		Description: f.text("description", ""), TargetDelimiter: f.text("target_delimiter", " "),
		FewshotDelimiter: f.text("fewshot_delimiter", "\n\n"), GenPrefix: f.text("gen_prefix", ""),
		ProcessResults: f.function("process_results"),
		OutputType:     OutputType(f.text("output_type", string(GenerateUntil))), Repeats: 1, Metadata: metadata(f)}
	if f.get("num_fewshot") != nil {
		n := f.number("num_fewshot")
		if n < 0 {
			f.fail("num_fewshot", "0 or more", n)
		}
		c.NumFewshot = &n
	}
	if f.get("repeats") != nil {
		if c.Repeats = f.number("repeats"); c.Repeats < 1 {
			f.fail("repeats", "1 or more", c.Repeats)
		}
	}
	if f.err == nil && !slices.Contains(outputTypes, c.OutputType) {
		f.fail("output_type", fmt.Sprintf("one of %v", outputTypes), string(c.OutputType))
	}
	c.readFewshot(f)
	c.readGeneration(f)
	c.readMetrics(f)
	c.readFilters(f)
	if f.err != nil {
		return nil, f.err
	}
	return c, c.supported()
}

func shown(v Value) any {
	if fn, ok := v.(Function); ok {
		return fn.Name
	}
	return v
}

func metadata(f *fields) Doc {
	if d, ok := f.get("metadata").(Doc); ok {
		return d
	} else if f.get("metadata") == nil {
		return nil
	}
	d := jinja.NewDict()
	d.Put("_metadata", f.get("metadata"))
	return d
}

// supported refuses what only Python can do and what isn't text.
func (c *Config) supported() error {
	for _, key := range []string{"custom_dataset", "use_prompt", "doc_to_image", "doc_to_audio"} {
		if v, _ := c.Raw.Get(key); v != nil {
			return fmt.Errorf("%s: %w: %s is %v", c.Source, ErrHelper, key, shown(v))
		}
	}
	if v, _ := c.Raw.Get("unsafe_code"); v == true {
		return fmt.Errorf("%s: %w: it runs the model's answers as code (unsafe_code)", c.Source, ErrHelper)
	}
	return nil
}

func (c *Config) readFewshot(f *fields) {
	d := f.dict("fewshot_config")
	if d == nil {
		d = jinja.NewDict()
	}
	sub := &fields{d: d, where: f.where + ": fewshot_config"}
	for key := range d.All() {
		if name, ok := key.(string); !ok || !slices.Contains(fewshotKeys, name) {
			sub.err = fmt.Errorf("%s has no key %v", sub.where, key)
		}
	}
	given := func(key string) bool { _, ok := d.Get(key); return ok }
	fc := FewshotConfig{Sampler: "default", Split: c.FewshotSplit, ProcessDocs: c.ProcessDocs, DocToText: c.DocToText,
		DocToTarget: c.DocToTarget, DocToChoice: c.DocToChoice, GenPrefix: c.GenPrefix,
		FewshotDelimiter: c.FewshotDelimiter, TargetDelimiter: c.TargetDelimiter}
	for key, into := range map[string]*string{"sampler": &fc.Sampler, "split": &fc.Split, "gen_prefix": &fc.GenPrefix,
		"fewshot_delimiter": &fc.FewshotDelimiter, "target_delimiter": &fc.TargetDelimiter} {
		if given(key) {
			if fn, ok := sub.get(key).(Function); ok && key == "sampler" {
				f.err = fmt.Errorf("%s: %w: its sampler is %s", f.where, ErrHelper, fn.Name)
				return
			}
			*into = sub.text(key, "")
		}
	}
	for key, into := range map[string]*Field{"doc_to_text": &fc.DocToText, "doc_to_target": &fc.DocToTarget,
		"doc_to_choice": &fc.DocToChoice} {
		if given(key) {
			*into = sub.field(key)
		}
	}
	if given("process_docs") {
		fc.ProcessDocs = sub.function("process_docs")
	}
	fc.readSamples(sub)
	c.Fewshot = fc
	f.keep(sub)
}

func (f *fields) keep(sub *fields) {
	if f.err == nil {
		f.err = sub.err
	}
}

func (fc *FewshotConfig) readSamples(f *fields) {
	switch samples := f.get("samples").(type) {
	case nil:
	case Function:
		fc.SamplesFunction = samples
	case *jinja.List:
		for _, item := range samples.Items {
			doc, ok := item.(Doc)
			if !ok {
				f.fail("samples", "a list of mappings", item)
				return
			}
			fc.Samples = append(fc.Samples, doc)
		}
	default:
		f.fail("samples", "a list or a "+functionTag, samples)
	}
}

func (c *Config) readGeneration(f *fields) {
	given := f.dict("generation_kwargs")
	if given == nil {
		if c.OutputType != GenerateUntil {
			return
		}
		given = jinja.NewDict()
		given.Put("temperature", 0.0)
		given.Put("do_sample", false)
		given.Put("max_gen_toks", 256)
	}
	kwargs := given.Copy()
	if v, ok := kwargs.Get("temperature"); ok {
		switch n, isInt := jinja.Int(v); {
		case isInt:
			kwargs.Put("temperature", float64(n))
		default:
			if _, ok := v.(float64); !ok {
				f.fail("temperature", "a number", v)
			}
		}
	}
	if _, ok := kwargs.Get("until"); !ok {
		kwargs.Put("until", &jinja.List{Items: []Value{c.FewshotDelimiter}})
	}
	c.GenerationKwargs = kwargs
}

func (c *Config) readMetrics(f *fields) {
	for _, item := range f.list("metric_list") {
		d, ok := item.(Doc)
		if !ok {
			f.fail("metric_list", "a list of mappings", item)
			return
		}
		sub := &fields{d: d, where: f.where + ": metric_list"}
		m := Metric{HigherIsBetter: sub.flag("higher_is_better"),
			Args: args(d, "metric", "aggregation", "higher_is_better", "hf_evaluate")}
		switch v := sub.get("metric").(type) {
		case Function:
			m.Name, m.Function = v.Name[strings.LastIndexByte(v.Name, '.')+1:], v
		case string:
			m.Name = v
		default:
			sub.fail("metric", "a name", v)
		}
		switch v := sub.get("aggregation").(type) {
		case Function:
			m.AggregationFunction = v
		default:
			m.Aggregation = sub.text("aggregation", "")
		}
		f.keep(sub)
		c.Metrics = append(c.Metrics, m)
	}
}

func (c *Config) readFilters(f *fields) {
	for _, item := range f.list("filter_list") {
		d, ok := item.(Doc)
		if !ok {
			f.fail("filter_list", "a list of mappings", item)
			return
		}
		sub := &fields{d: d, where: f.where + ": filter_list"}
		p := FilterPipeline{Name: sub.text("name", "")}
		if p.Name == "" {
			sub.fail("name", "a text", sub.get("name"))
		}
		for _, step := range sub.list("filter") {
			d, ok := step.(Doc)
			if !ok {
				sub.fail("filter", "a list of mappings", step)
				break
			}
			s := &fields{d: d, where: sub.where}
			filter := Filter{Args: args(d, "function")}
			if fn, ok := s.get("function").(Function); ok {
				filter.Function, filter.Helper = fn.Name, fn
			} else if filter.Function = s.text("function", ""); filter.Function == "" {
				s.fail("function", "a name", s.get("function"))
			}
			sub.keep(s)
			p.Steps = append(p.Steps, filter)
		}
		f.keep(sub)
		c.Filters = append(c.Filters, p)
	}
}

// Functions lists what the task names with !function: first what its requests need, then what its results need.
func (c *Config) Functions() (requests, results []Function) {
	requests = []Function{c.ProcessDocs, c.DocToText.Function, c.DocToTarget.Function, c.DocToChoice.Function,
		c.Fewshot.ProcessDocs, c.Fewshot.SamplesFunction, c.Fewshot.DocToText.Function, c.Fewshot.DocToTarget.Function,
		c.Fewshot.DocToChoice.Function}
	results = []Function{c.ProcessResults}
	for _, m := range c.Metrics {
		results = append(results, m.Function, m.AggregationFunction)
	}
	for _, p := range c.Filters {
		for _, step := range p.Steps {
			results = append(results, step.Helper)
		}
	}
	none := func(fn Function) bool { return fn.Name == "" }
	return slices.DeleteFunc(requests, none), slices.DeleteFunc(results, none)
}

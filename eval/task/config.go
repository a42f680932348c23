package task

import (
	"path/filepath"
	"slices"

	"d2nwg/internal/jinja"
)

// Config is a task as its YAML file (with what it includes) defines it, under the harness' names and with its defaults.
type Config struct {
	Task      string
	TaskAlias string
	Tags      []string
	Source    string // the file it was read from

	DatasetPath, DatasetName                       string
	DatasetKwargs                                  Doc    // nil = none
	TrainingSplit, ValidationSplit, TestSplit      string // "" = none
	FewshotSplit                                   string
	ProcessDocs                                    Function // zero = none
	DocToText, DocToTarget, DocToChoice            Field
	ProcessResults                                 Function // zero = the output type's own
	Description, TargetDelimiter, FewshotDelimiter string
	GenPrefix                                      string // "" = none
	Fewshot                                        FewshotConfig
	NumFewshot                                     *int // nil = not set, that is 0
	OutputType                                     OutputType
	Metrics                                        []Metric // nil = the defaults of OutputType
	GenerationKwargs                               Doc      // for GenerateUntil never nil
	Repeats                                        int
	Filters                                        []FilterPipeline // nil = take_first alone, named "none"
	Metadata                                       Doc              // nil = none
	Raw                                            Doc              // the merged file, a !function as its name
}

// Function is the name in a !function, such as "utils.process_docs", with the folder of the file that names it.
type Function struct {
	Folder string // of the task file, as "leaderboard/gpqa" below the harness' lm_eval/tasks, else its path
	Name   string
}

// Field is one of doc_to_text, doc_to_target and doc_to_choice.
type Field struct {
	Value    Value    // a template or column (string), a number, a list or a dict; nil where Function is set
	Function Function // zero = none
}

// Set tells whether the task file has the field.
func (f Field) Set() bool { return f.Value != nil || f.Function.Name != "" }

// FewshotConfig is fewshot_config, in which what isn't set is taken from the task.
type FewshotConfig struct {
	Sampler                             string // "default" or "first_n"
	Split                               string // "" = none
	ProcessDocs                         Function
	Samples                             []Doc    // nil = none
	SamplesFunction                     Function // makes Samples
	DocToText, DocToTarget, DocToChoice Field
	GenPrefix                           string
	FewshotDelimiter, TargetDelimiter   string
}

// Metric is an entry of metric_list.
type Metric struct {
	Name                string
	Function            Function // zero = Name is a metric of the harness
	Aggregation         string   // "" = the metric's default
	AggregationFunction Function // zero = none
	HigherIsBetter      *bool    // nil = the metric's default
	Args                Doc      // further keys, such as ignore_case and regexes_to_ignore; never nil
}

// FilterPipeline is an entry of filter_list.
type FilterPipeline struct {
	Name  string
	Steps []Filter
}

// Filter is a step of a pipeline.
type Filter struct {
	Function string
	Helper   Function // zero = Function is a filter of the harness
	Args     Doc      // further keys, such as regex_pattern; never nil
}

// Group is a group file: tasks, tags and groups under one name.
type Group struct {
	Name, Alias string
	Members     []Member    // in order
	Aggregate   []Aggregate // aggregate_metric_list
	Overrides   Doc         // keys that its tasks take over; never nil
	Metadata    Doc         // nil = none
	Source      string
}

// Member is an entry of a group.
type Member struct {
	Name      string // of a task, tag or group
	Overrides Doc    // keys that it takes over; never nil
	Inline    *Group // a group defined in place, where no other has its name
	Group     *Group // of a mapping with the key task: defines a task in place, where no other has its name
}

// Aggregate is an entry of a group's aggregate_metric_list.
type Aggregate struct {
	Metric       string
	Filters      []string // filter_list; nil = every filter
	WeightBySize bool     // true unless the file says otherwise
}

// args returns the entries of an entry but those named.
func args(entry Doc, but ...string) Doc {
	rest := jinja.NewDict()
	for key, v := range entry.All() {
		name, ok := key.(string)
		if ok && !slices.Contains(but, name) {
			rest.Put(name, v)
		}
	}
	return rest
}

// folder is where the task file lies.
func (c *Config) folder() string { return filepath.Dir(c.Source) }

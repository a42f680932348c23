package task

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"d2nwg/eval/metric"
	"d2nwg/eval/python"
	"d2nwg/internal/jinja"
)

// randomSeed is the harness' seed of the generator that all tasks share.
const randomSeed = 0

// Session opens tasks one after the other, as one call of the harness does: some helpers draw from a generator that
// all its tasks share, so that what they give depends on the tasks opened before. It is not safe for concurrent use.
type Session struct {
	random *python.Random
	own    *python.Random // of the one helper that has a generator of its own; nil = not made yet
}

// NewSession begins with random.seed(seed); the harness' default is 0.
func NewSession(seed *int) *Session {
	if seed == nil {
		return &Session{random: python.NewRandom(randomSeed)}
	}
	return &Session{random: python.NewRandom(*seed)}
}

// nameDraws is what the harness draws from the shared generator when it adds a task to a group: it looks the task's
// name up twice, and each time makes a random one of eight letters too.
const nameDraws = 2 * 8

// addedToGroup draws what adding a task to a group draws.
func (s *Session) addedToGroup() {
	for range nameDraws {
		s.random.Random()
	}
}

// Task is a task with its documents, ready to build requests. It is not safe for concurrent use.
type Task struct {
	Config *Config
	Files  []File // the data that was read
	Docs   []Doc  // the documents to evaluate, after process_docs; never empty
	Pool   []Doc  // the documents that few-shots are drawn from

	// MultipleInput is the number of contexts a document, where doc_to_text gives the index of the right one, as
	// WinoGrande's does; else 0.
	MultipleInput int
	// MultipleTargets is the number of right answers of the first document where doc_to_target gives a list; else 0.
	MultipleTargets int

	features  map[string]bool // columns of Docs
	templates map[string]*jinja.Template
}

// settings are the harness' Jinja2 environment.
var settings = jinja.Settings{KeepNewline: true, Strict: true, Filters: map[string]jinja.Filter{
	"regex_replace": {Required: 2, Params: []string{"pattern", "repl", "count"}, Call: regexReplace},
}}

var patterns sync.Map // of regexReplace, compiled

func regexReplace(v Value, args []Value) (Value, error) {
	text, ok := v.(string)
	source, ok2 := args[0].(string)
	replacement, ok3 := args[1].(string)
	if !ok || !ok2 || !ok3 {
		return nil, errors.New("regex_replace takes texts")
	}
	count, _ := jinja.Int(args[2])
	p, found := patterns.Load(source)
	if !found {
		compiled, err := metric.Compile(source)
		if err != nil {
			return nil, err
		}
		p, _ = patterns.LoadOrStore(source, compiled)
	}
	return p.(*metric.Pattern).Sub(replacement, text, count)
}

// Open makes a Task of its configuration and its data: process_docs runs, and the first document is looked at.
func (s *Session) Open(c *Config, data *Dataset) (*Task, error) {
	t := &Task{Config: c, Files: data.Files, features: map[string]bool{}, templates: map[string]*jinja.Template{}}
	if err := t.load(s, data); err != nil {
		return nil, fmt.Errorf("task %s: %w", c.Task, err)
	}
	return t, nil
}

func (t *Task) load(s *Session, data *Dataset) error {
	c := t.Config
	// Each split is processed once and few-shots come first, as with the harness' data sets, which remember.
	type processed struct{ fn, split string }
	done := map[processed][]Doc{}
	split := func(fn Function, name string) ([]Doc, error) {
		docs, ok := data.Splits[name]
		if !ok {
			return nil, fmt.Errorf("the data has no split %q, it has %v", name, sorted(data.Splits))
		}
		if fn.Name == "" {
			return docs, nil
		}
		key := processed{fn.key(), name}
		if docs, ok := done[key]; ok {
			return docs, nil
		}
		helper := docsHelpers[fn.key()]
		if helper == nil {
			return nil, fmt.Errorf("%w: its helper %s isn't one that processes documents", ErrHelper, fn.Name)
		}
		docs, err := helper(s, docs)
		if err != nil {
			return nil, fmt.Errorf("split %q: %s: %w", name, fn.Name, err)
		}
		done[key] = docs
		return docs, nil
	}
	var err error
	if t.Pool, err = t.fewshotDocs(split); err != nil {
		return fmt.Errorf("few-shot documents: %w", err)
	}
	evaluated := c.EvalSplit()
	if evaluated == "" {
		return errors.New("it has neither a test_split nor a validation_split")
	}
	if t.Docs, err = split(c.ProcessDocs, evaluated); err != nil {
		return err
	}
	if len(t.Docs) == 0 {
		return fmt.Errorf("the split %q has no documents", evaluated)
	}
	for key := range t.Docs[0].All() {
		if name, ok := key.(string); ok {
			t.features[name] = true
		}
	}
	return t.look()
}

// EvalSplit is the split that is evaluated: the test split, else the validation split; "" = none.
func (c *Config) EvalSplit() string {
	if c.TestSplit != "" {
		return c.TestSplit
	}
	return c.ValidationSplit
}

// Splits lists the splits that the task reads, without repeats.
func (c *Config) Splits() []string {
	var names []string
	seen := map[string]bool{"": true}
	for _, name := range []string{c.fewshotSource(), c.EvalSplit()} {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names
}

// fewshotSource is the split that few-shots come from; "" = samples in the file.
func (c *Config) fewshotSource() string {
	switch {
	case c.Fewshot.Split != "":
		return c.Fewshot.Split
	case c.Fewshot.Samples != nil || c.Fewshot.SamplesFunction.Name != "":
		return ""
	case c.TrainingSplit != "":
		return c.TrainingSplit
	case c.ValidationSplit != "":
		return c.ValidationSplit
	}
	return c.TestSplit
}

func (t *Task) fewshotDocs(split func(Function, string) ([]Doc, error)) ([]Doc, error) {
	c := t.Config
	if c.Fewshot.Split != "" {
		return split(c.Fewshot.ProcessDocs, c.Fewshot.Split)
	}
	if c.Fewshot.Samples != nil {
		return c.Fewshot.Samples, nil
	}
	if fn := c.Fewshot.SamplesFunction; fn.Name != "" {
		list := samplesHelpers[fn.key()]
		if list == nil {
			return nil, fmt.Errorf("%w: its helper %s isn't one that lists samples", ErrHelper, fn.Name)
		}
		return list(c.folder())
	}
	if source := c.fewshotSource(); source != "" {
		return split(c.ProcessDocs, source)
	}
	return nil, nil
}

// look tries the first document, as the harness does, and learns the task's shape from it.
func (t *Task) look() error {
	c, doc := t.Config, t.Docs[0]
	text, err := t.text(doc, c.DocToText)
	if err != nil {
		return at(0, err)
	}
	target, err := t.target(doc, c.DocToTarget)
	if err != nil {
		return at(0, err)
	}
	if list, ok := target.(*jinja.List); ok {
		t.MultipleTargets = len(list.Items)
	}
	if !c.DocToChoice.Set() {
		if c.OutputType == MultipleChoice {
			return errors.New("a multiple_choice task needs doc_to_choice")
		}
		return nil
	}
	choices, err := t.choices(doc, c.DocToChoice)
	if err != nil {
		return at(0, err)
	}
	if len(choices) == 0 {
		return at(0, errors.New("doc_to_choice gives no choices"))
	}
	for i, choice := range choices {
		if choice == "" {
			return at(0, fmt.Errorf("doc_to_choice gives an empty text as choice %d", i))
		}
	}
	if n, ok := jinja.Int(target); ok && (n >= len(choices) || n < -len(choices)) {
		return at(0, fmt.Errorf("doc_to_target gives %d, but there are %d choices", n, len(choices)))
	}
	if _, ok := jinja.Int(text); ok {
		t.MultipleInput = len(choices)
	}
	return nil
}

func at(doc int, err error) error { return fmt.Errorf("document %d: %w", doc, err) }

// render renders a template over a document.
func (t *Task) render(source string, doc Doc) (string, error) {
	tmpl, ok := t.templates[source]
	if !ok {
		var err error
		if tmpl, err = jinja.Parse(source, settings); err != nil {
			return "", fmt.Errorf("the template %.80q: %w", source, err)
		}
		t.templates[source] = tmpl
	}
	out, err := tmpl.Render(doc, time.Time{})
	if err != nil {
		return "", fmt.Errorf("the template %.80q: %w", source, err)
	}
	return out, nil
}

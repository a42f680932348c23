package task

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"

	"d2nwg/internal/jinja"
)

// builder builds the requests of one task.
type builder struct {
	*Task
	o       Options
	shots   int
	sampler *sampler
	cached  map[int][]turn // of rows of the pool
	kwargs  Doc            // of every generate_until request
}

// Build builds the requests of the documents that the options choose, in order. Errors name the task, the document and
// the field.
func (t *Task) Build(o Options) ([]Instance, error) {
	b, docs, err := t.builder(o)
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", t.Config.Task, err)
	}
	instances := make([]Instance, 0, len(docs))
	for id, row := range docs {
		in, err := b.instance(id, row)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", t.Config.Task, at(row, err))
		}
		instances = append(instances, in)
	}
	return instances, nil
}

func (t *Task) builder(o Options) (*builder, []int, error) {
	b := &builder{Task: t, o: o, shots: t.Config.Shots(o), cached: map[int][]turn{}, kwargs: t.genKwargs(o)}
	seed := fewshotSeed
	if o.Profile == V1 {
		seed = v1Seed
	}
	if o.FewshotSeed != nil {
		seed = *o.FewshotSeed
	}
	var err error
	if b.sampler, err = t.sampler(seed); err != nil {
		return nil, nil, err
	}
	order := make([]int, len(t.Docs))
	for i := range order {
		order[i] = i
	}
	if o.Profile == V1 {
		b.sampler.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		b.sampler.exclude = b.sampler.exclude && t.Config.TrainingSplit == ""
	}
	docs, err := o.choose(order)
	return b, docs, err
}

// Shots is the number of few-shots under the options: a task that says 0 keeps 0.
func (c *Config) Shots(o Options) int {
	own := 0
	if c.NumFewshot != nil {
		if own = *c.NumFewshot; own == 0 {
			return 0
		}
	}
	if o.NumFewshot != nil {
		return *o.NumFewshot
	}
	return own
}

// choose keeps the documents that are asked for, of all in order.
func (o Options) choose(order []int) ([]int, error) {
	if o.Samples != nil {
		if o.Limit != 0 {
			return nil, errors.New("a limit and samples exclude each other: give one of them")
		}
		var chosen []int
		for i, row := range order {
			if slices.Contains(o.Samples, i) {
				chosen = append(chosen, row)
			}
		}
		for _, i := range o.Samples {
			if i < 0 || i >= len(order) {
				return nil, fmt.Errorf("there is no sample %d: the documents are numbered from 0 to %d", i, len(order)-1)
			}
		}
		return chosen, nil
	}
	n := o.Limit
	switch {
	case n < 0 || math.IsNaN(n):
		return nil, fmt.Errorf("a limit of %v documents: it has to be above 0", n)
	case n == 0:
		return order, nil
	case n < 1:
		n = math.Ceil(float64(len(order)) * n)
	}
	return order[:int(min(n, float64(len(order))))], nil
}

// v1Until is where the board of June 2023 stopped an answer.
var v1Until = map[string][]string{"gsm8k": {":", "Question:", "Question"}}

// genKwargs are the task's generation_kwargs with the options' on top.
func (t *Task) genKwargs(o Options) Doc {
	if t.Config.OutputType != GenerateUntil {
		return nil
	}
	kwargs := t.Config.GenerationKwargs.Copy()
	if until := v1Until[t.Config.Task]; o.Profile == V1 && until != nil {
		kwargs.Put("until", listOf(until))
	}
	if o.GenKwargs != nil {
		kwargs.Merge(o.GenKwargs)
	}
	return kwargs
}

// instance builds the requests of a document, the id-th of those evaluated.
func (b *builder) instance(id, row int) (Instance, error) {
	c, doc := b.Config, b.Docs[row]
	in := Instance{Task: c.Task, DocID: id, TrueID: row, Doc: doc}
	var err error
	if in.FewshotIndices, err = b.sampler.draw(b.shots, doc); err != nil {
		return in, err
	}
	if in.Target, err = b.target(doc, c.DocToTarget); err != nil {
		return in, err
	}
	in.Gold = in.Target
	if c.DocToChoice.Set() {
		if in.Choices, err = b.choices(doc, c.DocToChoice); err != nil {
			return in, err
		}
	}
	contexts, question, err := b.contexts(doc, in.Choices, in.FewshotIndices)
	if err != nil {
		return in, err
	}
	if b.MultipleInput > 0 {
		in.Gold = question
	}
	if err := b.request(&in, contexts); err != nil {
		return in, err
	}
	return in, in.hash()
}

// request makes requests of the contexts, one or one a choice.
func (b *builder) request(in *Instance, contexts []string) error {
	c := b.Config
	add := func(typ OutputType, context, continuation string) {
		in.Requests = append(in.Requests, Request{Task: c.Task, DocID: in.DocID, Index: len(in.Requests), Type: typ,
			Context: context, Continuation: continuation, Repeats: c.Repeats})
	}
	target, err := jinja.Str(in.Target)
	if err != nil {
		return err
	}
	_, isText := in.Target.(string)
	switch c.OutputType {
	case GenerateUntil:
		add(GenerateUntil, contexts[0], "")
		in.Requests[0].GenKwargs = b.kwargs
	case Loglikelihood, LoglikelihoodRolling:
		if !isText {
			return fmt.Errorf("doc_to_target gives %.80s, and a %s needs a text", target, c.OutputType)
		}
		if c.OutputType == LoglikelihoodRolling {
			contexts[0] = ""
		}
		add(c.OutputType, contexts[0], target)
	case MultipleChoice:
		delimiter := b.delimiter()
		if b.MultipleInput > 0 {
			for _, context := range contexts {
				add(Loglikelihood, context, delimiter+target)
			}
		} else {
			for _, choice := range in.Choices {
				add(Loglikelihood, contexts[0], delimiter+choice)
			}
		}
		if c.mutualInformation() {
			for _, choice := range in.Choices {
				add(Loglikelihood, "", delimiter+choice)
			}
		}
	}
	return nil
}

// delimiter stands before what a multiple choice scores: none after a chat template, unless gen_prefix needs one.
func (b *builder) delimiter() string {
	_, space := spaceEnds(b.Config.GenPrefix)
	if b.o.Chat != nil && (b.Config.GenPrefix == "" || space) {
		return ""
	}
	return b.Config.TargetDelimiter
}

// mutualInformation tells whether a metric also needs the choices without a context.
func (c *Config) mutualInformation() bool {
	return slices.ContainsFunc(c.Metrics, func(m Metric) bool { return m.Name == "acc_mutual_info" })
}

func (in *Instance) hash() error {
	doc, err := jinja.EncodeJSON(in.Doc, 2)
	if err != nil {
		return err
	}
	target, err := jinja.Str(in.Target)
	if err != nil {
		return err
	}
	prompt := ""
	if len(in.Requests) > 0 {
		if prompt = in.Requests[0].Context; in.Requests[0].Type == LoglikelihoodRolling {
			prompt = in.Requests[0].Continuation
		}
	}
	in.DocHash, in.PromptHash, in.TargetHash = digest(doc), digest(prompt), digest(target)
	return nil
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

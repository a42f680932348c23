package taskrun

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"d2nwg/eval/lm"
	"d2nwg/eval/task"
	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
)

// Judged are a task's documents cut into splits by their hash, as improve judges candidates by them.
type Judged struct {
	Task   *Task // without its documents
	splits map[stats.Split][]task.Instance
}

// Cut cuts a task's documents by hash, whatever their order. A document that comes twice stands in one split, once.
func Cut(t *Task, shares stats.Shares) *Judged {
	j := &Judged{Task: t, splits: map[stats.Split][]task.Instance{}}
	seen := map[string]bool{}
	for _, in := range t.Instances {
		key := in.DocHash + in.PromptHash
		if seen[key] {
			continue
		}
		seen[key] = true
		split := shares.Cut(in.DocHash)
		j.splits[split] = append(j.splits[split], in)
	}
	return j
}

// Limit keeps the first n documents of a split; 0 keeps all.
func (j *Judged) Limit(split stats.Split, n int) {
	if n > 0 && len(j.splits[split]) > n {
		j.splits[split] = j.splits[split][:n]
	}
}

// Instances are a split's documents. They must not be changed.
func (j *Judged) Instances(split stats.Split) []task.Instance { return j.splits[split] }

// Hash identifies a split's documents with their prompts and targets.
func (j *Judged) Hash(split stats.Split) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s\n", j.Task.Name(), split)
	for _, in := range j.splits[split] {
		h.Write([]byte(in.DocHash + in.PromptHash + in.TargetHash))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Gold is a document as a prompt with its right answer, as a model may be trained on it; false where it has none.
func (j *Judged) Gold(in task.Instance) (prompt, answer string, ok bool) {
	switch j.Task.Config.OutputType {
	case task.MultipleChoice:
		for i, right := range goldChoices(in) {
			if right && i < len(in.Requests) {
				return in.Requests[i].Context, in.Requests[i].Continuation, true
			}
		}
	case task.Loglikelihood:
		return in.Requests[0].Context, in.Requests[0].Continuation, true
	case task.GenerateUntil:
		target := plain(in.Target)
		if list, isList := target.([]any); isList && len(list) > 0 {
			target = list[0]
		}
		if i, isIndex := target.(int64); isIndex && i >= 0 && int(i) < len(in.Choices) {
			target = in.Choices[i]
		}
		return in.Requests[0].Context, j.Task.Config.TargetDelimiter + pythonText(target), true
	}
	return "", "", false
}

// goldChoices tells of each choice whether it is right.
func goldChoices(in task.Instance) []bool {
	right := make([]bool, len(in.Choices))
	list, ok := plain(in.Gold).([]any)
	if !ok {
		list = []any{plain(in.Gold)}
	}
	for _, gold := range list {
		for i, c := range in.Choices {
			if gold == int64(i) || gold == c {
				right[i] = true
			}
		}
	}
	return right
}

// Scorer scores variants of a checkpoint by a metric of a task. It is safe for concurrent use.
type Scorer struct {
	base    *engine.Model
	tok     tokenizer.Tokenizer
	options lm.Options
	judged  *Judged
	metric  string
	filter  string
	plans   *lm.Plans
}

// NewScorer makes a scorer; metric "" is the task's first one that is a number a document and better when higher.
func NewScorer(base *engine.Model, tok tokenizer.Tokenizer, o lm.Options, j *Judged, metric string) (*Scorer, error) {
	rule, err := j.Task.rule()
	if err != nil {
		return nil, err
	}
	lines, err := j.Task.pipelines()
	if err != nil {
		return nil, err
	}
	if j.Task.Config.OutputType == task.LoglikelihoodRolling {
		return nil, fmt.Errorf("task %s measures text, of which no document has a score of its own; give the text itself as the score", j.Task.Name())
	}
	s := &Scorer{base: base, tok: tok, options: o, judged: j, metric: metric, filter: lines[0].name, plans: lm.NewPlans()}
	for _, m := range rule.Metrics {
		if metric != "" && m.Name != metric {
			continue
		}
		if m.Aggregation.Name == "mean" && m.HigherIsBetter {
			s.metric = m.Name
			return s, nil
		}
	}
	return nil, fmt.Errorf("task %s has no metric %q that is a mean over documents and better when higher", j.Task.Name(), metric)
}

// Metric names what Score measures.
func (s *Scorer) Metric() string { return s.judged.Task.Name() + " " + s.metric + "," + s.filter }

// Items is the number of documents of a split.
func (s *Scorer) Items(split stats.Split) int { return len(s.judged.splits[split]) }

// Hash identifies a split's documents.
func (s *Scorer) Hash(split stats.Split) string { return s.judged.Hash(split) }

// Score scores a variant on a split, document by document.
func (s *Scorer) Score(ctx context.Context, v *llm.Variant, split stats.Split) (stats.Scores, error) {
	return s.score(ctx, v, s.judged.splits[split])
}

// ScoreItems scores a variant on some documents of a split, in the order given.
func (s *Scorer) ScoreItems(ctx context.Context, v *llm.Variant, split stats.Split, items []int) (stats.Scores, error) {
	all := s.judged.splits[split]
	some := make([]task.Instance, len(items))
	for i, item := range items {
		if item < 0 || item >= len(all) {
			return stats.Scores{}, fmt.Errorf("split %s: there is no item %d among %d", split, item, len(all))
		}
		some[i] = all[item]
	}
	return s.score(ctx, v, some)
}

func (s *Scorer) score(ctx context.Context, v *llm.Variant, instances []task.Instance) (stats.Scores, error) {
	model, err := s.base.With(v)
	if err != nil {
		return stats.Scores{}, err
	}
	l, err := lm.New(lm.Model{Model: model, Plans: s.plans}, s.tok, s.options)
	if err != nil {
		return stats.Scores{}, err
	}
	t := *s.judged.Task
	t.Instances = instances
	reqs := t.requests()
	answers, _, err := l.Ask(ctx, reqs, lm.Memory{}, nil)
	if errors.Is(err, engine.ErrNotFinite) {
		return stats.Scores{Items: make([]float64, len(instances)), Broken: true}, nil
	}
	if err != nil {
		return stats.Scores{}, err
	}
	r, err := judge(&t, t.grouped(reqs, answers), Options{})
	if err != nil {
		return stats.Scores{}, err
	}
	items, err := r.Values(s.metric, s.filter)
	return stats.Scores{Items: slices.Clone(items)}, err
}

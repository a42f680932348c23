package eval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"

	"d2nwg/internal/stats"
	"d2nwg/llm"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
)

// Metrics. Larger is better in all of them.
const (
	Exact       = "exact"         // 1 if greedy decoding writes the answer and ends, else 0; ties by Margin
	Margin      = "margin"        // mean over the answer's tokens, its end included, of logit(token) − largest other logit
	BitsPerByte = "bits_per_byte" // minus the bits a document's tokens cost, per byte of its text, weighted by bytes
)

// worst is the score of every item of a candidate whose logits are not finite.
const worst = -1e6

// Options of a Scorer.
type Options struct {
	Metric  string // "" = Exact for questions, BitsPerByte for documents
	Workers int    // 0 = one a CPU
	Context int    // most tokens of a window of text; 0 = 512 or what the model allows
}

// A Scorer scores variants of one base on one data set. It is safe for concurrent use.
type Scorer struct {
	model   *engine.Model
	encoder Encoder
	data    *Dataset
	metric  string
	workers int
	context int
	splits  map[stats.Split]func() (*tokens, error) // made at first use, once
	picked  picks
	made    models
}

// picks are the latest selections of items: many candidates are scored on the same ones.
type picks struct {
	mu     sync.Mutex
	tokens map[string]*tokens
	order  []string // oldest first
}

// mostPicks is how many selections are kept: more than a race has looks.
const mostPicks = 16

// tokens is a split, ready for the engine: item i is scored by requests[first[i]:first[i+1]].
type tokens struct {
	requests []engine.Request
	first    []int
	bytes    []float64 // of the documents' text; nil for questions
	plan     *engine.Plan
}

// NewScorer makes a scorer of variants of the model's checkpoint.
func NewScorer(model *engine.Model, tok tokenizer.Tokenizer, data *Dataset, opt Options) (*Scorer, error) {
	text := len(data.Documents) > 0
	switch {
	case opt.Metric == "" && text:
		opt.Metric = BitsPerByte
	case opt.Metric == "":
		opt.Metric = Exact
	}
	switch {
	case opt.Metric != Exact && opt.Metric != Margin && opt.Metric != BitsPerByte:
		return nil, fmt.Errorf("there is no metric %q; use %s, %s or %s", opt.Metric, Exact, Margin, BitsPerByte)
	case text && opt.Metric != BitsPerByte:
		return nil, fmt.Errorf("%s holds text, which is scored by %s, not %s", data.Name, BitsPerByte, opt.Metric)
	case !text && opt.Metric == BitsPerByte:
		return nil, fmt.Errorf("%s holds questions, which are scored by %s or %s, not %s", data.Name, Exact, Margin, opt.Metric)
	case tok.VocabSize() > model.Config().VocabSize:
		return nil, fmt.Errorf("the tokenizer has %d tokens, the model %d: they don't belong together", tok.VocabSize(), model.Config().VocabSize)
	}
	s := &Scorer{
		model: model, encoder: NewEncoder(tok), data: data, metric: opt.Metric, workers: opt.Workers,
		splits: map[stats.Split]func() (*tokens, error){},
	}
	if s.workers <= 0 {
		s.workers = runtime.GOMAXPROCS(0)
	}
	if s.context = opt.Context; s.context <= 0 {
		s.context = 512
	}
	s.context = min(s.context, model.Config().MaxPositions)
	if s.context < 2 {
		return nil, errors.New("a window of text needs at least 2 tokens of context")
	}
	for _, split := range stats.Splits {
		s.splits[split] = sync.OnceValues(func() (*tokens, error) {
			if text {
				return s.planned(s.documents(data.Documents[split]))
			}
			return s.planned(s.questions(data.Questions[split]))
		})
	}
	return s, nil
}

// Metric names what Score measures.
func (s *Scorer) Metric() string { return s.metric }

// Items is the number of items of a split.
func (s *Scorer) Items(split stats.Split) int { return s.data.Items(split) }

// Hash identifies a split's items.
func (s *Scorer) Hash(split stats.Split) string { return s.data.Hash(split) }

// Data returns the data set scored on. It must not be changed.
func (s *Scorer) Data() *Dataset { return s.data }

// Score scores a variant of the base on a split, item by item. The variant must not change afterwards. A candidate whose logits are not finite gets the worst
// score everywhere, and is called broken, instead of an error.
func (s *Scorer) Score(ctx context.Context, v *llm.Variant, split stats.Split) (stats.Scores, error) {
	t, err := s.tokens(split)
	if err != nil {
		return stats.Scores{}, err
	}
	return s.score(ctx, v, t)
}

// ScoreItems scores a variant on some items of a split, in the order given. An item's score has the bits that Score
// gives it, whatever is scored beside it. Broken is a candidate here whose logits are not finite on these items.
func (s *Scorer) ScoreItems(ctx context.Context, v *llm.Variant, split stats.Split, items []int) (stats.Scores, error) {
	t, err := s.tokens(split)
	if err != nil {
		return stats.Scores{}, err
	}
	if t, err = s.pick(split, t, items); err != nil {
		return stats.Scores{}, fmt.Errorf("split %s: %w", split, err)
	}
	return s.score(ctx, v, t)
}

// planned plans the requests once for all candidates.
func (s *Scorer) planned(t *tokens, err error) (*tokens, error) {
	if err != nil {
		return nil, err
	}
	t.plan, err = s.model.NewPlan(t.requests, s.workers)
	return t, err
}

// pick returns some items of a split, from the latest selections where it is among them.
func (s *Scorer) pick(split stats.Split, t *tokens, items []int) (*tokens, error) {
	key := fmt.Sprint(split, items)
	p := &s.picked
	p.mu.Lock()
	defer p.mu.Unlock()
	if found, ok := p.tokens[key]; ok {
		return found, nil
	}
	picked, err := s.planned(t.pick(items))
	if err != nil {
		return nil, err
	}
	if len(p.order) == mostPicks {
		p.tokens[p.order[0]].plan.Release()
		delete(p.tokens, p.order[0])
		p.order = p.order[1:]
	}
	if p.tokens == nil {
		p.tokens = map[string]*tokens{}
	}
	p.tokens[key], p.order = picked, append(p.order, key)
	return picked, nil
}

// tokens makes a split ready, once.
func (s *Scorer) tokens(split stats.Split) (*tokens, error) {
	prepare, ok := s.splits[split]
	if !ok {
		return nil, fmt.Errorf("there is no split %q", split)
	}
	return prepare()
}

// pick is some of the items as a split of their own.
func (t *tokens) pick(items []int) (*tokens, error) {
	out := &tokens{first: []int{0}}
	for _, i := range items {
		if i < 0 || i+1 >= len(t.first) {
			return nil, fmt.Errorf("there is no item %d among %d", i, len(t.first)-1)
		}
		out.requests = append(out.requests, t.requests[t.first[i]:t.first[i+1]]...)
		out.first = append(out.first, len(out.requests))
		if t.bytes != nil {
			out.bytes = append(out.bytes, t.bytes[i])
		}
	}
	return out, nil
}

func (s *Scorer) score(ctx context.Context, v *llm.Variant, t *tokens) (stats.Scores, error) {
	model, err := s.made.of(s.model, v)
	if err != nil {
		return stats.Scores{}, err
	}
	responses, err := model.ScorePlan(ctx, t.plan)
	if errors.Is(err, engine.ErrNotFinite) {
		responses = nil
	} else if err != nil {
		return stats.Scores{}, err
	}
	return s.scores(t, responses), nil
}

// scores turns the engine's responses (nil = not finite) into one number an item.
func (s *Scorer) scores(t *tokens, responses []engine.Response) stats.Scores {
	n := len(t.first) - 1
	out := stats.Scores{Items: make([]float64, n), Weights: t.bytes, Broken: responses == nil}
	if s.metric == Exact {
		out.Tie = make([]float64, n)
	}
	for i := range n {
		if responses == nil {
			out.Items[i] = worst
			if s.metric == Exact {
				out.Items[i], out.Tie[i] = 0, worst
			}
			continue
		}
		of := responses[t.first[i]:t.first[i+1]]
		switch s.metric {
		case Exact:
			out.Items[i], out.Tie[i] = exact(of[0]), mean(of[0].Margins)
		case Margin:
			out.Items[i] = mean(of[0].Margins)
		case BitsPerByte:
			out.Items[i] = -bits(of) / t.bytes[i]
		}
	}
	return out
}

// exact is 1 if every token of the answer, its end included, is the most likely one given those before it. Greedy
// decoding then writes just this answer, and otherwise leaves it at the first token that is not.
func exact(r engine.Response) float64 {
	if r.AllGreedy() {
		return 1
	}
	return 0
}

func mean(x []float64) float64 {
	var sum float64
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func bits(windows []engine.Response) float64 {
	var nats float64
	for _, w := range windows {
		nats -= w.Sum()
	}
	return nats / math.Ln2
}

func (s *Scorer) questions(questions []Question) (*tokens, error) {
	t := &tokens{first: []int{0}}
	for i, q := range questions {
		prompt, answer, err := s.encoder.Pair(q.Prompt, q.Answer)
		if err != nil {
			return nil, fmt.Errorf("%s question %d: %w", s.data.Name, i+1, err)
		}
		ids := append(prompt, answer...)
		switch limit := s.model.Config().MaxPositions; {
		case len(prompt) == 0:
			return nil, fmt.Errorf("%s question %d: the prompt has no tokens", s.data.Name, i+1)
		case len(ids) > limit:
			return nil, fmt.Errorf("%s question %d has %d tokens, the model takes %d: %.40q", s.data.Name, i+1, len(ids), limit, q.Prompt)
		}
		t.requests = append(t.requests, engine.Request{IDs: ids, From: len(prompt)})
		t.first = append(t.first, len(t.requests))
	}
	return t, nil
}

// documents cuts every document into windows in which each token is predicted once, from the window's tokens before
// it. The first window starts with the beginning token (or else the end token), a later one with the last token of the
// window before, as lm-evaluation-harness does.
func (s *Scorer) documents(documents []string) (*tokens, error) {
	t := &tokens{first: []int{0}}
	for i, text := range documents {
		ids, err := s.encoder.Document(text)
		if err != nil {
			return nil, fmt.Errorf("%s document %d: %w", s.data.Name, i+1, err)
		}
		for at := 0; at+1 < len(ids); at += s.context - 1 {
			window := ids[at:min(at+s.context, len(ids))]
			t.requests = append(t.requests, engine.Request{IDs: window, From: 1})
		}
		t.first = append(t.first, len(t.requests))
		t.bytes = append(t.bytes, float64(len(text)))
	}
	return t, nil
}

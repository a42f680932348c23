// Package lm asks a model what lm-evaluation-harness asks of one: how likely a continuation is, how likely a text, and
// how it goes on. Texts become tokens and are truncated exactly as the harness' HFLM does it:
//
//	request ─► tokens (encode.go) ─► one plan over all requests, each shared prefix once ─► answer
//	                             └─► batches of prompts to continue (generate.go)        ─► answer
package lm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"d2nwg/eval/metric"
	"d2nwg/llm/engine"
	"d2nwg/llm/sample"
	"d2nwg/llm/tokenizer"
)

// Engine computes probabilities.
type Engine interface {
	sample.Model
	// ScoreEach answers requests together and hands over each response as soon as it is complete, never concurrently.
	ScoreEach(ctx context.Context, reqs []engine.Request, workers int, done func(request int, r engine.Response) error) error
	// Rows is how many tokens ScoreEach computes for requests.
	Rows(reqs []engine.Request) (int64, error)
}

// Options say how texts become tokens.
type Options struct {
	Special   *bool  // add the tokenizer's own tokens, such as <s>; nil: as a prefix the tokenizer asks for, which is true
	PrefixEOS bool   // an empty context is the end token even where there is a beginning token
	MaxLength int    // tokens of context; 0 = what the model's positions allow
	EOS       []int  // further tokens that end a text, those of generation_config.json
	Seed      uint64 // of generation with do_sample
	Workers   int    // 0 = one a CPU
}

// LM is a model with its tokenizer. It is safe for concurrent use.
type LM struct {
	engine  Engine
	tok     tokenizer.Tokenizer
	special bool
	prefix  int // what an empty context is
	bos     string
	eos     string
	ends    []int
	length  int // tokens of context
	seed    uint64
	workers int
}

// New makes an LM.
func New(e Engine, tok tokenizer.Tokenizer, o Options) (*LM, error) {
	l := &LM{engine: e, tok: tok, special: o.Special == nil || *o.Special, length: e.Config().MaxPositions, ends: o.EOS, seed: o.Seed, workers: o.Workers}
	if o.MaxLength < 0 || o.MaxLength > l.length {
		return nil, fmt.Errorf("max_length %d: the model takes 1 to %d tokens", o.MaxLength, l.length)
	}
	if o.MaxLength > 0 {
		l.length = o.MaxLength
	}
	if l.workers <= 0 {
		l.workers = runtime.GOMAXPROCS(0)
	}
	bos, hasBOS := tok.BOS()
	eos, hasEOS := tok.EOS()
	switch {
	case hasBOS && !(o.PrefixEOS && hasEOS):
		l.prefix = bos
	case hasEOS:
		l.prefix = eos
	default:
		return nil, errors.New("the tokenizer names neither a beginning nor an end token (bos_token, eos_token), so an empty context can't be scored")
	}
	if hasBOS {
		l.bos = tok.Decode([]int{bos}, false)
	}
	if hasEOS {
		l.eos = tok.Decode([]int{eos}, false)
		l.ends = append([]int{eos}, l.ends...)
	}
	return l, nil
}

// MaxLength is how many tokens of context there are.
func (l *LM) MaxLength() int { return l.length }

// A Request is one question to a model.
type Request struct {
	Output       string         // metric.OutputLogLikelihood, OutputRolling or OutputGenerate
	Context      string         // what comes before; of OutputRolling the text itself
	Continuation string         // of OutputLogLikelihood
	Generation   map[string]any // generation_kwargs of OutputGenerate: string, bool, int64, float64, nil or []any
	Repeat       int            // number of the repetition, where a request is asked several times
}

// Answer is what a model says to a Request.
type Answer struct {
	Sum    float64 `json:"sum,omitempty"`    // log-likelihood, natural logarithm
	Greedy bool    `json:"greedy,omitempty"` // greedy decoding writes the continuation
	Text   string  `json:"text,omitempty"`   // what was generated
}

// Tokens counts what answering costs.
type Tokens struct {
	Naive    int64 `json:"naive"`    // every request alone
	Computed int64 `json:"computed"` // what requests begin with alike counted once
}

// Memory keeps answers between runs. Both functions may be nil.
type Memory struct {
	Get func(key string) (Answer, bool, error)
	Put func(key string, a Answer) error // never called concurrently
}

// asked is a request as tokens.
type asked struct {
	key        string
	parts      []engine.Request // windows of a text, or one
	prompt     []int
	generation *generation
}

// Ask answers requests, those that the memory holds from there. An answer has the same bits whatever is asked beside
// it and however often the work was interrupted. progress is told how many are answered; it may be nil.
func (l *LM) Ask(ctx context.Context, reqs []Request, mem Memory, progress func(done int)) ([]Answer, Tokens, error) {
	all, err := l.encodeAll(ctx, reqs)
	if err != nil {
		return nil, Tokens{}, err
	}
	s := &session{lm: l, memory: mem, answers: map[string]Answer{}, progress: progress, total: len(reqs)}
	if err := s.pick(all); err != nil {
		return nil, Tokens{}, err
	}
	tokens, err := l.count(all)
	if err != nil {
		return nil, Tokens{}, err
	}
	if err := s.score(ctx); err != nil {
		return nil, Tokens{}, err
	}
	if err := s.generate(ctx); err != nil {
		return nil, Tokens{}, err
	}
	out := make([]Answer, len(reqs))
	for i, a := range all {
		out[i] = s.answers[a.key]
	}
	return out, tokens, nil
}

// encodeAll turns requests into tokens, on all workers.
func (l *LM) encodeAll(ctx context.Context, reqs []Request) ([]asked, error) {
	all := make([]asked, len(reqs))
	errs := make([]error, len(reqs))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range l.workers {
		wait.Go(func() {
			e := encoder{LM: l}
			const share = 16 // neighbours share their context
			for from := int(next.Add(share)) - share; from < len(reqs) && ctx.Err() == nil; from = int(next.Add(share)) - share {
				for i := from; i < min(from+share, len(reqs)); i++ {
					all[i], errs[i] = e.request(reqs[i])
				}
			}
		})
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("request %d: %w", i+1, err)
		}
	}
	return all, ctx.Err()
}

// key identifies what is asked of the model.
func (a asked) hash(repeat int) (string, error) {
	data, err := json.Marshal(struct {
		Parts      []engine.Request `json:"parts,omitempty"`
		Prompt     []int            `json:"prompt,omitempty"`
		Generation *generation      `json:"generation,omitempty"`
		Repeat     int              `json:"repeat"`
	}{a.parts, a.prompt, a.generation, repeat})
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), err
}

// count says what all requests cost, whichever of them are answered already.
func (l *LM) count(all []asked) (Tokens, error) {
	var t Tokens
	var parts []engine.Request
	var generated []*asked
	for i, a := range all {
		for _, p := range a.parts {
			t.Naive += int64(len(p.IDs) - 1)
		}
		parts = append(parts, a.parts...)
		if a.generation != nil {
			t.Naive += int64(len(a.prompt))
			generated = append(generated, &all[i])
		}
	}
	if len(parts) > 0 {
		var err error
		if t.Computed, err = l.engine.Rows(parts); err != nil {
			return t, err
		}
	}
	for _, batch := range batches(generated) {
		t.Computed += batchCost(batch)
	}
	return t, nil
}

// session answers the requests of one Ask.
type session struct {
	lm       *LM
	memory   Memory
	progress func(int)
	total    int
	times    map[string]int // how many requests a key stands for
	answers  map[string]Answer
	done     int
	scored   []asked
	written  []*asked
}

// pick sorts out what the memory doesn't hold, each question once.
func (s *session) pick(all []asked) error {
	s.times = map[string]int{}
	for i, a := range all {
		if s.times[a.key]++; s.times[a.key] > 1 {
			continue
		}
		if s.memory.Get != nil {
			found, ok, err := s.memory.Get(a.key)
			if err != nil {
				return err
			}
			if ok {
				s.answers[a.key] = found
				continue
			}
		}
		if a.generation != nil {
			s.written = append(s.written, &all[i])
		} else {
			s.scored = append(s.scored, a)
		}
	}
	for key := range s.answers {
		s.done += s.times[key]
	}
	return nil
}

// keep takes an answer in.
func (s *session) keep(key string, a Answer) error {
	if s.memory.Put != nil {
		if err := s.memory.Put(key, a); err != nil {
			return err
		}
	}
	s.answers[key] = a
	s.done += s.times[key]
	if s.progress != nil {
		s.progress(s.done)
	}
	return nil
}

// score answers what is asked about likelihoods, in one plan.
func (s *session) score(ctx context.Context) error {
	var parts []engine.Request
	var owner []int
	left := make([]int, len(s.scored))
	for i, a := range s.scored {
		left[i] = len(a.parts)
		if len(a.parts) == 0 { // an empty text
			if err := s.keep(a.key, Answer{}); err != nil {
				return err
			}
		}
		for _, p := range a.parts {
			parts, owner = append(parts, p), append(owner, i)
		}
	}
	if len(parts) == 0 {
		return nil
	}
	sums := make([]float64, len(parts))
	greedy := make([]bool, len(parts))
	first := 0
	starts := make([]int, len(s.scored))
	for i, a := range s.scored {
		starts[i] = first
		first += len(a.parts)
	}
	return s.lm.engine.ScoreEach(ctx, parts, s.lm.workers, func(part int, r engine.Response) error {
		sums[part], greedy[part] = r.Sum(), r.AllGreedy()
		i := owner[part]
		if left[i]--; left[i] > 0 {
			return nil
		}
		var a Answer
		for p := starts[i]; p < starts[i]+len(s.scored[i].parts); p++ { // in the text's order, so that the sum has the same bits
			a.Sum += sums[p]
		}
		a.Greedy = greedy[starts[i]]
		return s.keep(s.scored[i].key, a)
	})
}

// Value is an answer as the filters take it.
func (a Answer) Value(output string) any {
	switch output {
	case metric.OutputLogLikelihood:
		return metric.LogLikelihood{Sum: a.Sum, Greedy: a.Greedy}
	case metric.OutputRolling:
		return a.Sum
	}
	return a.Text
}

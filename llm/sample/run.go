package sample

import (
	"context"
	"fmt"
	"slices"

	"d2nwg/llm"
	"d2nwg/llm/tokenizer"
)

// Model continues sequences of tokens; *engine.Model is one.
type Model interface {
	Config() llm.Config
	Generate(ctx context.Context, prompts [][]int, next func(i int, logits []float32) (id int, more bool)) error
}

// Request is a text to continue.
type Request struct {
	Prompt   []int
	Sequence int // which stream of random numbers is drawn from
}

// Ending says where an answer ends: before a stop token, before a stop string or right after it, or after a number of
// tokens, if the model's positions don't run out first.
type Ending struct {
	Tokens  []int
	Strings []string
	Keep    bool // the stop string stays in the text
	MaxNew  int  // 0: as many as the model's positions allow
}

// The reasons why an answer ended.
const (
	Stopped = "stop"   // a stop token or a stop string
	Length  = "length" // the number of tokens
)

// Answer is how a text went on.
type Answer struct {
	IDs    []int  // without the stop token, with those of a stop string
	Text   string // without special tokens and, unless it is kept, the stop string
	Reason string // Stopped or Length; "" in an answer that an error cut off
}

// Run continues requests in one batch. The text of each answer is handed to piece, if that isn't nil, as it comes: what
// has been handed over never changes and holds no part of a stop string that is cut off. The answers don't depend on
// what else is in the batch. With an error come the answers as far as they got.
func Run(
	ctx context.Context, m Model, tok tokenizer.Tokenizer, reqs []Request, o Options, e Ending,
	piece func(i int, text string),
) ([]Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answers := make([]Answer, len(reqs))
	writers := make([]*writer, len(reqs))
	prompts := make([][]int, len(reqs))
	for i, r := range reqs {
		w, err := newWriter(tok, r, o, e, m.Config().MaxPositions)
		if err != nil {
			return answers, err
		}
		w.answer, writers[i], prompts[i] = &answers[i], w, r.Prompt
		w.give = func(text string) {
			w.answer.Text += text
			if piece != nil && text != "" {
				piece(i, text)
			}
		}
	}
	err := m.Generate(ctx, prompts, func(i int, logits []float32) (int, bool) {
		id, more, err := writers[i].next(logits)
		if err != nil {
			cancel(fmt.Errorf("sequence %d: %w", i, err))
		}
		return id, more && err == nil
	})
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	for _, w := range writers {
		if w.answer.Reason == "" {
			w.finish("")
		}
	}
	return answers, err
}

// writer turns the logits of one sequence into its answer.
type writer struct {
	sampler *Sampler
	stream  *tokenizer.Stream
	cutter  *Cutter
	stops   []int
	most    int // tokens
	answer  *Answer
	give    func(text string)
}

func newWriter(tok tokenizer.Tokenizer, r Request, o Options, e Ending, positions int) (*writer, error) {
	sampler, err := New(o, r.Sequence, r.Prompt)
	if err != nil {
		return nil, err
	}
	w := &writer{
		sampler: sampler, stream: tokenizer.NewStream(tok, true), cutter: NewCutter(e.Strings, e.Keep), stops: e.Tokens,
	}
	for _, id := range r.Prompt {
		w.stream.Add(id) // how the first tokens read depends on those before them
	}
	w.stream.Rest()
	w.most = positions - len(r.Prompt) + 1 // the last token needs no position
	if e.MaxNew > 0 {
		w.most = min(w.most, e.MaxNew)
	}
	return w, nil
}

// next chooses the next token and tells whether the answer goes on after it.
func (w *writer) next(logits []float32) (id int, more bool, err error) {
	if id, err = w.sampler.Next(logits); err != nil {
		return 0, false, err
	}
	if slices.Contains(w.stops, id) {
		w.finish(Stopped)
		return id, false, nil
	}
	w.answer.IDs = append(w.answer.IDs, id)
	text, stopped := w.cutter.Add(w.stream.Add(id))
	w.give(text)
	switch {
	case stopped:
		w.answer.Reason = Stopped
	case len(w.answer.IDs) >= w.most:
		w.finish(Length)
	default:
		return id, true, nil
	}
	return id, false, nil
}

// finish gives out what still waits.
func (w *writer) finish(reason string) {
	text, stopped := w.cutter.Add(w.stream.Rest())
	if stopped {
		reason = Stopped
	} else {
		text += w.cutter.Rest()
	}
	w.answer.Reason = reason
	w.give(text)
}

package lm

import (
	"errors"
	"fmt"
	"strings"

	"d2nwg/eval/metric"
	"d2nwg/llm/engine"
)

// encoder turns requests into tokens and remembers the latest context: the choices of a question share it.
type encoder struct {
	*LM
	context string
	ids     []int
}

func (e *encoder) request(r Request) (a asked, err error) {
	switch r.Output {
	case metric.OutputLogLikelihood:
		var pair engine.Request
		pair, err = e.pair(r.Context, r.Continuation)
		a.parts = []engine.Request{pair}
	case metric.OutputRolling:
		a.parts, err = e.windows(r.Context)
	case metric.OutputGenerate:
		a.prompt, a.generation, err = e.prompt(r.Context, r.Generation)
	default:
		err = fmt.Errorf("there is no request type %q", r.Output)
	}
	if err != nil {
		return a, err
	}
	repeat := 0
	if a.generation != nil && a.generation.Sample {
		repeat = r.Repeat // greedy decoding gives the same each time
	}
	a.key, err = a.hash(repeat)
	return a, err
}

// encode returns the ids of a text, with the tokenizer's own tokens unless the text begins with the prefix itself.
func (l *LM) encode(text, begin string) ([]int, error) {
	special := l.special && (begin == "" || !strings.HasPrefix(text, begin))
	return l.tok.Encode(text, special)
}

func (l *LM) prefixText() string { return l.tok.Decode([]int{l.prefix}, false) }

// pair encodes a continuation where it follows its context. Spaces at the context's end belong to the continuation:
// most vocabularies have words with the space before them.
func (e *encoder) pair(context, continuation string) (engine.Request, error) {
	if context == "" {
		return e.alone(continuation)
	}
	cut := strings.TrimRightFunc(context, metric.IsSpace)
	continuation, context = context[len(cut):]+continuation, cut
	begin := e.prefixText()
	if e.ids == nil || e.context != context {
		ids, err := e.encode(context, begin)
		if err != nil {
			return engine.Request{}, err
		}
		e.context, e.ids = context, ids
	}
	whole, err := e.encode(context+continuation, begin)
	if err != nil {
		return engine.Request{}, err
	}
	if len(e.ids) == 0 {
		return engine.Request{}, fmt.Errorf("the context %q has no tokens", context)
	}
	tail := whole[min(len(e.ids), len(whole)):]
	ids := make([]int, 0, len(e.ids)+len(tail))
	return e.truncated(append(append(ids, e.ids...), tail...), len(tail), continuation)
}

// alone encodes a continuation of nothing, which is scored after the prefix token.
func (e *encoder) alone(continuation string) (engine.Request, error) {
	ids, err := e.tok.Encode(continuation, false)
	if err != nil {
		return engine.Request{}, err
	}
	n := len(ids)
	if n > 0 && ids[0] == e.prefix {
		n--
	} else {
		ids = append([]int{e.prefix}, ids...)
	}
	return e.truncated(ids, n, continuation)
}

// truncated cuts tokens from the left to what the model takes, the last one being only predicted.
func (e *encoder) truncated(ids []int, continuation int, text string) (engine.Request, error) {
	switch {
	case continuation == 0:
		return engine.Request{}, fmt.Errorf("the continuation %.40q has no tokens of its own", text)
	case continuation > e.length:
		return engine.Request{}, fmt.Errorf("the continuation %.40q has %d tokens, the model takes %d", text, continuation, e.length)
	}
	ids = ids[max(0, len(ids)-e.length-1):]
	return engine.Request{IDs: ids, From: len(ids) - continuation}, nil
}

// windows cuts a text into stretches in which each token is predicted once. Every stretch but the last is as long as
// the model takes; the last one has all context that fits.
func (e *encoder) windows(text string) ([]engine.Request, error) {
	ids, err := e.encode(text, e.prefixText())
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, nil
	}
	n := min(e.length, len(ids))
	out := []engine.Request{{IDs: append([]int{e.prefix}, ids[:n]...), From: 1}}
	for done := n; done < len(ids); {
		fresh := min(len(ids)-done, e.length)
		end := done + fresh
		window := ids[end-e.length-1 : end]
		out = append(out, engine.Request{IDs: window, From: len(window) - fresh})
		done = end
	}
	return out, nil
}

// prompt encodes a context to be continued and cuts it from the left, so that there is room for what is generated.
func (e *encoder) prompt(context string, settings map[string]any) ([]int, *generation, error) {
	g, err := e.newGeneration(settings)
	if err != nil {
		return nil, nil, err
	}
	room := e.length - g.MaxNew
	if room <= 0 {
		return nil, nil, fmt.Errorf("max_gen_toks is %d, the model takes %d tokens with the prompt; pass a smaller one, such as --gen_kwargs max_gen_toks=%d",
			g.MaxNew, e.length, max(1, e.length/4))
	}
	ids, err := e.encode(context, e.bos)
	if err != nil {
		return nil, nil, err
	}
	if len(ids) == 0 {
		return nil, nil, errors.New("the prompt has no tokens")
	}
	return ids[max(0, len(ids)-room):], g, nil
}

package condition

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"d2nwg/llm"
	"d2nwg/llm/tokenizer"
)

// Reader reads token ids with a language model. llm/engine's Model is one.
type Reader interface {
	Config() llm.Config
	// Hidden returns the hidden states after the final norm, (T, hidden size).
	Hidden(ids []int) ([]float32, error)
}

// LLaMA embeds a text as the mean of the base model's hidden states over the text's tokens. The mean makes a description of several parts
// close to the sum of its parts, so that combinations never seen lie where a linear map expects them.
type LLaMA struct {
	model Reader
	tok   tokenizer.Tokenizer
	size  int // most tokens read at once
}

// NewLLaMA makes an embedder of the base model and its tokenizer.
func NewLLaMA(model Reader, tok tokenizer.Tokenizer) (*LLaMA, error) {
	c := model.Config()
	if c.MaxPositions < 2 {
		return nil, fmt.Errorf("condition: a model of %d positions can't read a text", c.MaxPositions)
	}
	if tok.VocabSize() > c.VocabSize {
		return nil, fmt.Errorf("condition: the tokenizer has %d ids, the model only %d", tok.VocabSize(), c.VocabSize)
	}
	return &LLaMA{model: model, tok: tok, size: c.MaxPositions}, nil
}

// Len is the length of the vectors: the model's hidden size.
func (l *LLaMA) Len() int { return l.model.Config().HiddenSize }

// Embed returns the mean over a text's sentences of each one's mean hidden state. Every sentence is read alone and counts the same, however
// long it is, so the embedding of a description made of parts is the mean of its parts' embeddings: what a regression learns of a part
// holds in combinations it never met.
func (l *LLaMA) Embed(text string) ([]float32, error) {
	var out []float32
	parts := sentences(text)
	for _, s := range parts {
		part, err := l.sentence(s)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = make([]float32, len(part))
		}
		for i, x := range part {
			out[i] += x / float32(len(parts))
		}
	}
	if out == nil {
		return nil, errors.New("condition: an empty text has no embedding; use the null condition for no text")
	}
	return out, nil
}

// sentences splits a text behind ".", "!" or "?" followed by a space, and at line ends.
func sentences(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		start := 0
		for i := range len(line) {
			if strings.IndexByte(".!?", line[i]) >= 0 && i+1 < len(line) && line[i+1] == ' ' {
				out = append(out, line[start:i+1])
				start = i + 1
			}
		}
		out = append(out, line[start:])
	}
	for i := range out {
		out[i] = strings.TrimSpace(out[i])
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// sentence returns the mean hidden state of a text's tokens. A text longer than the model's positions is read in pieces of equal length,
// each behind its own beginning-of-text token; the states of those tokens, which are the same for every text, are left out of the mean.
func (l *LLaMA) sentence(text string) ([]float32, error) {
	ids, err := l.tok.Encode(text, false)
	if err != nil {
		return nil, fmt.Errorf("condition: %w", err)
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("condition: %q has no tokens; use the null condition for no text", text)
	}
	var first []int
	if bos, ok := l.tok.BOS(); ok {
		first = []int{bos}
	}
	size := l.size - len(first)
	pieces := (len(ids) + size - 1) / size
	size = (len(ids) + pieces - 1) / pieces
	n := l.Len()
	sums := make([]float64, n)
	for piece := range slices.Chunk(ids, size) {
		h, err := l.model.Hidden(slices.Concat(first, piece))
		if err != nil {
			return nil, fmt.Errorf("condition: %w", err)
		}
		for i, x := range h[len(first)*n:] {
			sums[i%n] += float64(x)
		}
	}
	out := make([]float32, n)
	for i, s := range sums {
		out[i] = float32(s / float64(len(ids)))
	}
	return out, nil
}

package eval

import (
	"errors"
	"fmt"
	"slices"

	"d2nwg/llm/tokenizer"
)

// An Encoder turns prompts, answers and documents into token ids, the same way for training and scoring.
type Encoder struct {
	tok   tokenizer.Tokenizer
	begin []int // the beginning token, if the tokenizer has one
	end   []int // the token that ends an answer, if the tokenizer has one
}

// NewEncoder makes an encoder of a tokenizer.
func NewEncoder(tok tokenizer.Tokenizer) Encoder {
	var e Encoder
	e.tok = tok
	if id, ok := tok.BOS(); ok {
		e.begin = []int{id}
	}
	if id, ok := tok.EOS(); ok {
		e.end = []int{id}
	}
	return e
}

// Prompt returns the beginning token and the ids of text.
func (e Encoder) Prompt(text string) ([]int, error) { return e.after(e.begin, text) }

// Document returns the ids of a text behind the token it starts from: the beginning token or, in a vocabulary without
// one, the end token.
func (e Encoder) Document(text string) ([]int, error) {
	if len(e.begin)+len(e.end) == 0 {
		return nil, errors.New("the tokenizer names neither a beginning nor an end token, so a text's first token can't be predicted")
	}
	if len(e.begin) == 0 {
		return e.after(e.end, text)
	}
	return e.after(e.begin, text)
}

func (e Encoder) after(first []int, text string) ([]int, error) {
	ids, err := e.tok.Encode(text, false)
	return slices.Concat(first, ids), err
}

// Pair returns the ids of a prompt, with the beginning token, and of its answer, with the end token. An answer that
// spells out the end token itself could never be written and is an error.
func (e Encoder) Pair(prompt, answer string) (p, a []int, err error) {
	if len(e.end) == 0 {
		return nil, nil, errors.New("the tokenizer names no end token (eos_token), so an answer can't end")
	}
	if p, err = e.Prompt(prompt); err != nil {
		return nil, nil, err
	}
	if a, err = e.Continue(p, prompt, answer); err != nil {
		return nil, nil, err
	}
	if slices.Contains(a, e.end[0]) {
		return nil, nil, fmt.Errorf("the answer %.40q contains the end token", answer)
	}
	return p, append(a, e.end...), nil
}

// Continue returns the ids of text where it follows `before`, whose ids are given. Encoded together they may differ
// from the two encoded apart (SentencePiece starts a text with a space); the ids that follow the given ones are taken,
// unless a merge across the border has changed those.
func (e Encoder) Continue(ids []int, before, text string) ([]int, error) {
	whole, err := e.Prompt(before + text)
	if err != nil {
		return nil, err
	}
	if len(whole) > len(ids) && slices.Equal(whole[:len(ids)], ids) {
		return whole[len(ids):], nil
	}
	return e.tok.Encode(text, false)
}

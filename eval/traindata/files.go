package traindata

import (
	"fmt"

	"d2nwg/eval"
	"d2nwg/internal/stats"
	"d2nwg/llm/pack"
	"d2nwg/llm/tokenizer"
)

// Questions fills rows with the questions of a data set's train split.
type Questions struct {
	examples  []pack.Example
	prefix    []int
	rows, len int
	seed      uint64
}

// NewQuestions encodes the train split once. Questions longer than a row are left out; it is an error if all are.
func NewQuestions(tok tokenizer.Tokenizer, data *eval.Dataset, rows, length int, seed uint64) (*Questions, error) {
	q := &Questions{rows: rows, len: length, seed: seed}
	var err error
	if q.examples, q.prefix, _, err = encodeQuestions(eval.NewEncoder(tok), data.Questions[stats.Train], length); err != nil {
		return nil, err
	}
	if len(q.examples) == 0 {
		return nil, fmt.Errorf("%s: none of the %d questions to train on fits into a row of %d tokens",
			data.Name, len(data.Questions[stats.Train]), length)
	}
	return q, nil
}

// Len is how many questions there are to train on.
func (q *Questions) Len() int { return len(q.examples) }

// encodeQuestions turns the questions that fit into a row, which it returns as well, into examples behind a prefix.
func encodeQuestions(encoder eval.Encoder, questions []eval.Question, length int) (examples []pack.Example, prefix []int, fit []eval.Question, err error) {
	if prefix, err = encoder.Prompt(""); err != nil {
		return nil, nil, nil, err
	}
	for _, question := range questions {
		prompt, answer, err := encoder.Pair(question.Prompt, question.Answer)
		if err != nil {
			return nil, nil, nil, err
		}
		if len(prompt)+len(answer)-1 <= length {
			fit = append(fit, question)
			examples = append(examples, pack.Example{Prompt: prompt[len(prefix):], Answer: answer})
		}
	}
	return examples, prefix, fit, nil
}

// Batch returns the batch of a step.
func (q *Questions) Batch(step int) (*pack.Batch, error) {
	b := pack.NewBatch(q.rows, q.len)
	for row := range q.rows {
		r := rowRand(q.seed, step, q.rows, row)
		var chosen []pack.Example
		for room := q.len - len(q.prefix); ; {
			e := q.examples[r.IntN(len(q.examples))]
			if room -= len(e.Prompt) + len(e.Answer) - 1; room < 0 && len(chosen) > 0 {
				break
			}
			chosen = append(chosen, e)
		}
		b.Add(row, q.prefix, chosen)
	}
	return b, nil
}

// Text fills rows with stretches of the documents of a data set's train split, for language modelling.
type Text struct {
	ids       []int // all documents, each after its start token
	starts    []int // where documents start in ids
	rows, len int
	seed      uint64
}

// NewText encodes the train split once.
func NewText(tok tokenizer.Tokenizer, data *eval.Dataset, rows, length int, seed uint64) (*Text, error) {
	encoder := eval.NewEncoder(tok)
	t := &Text{rows: rows, len: length, seed: seed}
	for _, document := range data.Documents[stats.Train] {
		ids, err := encoder.Document(document)
		if err != nil {
			return nil, err
		}
		t.starts = append(t.starts, len(t.ids))
		t.ids = append(t.ids, ids...)
	}
	if len(t.ids) < 2 {
		return nil, fmt.Errorf("%s: there is no text to train on", data.Name)
	}
	return t, nil
}

// Batch returns the batch of a step. Every second row, by chance, starts with a document, as scored texts do; the
// others start anywhere, so that the later parts of long documents are learned too.
func (t *Text) Batch(step int) (*pack.Batch, error) {
	b := pack.NewBatch(t.rows, t.len)
	for row := range t.rows {
		r := rowRand(t.seed, step, t.rows, row)
		start := r.IntN(len(t.ids))
		if r.IntN(2) == 0 {
			start = t.starts[r.IntN(len(t.starts))]
		}
		stretch := make([]int, t.len+1)
		for i := range stretch {
			stretch[i] = t.ids[(start+i)%len(t.ids)] // round the end
		}
		pack.Text(b, row, stretch)
	}
	return b, nil
}

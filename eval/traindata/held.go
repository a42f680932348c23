package traindata

import (
	"fmt"

	"d2nwg/eval"
	"d2nwg/internal/stats"
	"d2nwg/llm/pack"
	"d2nwg/llm/tokenizer"
)

// Held lays the items of one split into batches, each item once: what a training measures its held-out loss on.
type Held struct {
	batches   []*pack.Batch
	rows, len int
	row       int // the next free row of the last batch
	data      *eval.Dataset
}

// NewHeld lays out the questions or documents of a split. Questions longer than a row are left out; it is an error if
// all are, or if there are none. Documents are cut into windows of a row.
func NewHeld(tok tokenizer.Tokenizer, data *eval.Dataset, split stats.Split, rows, length int) (*Held, error) {
	h := &Held{rows: rows, len: length, row: rows}
	encoder := eval.NewEncoder(tok)
	examples, prefix, fit, err := encodeQuestions(encoder, data.Questions[split], length)
	if err != nil {
		return nil, err
	}
	h.data = &eval.Dataset{Name: data.Name, Questions: map[stats.Split][]eval.Question{}, Documents: map[stats.Split][]string{}}
	if len(fit) > 0 {
		h.data.Questions[split] = fit
	}
	if len(data.Documents[split]) > 0 {
		h.data.Documents[split] = data.Documents[split]
	}
	for len(examples) > 0 {
		b := h.next()
		examples = examples[b.Add(h.row-1, prefix, examples):]
	}
	for _, document := range data.Documents[split] {
		ids, err := encoder.Document(document)
		if err != nil {
			return nil, err
		}
		for at := 0; at+1 < len(ids); at += length {
			b := h.next()
			pack.Text(b, h.row-1, ids[at:min(at+length+1, len(ids))])
		}
	}
	if len(h.batches) == 0 {
		return nil, fmt.Errorf("%s: none of the %d held-out items fits into a row of %d tokens", data.Name, data.Items(split), length)
	}
	return h, nil
}

// next takes the next row, of a new batch where the last one is full.
func (h *Held) next() *pack.Batch {
	if h.row == h.rows {
		h.batches, h.row = append(h.batches, pack.NewBatch(h.rows, h.len)), 0
	}
	h.row++
	return h.batches[len(h.batches)-1]
}

// Batch returns batch i of Batches; behind those it is empty.
func (h *Held) Batch(i int) (*pack.Batch, error) {
	if i < len(h.batches) {
		return h.batches[i], nil
	}
	return pack.NewBatch(h.rows, h.len), nil
}

// Batches is how many batches hold something.
func (h *Held) Batches() int { return len(h.batches) }

// Data is the split as it was laid out: without the questions that are longer than a row.
func (h *Held) Data() *eval.Dataset { return h.data }

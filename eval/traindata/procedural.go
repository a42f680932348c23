// Package traindata fills training batches. Every builder's Batch is a pure function of its fields and the step, which
// is what makes an interrupted training resume exactly. Nothing here can reach an evaluation split: procedural tasks
// come as a procedural.Training, questions and documents are those of a data set's train split.
package traindata

import (
	"fmt"
	"math/rand/v2"

	"d2nwg/eval"
	"d2nwg/eval/procedural"
	"d2nwg/llm/pack"
	"d2nwg/llm/tokenizer"
)

// Procedural fills rows with procedural tasks. A described row holds one task's description and as many of its
// examples as fit; a bare row holds examples of all the tasks, each seeing nothing but its own prompt.
type Procedural struct {
	Tokenizer tokenizer.Tokenizer
	Training  procedural.Training
	Bare      float64 // share of bare rows
	Rows, Len int
	Seed      uint64
}

// Batch returns the batch of a step.
func (p Procedural) Batch(step int) (*pack.Batch, error) {
	encoder := eval.NewEncoder(p.Tokenizer)
	b := pack.NewBatch(p.Rows, p.Len)
	for row := range p.Rows {
		r := rowRand(p.Seed, step, p.Rows, row)
		training, text := p.Training, ""
		if r.Float64() >= p.Bare {
			training = p.Training.One(r)
			text = training.Tasks()[0].Description + "\n"
		}
		prefix, err := encoder.Prompt(text)
		if err != nil {
			return nil, err
		}
		// The shortest example, "1+1>1" and the end, takes six positions.
		var examples []pack.Example
		for range max(p.Len-len(prefix), 0)/6 + 1 {
			item := training.Draw(r)
			prompt, err := encoder.Continue(prefix, text, procedural.Prompt("", item.X))
			if err != nil {
				return nil, err
			}
			_, answer, err := encoder.Pair(procedural.Prompt("", item.X), item.Y)
			if err != nil {
				return nil, err
			}
			examples = append(examples, pack.Example{Prompt: prompt, Answer: answer})
		}
		if b.Add(row, prefix, examples) == 0 {
			return nil, fmt.Errorf("a row of %d tokens has no room for a prefix of %d tokens and an example", p.Len, len(prefix))
		}
	}
	return b, nil
}

// rowRand is the random stream of one row of one step.
func rowRand(seed uint64, step, rows, row int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(step)*uint64(rows)+uint64(row)))
}

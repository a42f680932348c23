// Package traindata fills training batches. Every builder is a pure function of its fields and the step, which is what
// makes an interrupted training resume exactly.
package traindata

import (
	"fmt"
	"math/rand/v2"

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
	begin, end, err := specials(p.Tokenizer)
	if err != nil {
		return nil, err
	}
	b := pack.NewBatch(p.Rows, p.Len)
	for row := range p.Rows {
		r := rand.New(rand.NewPCG(p.Seed, uint64(step)*uint64(p.Rows)+uint64(row)))
		training, prefix := p.Training, []int{begin}
		if r.Float64() >= p.Bare {
			training = p.Training.One(r)
			described, err := p.Tokenizer.Encode(training.Tasks()[0].Description+"\n", false)
			if err != nil {
				return nil, err
			}
			prefix = append(prefix, described...)
		}
		// The shortest example, "1+1>1" and the end, takes six positions.
		var examples []pack.Example
		for range p.Len / 6 {
			it := training.Draw(r)
			e, err := example(p.Tokenizer, it.X+">", it.Y, end)
			if err != nil {
				return nil, err
			}
			examples = append(examples, e)
		}
		if b.Add(row, prefix, examples) == 0 {
			return nil, fmt.Errorf("a row of %d tokens has no room for a prefix of %d tokens and an example", p.Len, len(prefix))
		}
	}
	return b, nil
}

// specials returns the tokens that begin a prompt and end an answer.
func specials(t tokenizer.Tokenizer) (begin, end int, err error) {
	begin, hasBegin := t.BOS()
	end, hasEnd := t.EOS()
	if !hasBegin || !hasEnd {
		return 0, 0, fmt.Errorf("the tokenizer needs a beginning and an end token to train on prompts and answers")
	}
	return begin, end, nil
}

func example(t tokenizer.Tokenizer, prompt, answer string, end int) (pack.Example, error) {
	p, err := t.Encode(prompt, false)
	if err != nil {
		return pack.Example{}, err
	}
	a, err := t.Encode(answer, false)
	return pack.Example{Prompt: p, Answer: append(a, end)}, err
}

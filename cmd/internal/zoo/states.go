package zoo

import (
	"fmt"

	"d2nwg/eval"
	"d2nwg/llm/engine"
	"d2nwg/llm/tokenizer"
)

// stateParts are what is kept of an example: the mean hidden state of the prompt's tokens, that of the answer's, and the last one.
const stateParts = 3

// StateLen is how many numbers an example's states are.
func StateLen(m *engine.Model) int { return stateParts * m.Config().HiddenSize }

// States reads examples with the base: (questions, StateLen).
func States(m *engine.Model, tok tokenizer.Tokenizer, questions []eval.Question) ([]float32, error) {
	encoder := eval.NewEncoder(tok)
	width := m.Config().HiddenSize
	var out []float32
	for _, q := range questions {
		prompt, answer, err := encoder.Pair(q.Prompt, q.Answer)
		if err != nil {
			return nil, err
		}
		n := len(prompt) + len(answer)
		if n > m.Config().MaxPositions {
			return nil, fmt.Errorf("an example of %d tokens doesn't fit into the model's %d", n, m.Config().MaxPositions)
		}
		h, err := m.Hidden(append(append([]int{}, prompt...), answer...))
		if err != nil {
			return nil, err
		}
		row := make([]float32, stateParts*width)
		for i, x := range h {
			at, k := i/width, i%width
			if at < len(prompt) {
				row[k] += x / float32(len(prompt))
			} else {
				row[width+k] += x / float32(len(answer))
			}
			if at == n-1 {
				row[2*width+k] = x
			}
		}
		out = append(out, row...)
	}
	return out, nil
}

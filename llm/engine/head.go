package engine

import (
	"math"
	"slices"

	"d2nwg/llm/engine/kernel"
)

// vocabBlock is how many logits of each row exist at a time: all of them are never stored.
const vocabBlock = 2048

// partial is what one block of the vocabulary says of a row: of the other tokens than the one it is judged for.
type partial struct {
	top   float32 // largest logit
	first int     // the first token that has it, where that is asked for
	sum   float64 // Σ exp(logit − top)
	own   float32 // logit of the row's token, where the block has it
	empty bool    // it has no other token
}

// judged is what the logits of a row say of its token.
type judged struct {
	logProb float64 // natural logarithm of its probability
	margin  float64 // its logit − the largest of the others, +Inf in a vocabulary of one
	greedy  bool    // it is the argmax, of equal ones the lowest
	argmax  int
}

// judge compares tokens (rows) with the logits of hidden states (rows, hidden); the token −1 stands for none. The order
// of sums depends on the vocabulary alone. Without argmax set that of a row is only known where it is the token.
// With an error come the rows before the one that it is of.
func (m *Model) judge(hidden []float32, tokens []int, x *inputs, threads int, argmax bool) ([]judged, error) {
	out := make([]judged, len(tokens))
	blocks := (m.config.VocabSize + vocabBlock - 1) / vocabBlock
	for r := 0; r < len(tokens); r += rowBlock {
		n := min(rowBlock, len(tokens)-r)
		rows := hidden[r*m.config.HiddenSize : (r+n)*m.config.HiddenSize]
		in := x.reset(m.k, rows, m.config.HiddenSize).form(m.arithmetic(&m.head), threads)
		parts := make([]partial, n*blocks)
		kernel.Parallel(blocks, threadsFor(threads, n*m.config.VocabSize), 1, func(lo, hi int) {
			logits := make([]float32, n*min(vocabBlock, m.config.VocabSize))
			for b := lo; b < hi; b++ {
				m.judgeBlock(logits, in, b, tokens[r:r+n], parts[b:], blocks, argmax)
			}
		})
		for i := range n {
			j, tie, err := combine(parts[i*blocks:(i+1)*blocks], tokens[r+i])
			if err != nil {
				return out[:r+i], err
			}
			if out[r+i] = j; tie && !argmax { // rare: only now it matters which of the equal ones is the first
				again, err := m.judge(rows[i*m.config.HiddenSize:(i+1)*m.config.HiddenSize], tokens[r+i:r+i+1], new(inputs), 1, true)
				if err != nil {
					return out[:r+i], err
				}
				out[r+i] = again[0]
			}
		}
	}
	return out, nil
}

// judgeBlock computes one block of logits for all rows; parts has those of a row stride apart.
func (m *Model) judgeBlock(logits []float32, in *kernel.Input, b int, tokens []int, parts []partial, stride int, argmax bool) {
	lo := b * vocabBlock
	n := min(vocabBlock, m.config.VocabSize-lo)
	w := m.head.Weights
	size := w.In * w.Type.Size()
	part := kernel.Weights{Data: w.Data[lo*size : (lo+n)*size], Type: w.Type, Out: n, In: w.In}
	m.k.Multiply(logits, n, in, part, 0, n, false)
	for r, token := range tokens {
		row := logits[r*n : (r+1)*n]
		p := &parts[r*stride]
		own := token >= lo && token < lo+n
		if own {
			p.own = row[token-lo]
			row[token-lo] = float32(math.Inf(-1))
		}
		p.empty = own && n == 1
		p.top = m.k.Max(row)
		if argmax {
			p.first = lo + max(0, slices.Index(row, p.top))
		}
		if !p.empty {
			p.sum = m.k.SumExp(row, p.top)
		}
	}
}

// combine puts the blocks' partials of a row together. tie: another token has the same logit as the row's, and only
// where the blocks know their first it is decided which one greedy decoding takes.
func combine(parts []partial, token int) (j judged, tie bool, err error) {
	other, first := float32(math.Inf(-1)), 0
	for _, p := range parts {
		if p.top > other {
			other, first = p.top, p.first
		}
	}
	top, own := other, float32(math.Inf(-1))
	if token >= 0 {
		own = parts[token/vocabBlock].own
		top = max(own, other)
	}
	sum := 0.0
	for _, p := range parts {
		if !p.empty {
			sum += p.sum * math.Exp(float64(p.top)-float64(top))
		}
	}
	if token >= 0 {
		sum += math.Exp(float64(own) - float64(top))
	}
	if math.IsNaN(sum) || math.IsInf(float64(top), 0) {
		return j, false, ErrNotFinite
	}
	j.argmax = first
	if token >= 0 && (own > other || own == other && token < first) {
		j.greedy, j.argmax = true, token
	}
	j.logProb = float64(own) - float64(top) - math.Log(sum)
	j.margin = float64(own) - float64(other)
	return j, own == other, nil
}

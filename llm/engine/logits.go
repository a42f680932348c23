package engine

import (
	"context"
	"fmt"
	"runtime"
	"slices"
)

// check tells whether ids can be computed.
func (m *Model) check(ids []int) error {
	if len(ids) == 0 {
		return fmt.Errorf("a sequence needs at least one token")
	}
	if len(ids) > m.config.MaxPositions {
		return fmt.Errorf("%d tokens, max_position_embeddings is %d: %w", len(ids), m.config.MaxPositions, ErrTooLong)
	}
	return m.checkIDs(ids)
}

func (m *Model) checkIDs(ids []int) error {
	for i, id := range ids {
		if id < 0 || id >= m.config.VocabSize {
			return fmt.Errorf("token %d has the id %d, outside the vocabulary of %d", i, id, m.config.VocabSize)
		}
	}
	return nil
}

// sequence computes one sequence and hands its hidden states after the final norm, (len(need), hidden), to use; need
// nil means all.
func (m *Model) sequence(ids, need []int, observe func(int, []float32), use func(hidden []float32, s *scratch) error) error {
	if err := m.check(ids); err != nil {
		return err
	}
	s := m.scratch.Get().(*scratch)
	defer m.scratch.Put(s)
	b := &batch{
		ids: ids, segments: []*segment{{n: len(ids)}}, need: need, threads: runtime.GOMAXPROCS(0), observe: observe,
	}
	m.addCaches(b, s)
	return m.guarded(func() error {
		hidden, err := m.forward(context.Background(), b, s)
		if err != nil {
			return err
		}
		return use(hidden, s)
	})
}

// Hidden returns the hidden states after the final norm, (T, hidden).
func (m *Model) Hidden(ids []int) ([]float32, error) {
	var out []float32
	err := m.sequence(ids, nil, nil, func(hidden []float32, _ *scratch) error {
		out = append(out, hidden...)
		return nil
	})
	return out, err
}

// Logits returns the logits of every position, (T, vocab). For a large vocabulary Read needs far less memory.
func (m *Model) Logits(ids []int) ([]float32, error) {
	var out []float32
	err := m.sequence(ids, nil, nil, func(hidden []float32, s *scratch) error {
		m.logits(&out, hidden, s)
		return nil
	})
	return out, err
}

// LogitsLast returns the logits of the last position, (vocab).
func (m *Model) LogitsLast(ids []int) ([]float32, error) {
	var out []float32
	err := m.sequence(ids, []int{len(ids) - 1}, nil, func(hidden []float32, s *scratch) error {
		m.logits(&out, hidden, s)
		return nil
	})
	return out, err
}

// logits returns all logits of hidden states (rows, hidden), (rows, vocab), in the memory of out where there is room.
func (m *Model) logits(out *[]float32, hidden []float32, s *scratch) []float32 {
	y := sized(out, len(hidden)/m.config.HiddenSize*m.config.VocabSize)
	m.apply(s.inputs.reset(m.k, hidden, m.config.HiddenSize), runtime.GOMAXPROCS(0), output{l: &m.head, y: y})
	return y
}

// Reading is what a model says about a sequence of n tokens.
type Reading struct {
	LogitsLast    []float32 // (vocab) at the last position
	TokenLogProbs []float64 // (n−1) natural logarithm of the probability of ids[i+1] given ids[:i+1]
	Argmax        []int     // (n) most likely next token at each position; of equal ones the lowest id
}

// Read computes a Reading in one pass; its memory doesn't grow with n × vocab.
func (m *Model) Read(ids []int) (Reading, error) {
	n := len(ids)
	r := Reading{TokenLogProbs: make([]float64, max(n-1, 0)), Argmax: make([]int, n)}
	err := m.sequence(ids, nil, nil, func(hidden []float32, s *scratch) error {
		judged, err := m.judge(hidden, append(slices.Clone(ids[1:]), -1), &s.inputs, runtime.GOMAXPROCS(0), true)
		if err != nil {
			return err
		}
		for t, j := range judged {
			r.Argmax[t] = j.argmax
			if t < n-1 {
				r.TokenLogProbs[t] = j.logProb
			}
		}
		m.logits(&r.LogitsLast, hidden[(n-1)*m.config.HiddenSize:], s)
		return nil
	})
	return r, err
}

// TokenLogProbs returns the natural logarithms of the probabilities of ids[1:], each given all ids before it.
func (m *Model) TokenLogProbs(ids []int) ([]float64, error) {
	r, err := m.Read(ids)
	return r.TokenLogProbs, err
}

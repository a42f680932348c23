package engine

import (
	"context"
	"fmt"
	"math"
	"runtime"
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
	hidden, err := m.forward(context.Background(), b, s)
	if err != nil {
		return err
	}
	return use(hidden, s)
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
	err := m.sequence(ids, nil, nil, func(hidden []float32, _ *scratch) error {
		out = make([]float32, len(ids)*m.config.VocabSize)
		m.head.apply(m.k, out, hidden, len(ids), runtime.GOMAXPROCS(0), false)
		return nil
	})
	return out, err
}

// LogitsLast returns the logits of the last position, (vocab).
func (m *Model) LogitsLast(ids []int) ([]float32, error) {
	out := make([]float32, m.config.VocabSize)
	err := m.sequence(ids, []int{len(ids) - 1}, nil, func(hidden []float32, _ *scratch) error {
		m.head.apply(m.k, out, hidden, 1, runtime.GOMAXPROCS(0), false)
		return nil
	})
	return out, err
}

// Reading is what a model says about a sequence of n tokens.
type Reading struct {
	LogitsLast    []float32 // (vocab) at the last position
	TokenLogProbs []float64 // (n−1) natural logarithm of the probability of ids[i+1] given ids[:i+1]
	Argmax        []int     // (n) most likely next token at each position; of equal ones the lowest id
}

// Read computes a Reading in one pass; its memory doesn't grow with n × vocab.
func (m *Model) Read(ids []int) (Reading, error) {
	n, vocab := len(ids), m.config.VocabSize
	r := Reading{TokenLogProbs: make([]float64, max(n-1, 0)), Argmax: make([]int, n)}
	err := m.sequence(ids, nil, nil, func(hidden []float32, s *scratch) error {
		return m.eachLogits(hidden, s, runtime.GOMAXPROCS(0), func(t int, logits []float32) error {
			r.Argmax[t] = m.argmax(logits)
			if t == n-1 {
				r.LogitsLast = append(make([]float32, 0, vocab), logits...)
				return nil
			}
			logProb, _, _, err := m.judge(logits, ids[t+1])
			r.TokenLogProbs[t] = logProb
			return err
		})
	})
	return r, err
}

// TokenLogProbs returns the natural logarithms of the probabilities of ids[1:], each given all ids before it.
func (m *Model) TokenLogProbs(ids []int) ([]float64, error) {
	r, err := m.Read(ids)
	return r.TokenLogProbs, err
}

// eachLogits computes the logits of hidden states (rows, hidden), a bounded number of rows at a time, and calls f with
// each row's (vocab).
func (m *Model) eachLogits(hidden []float32, s *scratch, threads int, f func(row int, logits []float32) error) error {
	const most = 1 << 20 // values at a time
	c := m.config
	rows := len(hidden) / c.HiddenSize
	block := min(rowBlock, max(1, most/c.VocabSize))
	for r := 0; r < rows; r += block {
		n := min(block, rows-r)
		logits := sized(&s.logits, n*c.VocabSize)
		m.head.apply(m.k, logits, hidden[r*c.HiddenSize:], n, threads, false)
		for i := range n {
			if err := f(r+i, logits[i*c.VocabSize:(i+1)*c.VocabSize]); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge returns the log-probability of a token, the margin of its logit over the largest other one (+Inf in a
// vocabulary of one), and whether it is the argmax. It leaves the logits as they were.
func (m *Model) judge(logits []float32, token int) (logProb, margin float64, greedy bool, err error) {
	own := logits[token]
	logits[token] = float32(math.Inf(-1))
	other := m.k.max(logits)
	logits[token] = own
	top := max(own, other)
	sum := m.k.sumExp(logits, top)
	if math.IsNaN(sum) || math.IsInf(float64(top), 0) {
		return 0, 0, false, ErrNotFinite
	}
	greedy = own > other || own == other && m.argmax(logits) == token
	return float64(own) - float64(top) - math.Log(sum), float64(own) - float64(other), greedy, nil
}

// argmax returns the index of the largest value, of equal ones the first.
func (m *Model) argmax(x []float32) int {
	top := m.k.max(x)
	for i, v := range x {
		if v == top {
			return i
		}
	}
	return 0 // NaN
}

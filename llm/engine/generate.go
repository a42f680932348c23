package engine

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"

	"d2nwg/llm/engine/kernel"
)

// Generate continues all prompts in one batch. At each step next is called, for i in ascending order and never
// concurrently, with the logits (vocab) after the last token of sequence i; they are valid, and not to be changed,
// during the call. It returns the token to append and whether the sequence goes on. Generate ends when none does.
//
// What all prompts begin with is computed once. The logits are those of LogitsLast, to the bit. An error that comes
// from one sequence names it and ends all of them: it wraps ErrTooLong where the model's positions run out, ErrNotFinite
// where logits aren't finite.
func (m *Model) Generate(ctx context.Context, prompts [][]int, next func(i int, logits []float32) (id int, more bool)) error {
	active := make([]*continuation, len(prompts))
	for i, prompt := range prompts {
		if err := m.check(prompt); err != nil {
			return fmt.Errorf("sequence %d: %w", i, err)
		}
		active[i] = &continuation{index: i, fresh: prompt, segment: &segment{}}
	}
	s := m.scratch.Get().(*scratch)
	defer m.scratch.Put(s)
	return m.guarded(func() error {
		if err := m.share(ctx, active, s); err != nil {
			return err
		}
		for len(active) > 0 {
			going, err := m.step(ctx, active, s, next)
			if err != nil {
				return err
			}
			active = going
		}
		return nil
	})
}

// Greedy continues prompt with the most likely token each time, of equal ones the lowest id, up to maxNew tokens. It
// ends before a token for which stop is true; a nil stop never is. It returns the new tokens. Where the model's
// positions run out first, they come with an error that wraps ErrTooLong. The tokens are those that the argmax of
// Logits gives step by step.
func (m *Model) Greedy(ctx context.Context, prompt []int, maxNew int, stop func(id int) bool) ([]int, error) {
	if maxNew < 1 {
		return nil, m.check(prompt)
	}
	var out []int
	err := m.Generate(ctx, [][]int{prompt}, func(_ int, logits []float32) (int, bool) {
		id := max(0, slices.Index(logits, m.k.Max(logits)))
		if stop != nil && stop(id) {
			return id, false
		}
		out = append(out, id)
		return id, len(out) < maxNew
	})
	return out, err
}

// continuation is one of the sequences that Generate works on.
type continuation struct {
	index   int   // of the prompt
	fresh   []int // tokens that the cache lacks
	segment *segment
}

// share computes what all sequences begin with, once, and leaves each at least one token.
func (m *Model) share(ctx context.Context, active []*continuation, s *scratch) error {
	if len(active) < 2 {
		return nil
	}
	shared := active[0].fresh
	for _, c := range active {
		shared = shared[:min(commonPrefix(shared, c.fresh), len(c.fresh)-1)]
	}
	if len(shared) == 0 {
		return nil
	}
	prefix := &segment{}
	m.reserve(prefix, len(shared), 0)
	for at := 0; at < len(shared); at += batchRows {
		prefix.n = min(batchRows, len(shared)-at)
		b := &batch{
			ids: shared[at : at+prefix.n], segments: []*segment{prefix}, need: []int{}, threads: runtime.GOMAXPROCS(0),
		}
		if _, err := m.forward(ctx, b, s); err != nil {
			return err
		}
		prefix.done()
	}
	for _, c := range active {
		c.fresh, c.segment = c.fresh[len(shared):], prefix.next()
	}
	return nil
}

// step appends the fresh tokens of all sequences, asks for the next one of each, and returns the sequences that go on.
func (m *Model) step(
	ctx context.Context, active []*continuation, s *scratch, next func(int, []float32) (int, bool),
) (going []*continuation, err error) {
	b := &batch{threads: runtime.GOMAXPROCS(0)}
	for _, c := range active {
		if err := m.makeRoom(c); err != nil {
			return nil, err
		}
		seg := c.segment
		seg.row, seg.n = len(b.ids), len(c.fresh)
		b.ids = append(b.ids, c.fresh...)
		b.segments = append(b.segments, seg)
		b.need = append(b.need, len(b.ids)-1)
	}
	hidden, err := m.forward(ctx, b, s)
	if err != nil {
		return nil, err
	}
	logits := m.logits(&s.logits, hidden, s)
	vocab := m.config.VocabSize
	finite := make([]bool, len(active))
	kernel.Parallel(len(active), threadsFor(b.threads, len(logits)), 1, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			row := logits[i*vocab : (i+1)*vocab]
			finite[i] = !math.IsInf(float64(m.k.Max(row)), 0) && !math.IsNaN(float64(m.k.SumSquares(row)))
		}
	})
	for i, c := range active {
		c.segment.done()
		if !finite[i] {
			return nil, fmt.Errorf("sequence %d: %w", c.index, ErrNotFinite)
		}
		id, more := next(c.index, logits[i*vocab:(i+1)*vocab])
		if !more {
			continue
		}
		if err := m.checkIDs([]int{id}); err != nil {
			return nil, fmt.Errorf("sequence %d: %w", c.index, err)
		}
		c.fresh = []int{id}
		going = append(going, c)
	}
	return going, nil
}

// makeRoom sees to it that the fresh tokens' keys find room. What is there already stays where it is.
func (m *Model) makeRoom(c *continuation) error {
	seg, left := c.segment, m.config.MaxPositions-c.segment.start-len(c.fresh)
	if left < 0 {
		return fmt.Errorf("sequence %d: %d tokens, max_position_embeddings is %d: %w",
			c.index, seg.start+len(c.fresh), m.config.MaxPositions, ErrTooLong)
	}
	if seg.past+len(c.fresh) <= seg.cap {
		return nil
	}
	if seg.past > 0 {
		c.segment = seg.next()
	}
	m.reserve(c.segment, len(c.fresh)+min(left, seg.start/8), 0)
	return nil
}

package engine

import (
	"context"
	"fmt"
	"runtime"
)

// Generate continues all prompts in one batch. At each step next is called, for i in ascending order and never
// concurrently, with the logits (vocab) after the last token of sequence i; they are valid, and not to be changed,
// during the call. It returns the token to append and whether the sequence goes on. Generate ends when none does.
//
// The logits are those of LogitsLast, to the bit. An error that comes from one sequence names it and ends all of them:
// it wraps ErrTooLong where the model's positions run out, ErrNotFinite where logits aren't finite.
func (m *Model) Generate(
	ctx context.Context, prompts [][]int, next func(i int, logits []float32) (id int, more bool),
) error {
	active := make([]*continuation, len(prompts))
	for i, prompt := range prompts {
		if err := m.check(prompt); err != nil {
			return fmt.Errorf("sequence %d: %w", i, err)
		}
		active[i] = &continuation{index: i, fresh: prompt, segment: &segment{cache: make([]kv, len(m.layers))}}
	}
	s := m.scratch.Get().(*scratch)
	defer m.scratch.Put(s)
	for len(active) > 0 {
		going, err := m.step(ctx, active, s, next)
		if err != nil {
			return err
		}
		active = going
	}
	return nil
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
		id := m.argmax(logits)
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

// step appends the fresh tokens of all sequences, asks for the next one of each, and returns the sequences that go on.
func (m *Model) step(
	ctx context.Context, active []*continuation, s *scratch, next func(int, []float32) (int, bool),
) (going []*continuation, err error) {
	b := &batch{threads: runtime.GOMAXPROCS(0)}
	for _, c := range active {
		seg, n := c.segment, c.segment.past+len(c.fresh)
		if n > m.config.MaxPositions {
			return nil, fmt.Errorf("sequence %d: %d tokens, max_position_embeddings is %d: %w",
				c.index, n, m.config.MaxPositions, ErrTooLong)
		}
		m.grow(seg, n)
		seg.row, seg.n, seg.start = len(b.ids), len(c.fresh), seg.past
		b.ids = append(b.ids, c.fresh...)
		b.segments = append(b.segments, seg)
		b.need = append(b.need, len(b.ids)-1)
	}
	hidden, err := m.forward(ctx, b, s)
	if err != nil {
		return nil, err
	}
	err = m.eachLogits(hidden, s, b.threads, func(i int, logits []float32) error {
		c := active[i]
		if _, _, _, err := m.judge(logits, 0); err != nil {
			return fmt.Errorf("sequence %d: %w", c.index, err)
		}
		id, more := next(c.index, logits)
		if !more {
			return nil
		}
		if err := m.checkIDs([]int{id}); err != nil {
			return fmt.Errorf("sequence %d: %w", c.index, err)
		}
		c.segment.past += len(c.fresh)
		c.fresh = []int{id}
		going = append(going, c)
		return nil
	})
	return going, err
}

// grow makes room for n keys in a segment's cache.
func (m *Model) grow(seg *segment, n int) {
	if n <= seg.cap {
		return
	}
	kn := m.config.KVHeads * m.config.HeadDim
	room := roundUp(max(n, min(2*seg.cap, m.config.MaxPositions)), keyBlock)
	for i, old := range seg.cache {
		fresh := kv{make([]float32, kn*room), make([]float32, kn*room)}
		for d := 0; d < kn && seg.past > 0; d++ {
			copy(fresh.k[d*room:], old.k[d*seg.cap:d*seg.cap+seg.past])
		}
		copy(fresh.v, old.v[:min(len(old.v), seg.past*kn)])
		seg.cache[i] = fresh
	}
	seg.cap = room
}

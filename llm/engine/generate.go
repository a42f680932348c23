package engine

import (
	"context"
	"fmt"
	"runtime"
)

// Generate continues prompt with the most likely token each time, of equal ones the lowest id, up to maxNew tokens. It
// ends before a token for which stop is true; a nil stop never is. It returns the new tokens. Where the model's
// positions run out first, they come with an error that wraps ErrTooLong. The tokens are those that the argmax of
// Logits gives step by step.
func (m *Model) Generate(ctx context.Context, prompt []int, maxNew int, stop func(id int) bool) ([]int, error) {
	if err := m.check(prompt); err != nil {
		return nil, err
	}
	s := m.scratch.Get().(*scratch)
	defer m.scratch.Put(s)
	seg := &segment{}
	var out []int
	next := prompt
	for len(out) < maxNew {
		if seg.past+len(next) > m.config.MaxPositions {
			return out, fmt.Errorf("%d tokens, max_position_embeddings is %d: %w", seg.past+len(next), m.config.MaxPositions, ErrTooLong)
		}
		m.grow(seg, seg.past+len(next), 0)
		id, err := m.step(ctx, seg, next, s)
		if err != nil {
			return out, err
		}
		if stop != nil && stop(id) {
			break
		}
		out = append(out, id)
		next = []int{id}
	}
	return out, nil
}

// step appends tokens to a cached sequence and returns the argmax after them.
func (m *Model) step(ctx context.Context, seg *segment, ids []int, s *scratch) (int, error) {
	seg.row, seg.n, seg.start = 0, len(ids), seg.past
	b := &batch{ids: ids, segments: []*segment{seg}, need: []int{len(ids) - 1}, threads: runtime.GOMAXPROCS(0)}
	hidden, err := m.forward(ctx, b, s)
	if err != nil {
		return 0, err
	}
	seg.past += len(ids)
	seg.n = 0
	judged, err := m.judge(hidden, []int{-1}, &s.inputs, b.threads, true)
	if err != nil {
		return 0, err
	}
	return judged[0].argmax, nil
}

// grow makes room for n keys in a segment's cache, in all layers from one on.
func (m *Model) grow(seg *segment, n, from int) {
	if n <= seg.cap {
		return
	}
	kn := m.config.KVHeads * m.config.HeadDim
	room := roundUp(max(n, min(2*seg.cap, m.config.MaxPositions)), keyBlock)
	old := seg.cache
	seg.cache = make([]kv, len(m.layers))
	for i := from; i < len(m.layers); i++ {
		fresh := kv{make([]float32, kn*room), make([]float32, kn*room)}
		if old != nil {
			for d := 0; d < kn; d++ {
				copy(fresh.k[d*room:], old[i].k[d*seg.cap:d*seg.cap+seg.past])
			}
			copy(fresh.v, old[i].v[:seg.past*kn])
		}
		seg.cache[i] = fresh
	}
	seg.cap = room
}

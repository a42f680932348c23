package engine

import (
	"context"
	"sync"
)

// activationBudget is how many bytes of residual streams the plans of a base model keep together.
const activationBudget = 1 << 30

// activations are residual streams of the base model before some layers, for every piece of a plan's work. Variants
// that agree with the base up to a layer start there.
type activations struct {
	mu     sync.Mutex
	base   *Model
	layers map[int][][]float32 // by layer, by index of the work
	bytes  int64
}

// Release forgets what the plan keeps of the base model.
func (p *Plan) Release() {
	p.activations.mu.Lock()
	defer p.activations.mu.Unlock()
	p.activations.release()
}

func (a *activations) release() {
	if a.base != nil {
		a.base.kept.Add(-a.bytes)
	}
	a.base, a.layers, a.bytes = nil, nil, 0
}

// before returns the latest layer, at most first, before which residual streams are at hand, and these; it computes
// those of first itself where the budget allows. Layer 0 has none.
func (a *activations) before(ctx context.Context, base *Model, p *Plan, first int) (int, [][]float32, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.base != base {
		a.release()
		a.base, a.layers = base, map[int][][]float32{}
	}
	from := 0
	for layer := range a.layers {
		if layer <= first {
			from = max(from, layer)
		}
	}
	size := int64(4 * p.rows * base.config.HiddenSize)
	if from == first || base.kept.Load()+size > activationBudget {
		return from, a.layers[from], nil
	}
	run := &scoring{m: base, p: p, from: from, inputs: a.layers[from], record: &recording{first, make([][]float32, p.pieces)}}
	if err := run.all(ctx); err != nil {
		return 0, nil, err
	}
	a.layers[first] = run.record.streams
	a.bytes += size
	base.kept.Add(size)
	return first, run.record.streams, nil
}

// recording collects the residual streams before a layer.
type recording struct {
	layer   int
	streams [][]float32
}

func (rec *recording) work(ctx context.Context, m *Model, w *work, b *batch, s *scratch) error {
	b.until = rec.layer
	x, err := m.residual(ctx, b, s)
	rec.streams[w.index] = append([]float32{}, x...)
	return err
}

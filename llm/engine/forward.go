package engine

import (
	"context"
	"math"
	"slices"

	"d2nwg/llm/engine/kernel"
)

// segment is a stretch of consecutive tokens. Those of them that are in a batch see, causally, all segments behind, what
// the segment's own cache holds already, and themselves.
type segment struct {
	behind []*segment // finished ones with the tokens before, from the first one on
	before *segment   // one whose cache the first keys are copied from, layer by layer: past of them; nil: they are there
	row, n int        // rows row…row+n of the batch
	start  int        // position of the first of these rows
	past   int        // keys in the cache before these rows'
	cap    int        // keys the cache has room for, a multiple of keyBlock
	cache  []kv       // one a layer, or one for all layers in turn
}

// next returns an empty segment that follows s, a finished one; nil is the beginning.
func (s *segment) next() *segment {
	if s == nil {
		return &segment{}
	}
	return &segment{behind: append(slices.Clip(s.behind), s), start: s.start}
}

// kv holds keys and values of one layer: k (kv_heads, cap/keyBlock, head_dim, keyBlock), as kernels take them, and v
// (kv_heads, cap, head_dim).
type kv struct{ k, v kernel.Numbers }

// from returns what begins with a head; at is the first of its dimensions in a row of all heads.
func (x kv) from(at, cap int) kv { return kv{x.k.From(at * cap), x.v.From(at * cap)} }

// keyBlock is what caches are rounded up to.
const keyBlock = kernel.KeyBlock

func roundUp(n, block int) int { return (n + block - 1) / block * block }

func (s *segment) kv(layer int) kv { return s.cache[min(layer, len(s.cache)-1)] }

// keys is how many keys the segment's cache holds after the batch.
func (s *segment) keys() int { return s.past + s.n }

// done makes the rows of the batch part of what the cache holds.
func (s *segment) done() { s.past, s.start, s.n = s.past+s.n, s.start+s.n, 0 }

// batch is what one pass through the model computes.
type batch struct {
	ids      []int // (rows)
	segments []*segment
	need     []int // rows whose hidden state is wanted, ascending; nil for all
	threads  int
	from     int                          // first layer to compute
	until    int                          // layer before which to stop
	input    []float32                    // residual stream (rows, hidden) before layer from; nil where from is 0
	observe  func(layer int, x []float32) // sees the residual stream (rows, hidden) before layer 0 and after each; nil for none
}

// scratch is the memory of one pass; slices keep their capacity for the next.
type scratch struct {
	x, h, q, k, v, gate, up []float32
	logits                  []float32
	inputs                  inputs
	cache                   kernel.Numbers
	segmentOf, position     []int
}

// sized returns s with length n; its contents are undefined. What grows gets room to grow further.
func sized[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n, n+cap(*s)/4)
	}
	*s = (*s)[:n]
	return *s
}

// rowBlock is how many rows go through a layer's matrices at once: it bounds the memory for what lies between them.
const rowBlock = 512

// forward computes the hidden states after the final norm of the rows that the batch needs, (len(need), hidden). They
// lie in the scratch memory.
func (m *Model) forward(ctx context.Context, b *batch, s *scratch) ([]float32, error) {
	b.until = len(m.layers)
	x, err := m.residual(ctx, b, s)
	if err != nil {
		return nil, err
	}
	m.normalize(x, x, m.norm, b.threads)
	return x, nil
}

// residual computes the residual stream (rows, hidden) before layer until; behind the last layer that of the needed
// rows alone.
func (m *Model) residual(ctx context.Context, b *batch, s *scratch) ([]float32, error) {
	c := m.config
	rows := len(b.ids)
	x := sized(&s.x, rows*c.HiddenSize)
	if b.from > 0 {
		x = x[:copy(x, b.input)]
	} else if err := m.embedRows(x, b.ids); err != nil {
		return nil, err
	} else {
		b.report(0, x)
	}
	last := 0
	sized(&s.segmentOf, rows)
	sized(&s.position, rows)
	for i, seg := range b.segments {
		for j := range seg.n {
			s.segmentOf[seg.row+j], s.position[seg.row+j] = i, seg.start+j
		}
		last = max(last, seg.start+seg.n)
	}
	cos, sin := m.rope.tables(last)
	for i := b.from; i < b.until; i++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l := &m.layers[i]
		m.project(l, i, b, s, rows, cos, sin)
		trim := i == len(m.layers)-1 && b.need != nil
		m.attend(i, b, s, trim)
		if trim {
			rows = keepRows(x, s.q, c.HiddenSize, c.Heads*c.HeadDim, b.need)
		}
		m.feed(l, s, rows, b.threads)
		x = x[:rows*c.HiddenSize]
		b.report(i+1, x)
	}
	return x, nil
}

func (b *batch) report(layer int, x []float32) {
	if b.observe != nil {
		b.observe(layer, x)
	}
}

func (m *Model) embedRows(x []float32, ids []int) error {
	n := m.config.HiddenSize
	for r, id := range ids {
		if err := row(x[r*n:], m.embed.Weights, id); err != nil {
			return err
		}
	}
	return nil
}

// normalize applies RMSNorm row by row; dst and x (rows, hidden) may be the same.
func (m *Model) normalize(dst, x, w []float32, threads int) {
	n := m.config.HiddenSize
	kernel.Parallel(len(x)/n, threadsFor(threads, len(x)), 1, func(lo, hi int) {
		for r := lo * n; r < hi*n; r += n {
			m.k.RMSNorm(dst[r:r+n], x[r:r+n], w, float32(m.config.RMSNormEps))
		}
	})
}

// project computes the rotated queries of all rows into s.q (rows, heads·head_dim), scaled for the dot products, and
// puts rotated keys and values into the segments' caches. A thread takes a head of keys and values and its queries.
func (m *Model) project(l *layer, layer int, b *batch, s *scratch, rows int, cos, sin []float32) {
	c := m.config
	hidden, dim := c.HiddenSize, c.HeadDim
	qn, kn := c.Heads*dim, c.KVHeads*dim
	q := sized(&s.q, rows*qn)
	for r0 := 0; r0 < rows; r0 += rowBlock {
		n := min(rowBlock, rows-r0)
		h, k, v := sized(&s.h, n*hidden), sized(&s.k, n*kn), sized(&s.v, n*kn)
		m.normalize(h, s.x[r0*hidden:(r0+n)*hidden], l.attentionNorm, b.threads)
		x := s.inputs.reset(m.k, h, hidden)
		m.apply(x, b.threads, output{l: &l.q, y: q[r0*qn:]}, output{l: &l.k, y: k}, output{l: &l.v, y: v})
		group, scale := qn/c.KVHeads, float32(1/math.Sqrt(float64(dim)))
		kernel.Parallel(n*c.KVHeads, threadsFor(b.threads, placeWork*n*qn), 1, func(lo, hi int) {
			var half []uint16
			if m.half() {
				half = make([]uint16, dim)
			}
			for i := lo; i < hi; i++ {
				r, from := r0+i/c.KVHeads, i*dim
				at := s.position[r] * dim / 2
				cosine, sine := cos[at:at+dim/2], sin[at:at+dim/2]
				for x := q[r0*qn+i*group:][:group]; len(x) > 0; x = x[dim:] {
					m.k.Rotate(x[:dim], cosine, sine, scale)
				}
				m.k.Rotate(k[from:from+dim], cosine, sine, 1)
				m.place(b.segment(s, r), layer, i%c.KVHeads, r, k[from:from+dim], v[from:from+dim], half)
			}
		})
	}
	for _, seg := range b.segments {
		if seg.before != nil && seg.past > 0 {
			seg.copyKeys(layer, dim)
		}
	}
}

// placeWork is what placing costs, compared with other work on an element: each key goes to a line of its own, which is
// hardly ever in a cache.
const placeWork = 64

// place puts the keys and values (head_dim) of a head in row r into the segment's cache; half has room for as
// many where they are kept in float16.
func (m *Model) place(seg *segment, layer, head, r int, k, v []float32, half []uint16) {
	store, slot := seg.kv(layer).from(head*len(k), seg.cap), seg.past+r-seg.row
	keys, values := store.k.From(slot/keyBlock*keyBlock*len(k)+slot%keyBlock), store.v.From(slot*len(v))
	if half == nil {
		scatter(keys.F32, k)
		copy(values.F32, v)
		return
	}
	m.k.RoundF16(half, k)
	scatter(keys.F16, half)
	m.k.RoundF16(values.F16[:len(v)], v)
}

func scatter[T any](dst, src []T) {
	for d, x := range src {
		dst[d*keyBlock] = x
	}
}

// copyKeys copies the keys and values that a segment begins with from the one before it: few, for which attention is
// faster where they lie together. Segments come after those that they copy from, so that these are complete.
func (s *segment) copyKeys(layer, dim int) {
	from, to := s.before.kv(layer), s.kv(layer)
	whole, rest := s.past/keyBlock*keyBlock*dim, s.past%keyBlock
	for h := 0; h < to.k.Len()/s.cap; h += dim {
		to, from := to.from(h, s.cap), from.from(h, s.before.cap)
		to.k.Cut(0, whole).Copy(from.k)
		for d := whole; rest > 0 && d < whole+dim*keyBlock; d += keyBlock { // what stands behind them stays
			to.k.Cut(d, d+rest).Copy(from.k.From(d))
		}
		to.v.Cut(0, s.past*dim).Copy(from.v)
	}
}

// keepRows moves the needed rows of x and q to the front and returns how many there are.
func keepRows(x, q []float32, xn, qn int, need []int) int {
	for i, r := range need {
		copy(x[i*xn:(i+1)*xn], x[r*xn:])
		copy(q[i*qn:(i+1)*qn], q[r*qn:])
	}
	return len(need)
}

// feed adds the output projection of attention, then the MLP, to the residual stream s.x.
func (m *Model) feed(l *layer, s *scratch, rows, threads int) {
	c := m.config
	hidden, qn := c.HiddenSize, c.Heads*c.HeadDim
	for r := 0; r < rows; r += rowBlock {
		n := min(rowBlock, rows-r)
		x := s.x[r*hidden : (r+n)*hidden]
		m.apply(s.inputs.reset(m.k, s.q[r*qn:(r+n)*qn], qn), threads, output{&l.o, x, true})
		h := sized(&s.h, n*hidden)
		m.normalize(h, x, l.mlpNorm, threads)
		gate := m.gated(l, s.inputs.reset(m.k, h, hidden), s, threads)
		m.apply(s.inputs.reset(m.k, gate, c.IntermediateSize), threads, output{&l.down, x, true})
	}
}

// gated returns SiLU(x·Wᵍᵀ) · (x·Wᵘᵀ), (rows, intermediate). Each thread multiplies what it has just computed.
func (m *Model) gated(l *layer, x *inputs, s *scratch, threads int) []float32 {
	n := m.config.IntermediateSize
	gate, up := sized(&s.gate, x.rows*n), sized(&s.up, x.rows*n)
	a, b := x.form(m.arithmetic(&l.gate), threads), x.form(m.arithmetic(&l.up), threads)
	kernel.ParallelOutputs(x.rows, threads, func(lo, hi int) {
		m.k.Multiply(gate, n, a, l.gate.Weights, lo, hi, false)
		m.k.Multiply(up, n, b, l.up.Weights, lo, hi, false)
		for r := range x.rows {
			gate, up := gate[r*n+lo:r*n+hi], up[r*n+lo:r*n+hi]
			l.gate.addBias(gate, lo)
			l.up.addBias(up, lo)
			m.k.SwiGLU(gate, up)
		}
	}, l.gate.Weights, l.up.Weights)
	return gate
}

// addCaches gives every segment of the batch that has none a cache in scratch memory, used by the layers in turn.
func (m *Model) addCaches(b *batch, s *scratch) {
	kn := m.config.KVHeads * m.config.HeadDim
	total := 0
	for _, seg := range b.segments {
		if seg.cache == nil {
			seg.cap = roundUp(seg.keys(), keyBlock)
			total += 2 * seg.cap * kn
		}
	}
	if s.cache.Len() < total || (s.cache.F16 != nil) != m.half() {
		s.cache = kernel.NewNumbers(total+total/4, m.half())
	}
	memory := s.cache
	for _, seg := range b.segments {
		if seg.cache == nil {
			size := seg.cap * kn
			seg.cache = []kv{{memory.Cut(0, size), memory.Cut(size, 2*size)}}
			memory = memory.From(2 * size)
		}
	}
}

// reserve gives an empty segment a cache for n keys, in all layers from one on.
func (m *Model) reserve(seg *segment, n, from int) {
	seg.cap = roundUp(n, keyBlock)
	size := m.config.KVHeads * m.config.HeadDim * seg.cap
	seg.cache = make([]kv, len(m.layers))
	for i := from; i < len(m.layers); i++ {
		seg.cache[i] = kv{kernel.NewNumbers(size, m.half()), kernel.NewNumbers(size, m.half())}
	}
}

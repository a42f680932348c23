package engine

import (
	"context"
	"math"
)

// segment is a stretch of consecutive tokens in a batch. Its tokens see, causally, the whole parent segment, what its
// own cache holds already, and themselves.
type segment struct {
	parent *segment // nil for none
	row, n int      // rows row…row+n of the batch
	start  int      // position of the first of these rows
	past   int      // keys in the cache before this batch
	cap    int      // keys the cache has room for, a multiple of keyBlock
	cache  []kv     // one a layer, or one for all layers in turn
}

// kv holds keys and values of one layer: k (kv_heads, head_dim, cap), so that one instruction meets many keys, and
// v (cap, kv_heads·head_dim).
type kv struct{ k, v []float32 }

func (s *segment) kv(layer int) kv { return s.cache[min(layer, len(s.cache)-1)] }

// keys is how many keys the segment's cache holds after the batch.
func (s *segment) keys() int {
	if s == nil {
		return 0
	}
	return s.past + s.n
}

// batch is what one pass through the model computes.
type batch struct {
	ids      []int // (rows)
	segments []*segment
	need     []int // rows whose hidden state is wanted, ascending; nil for all
	threads  int
	observe  func(layer int, x []float32) // for tests: the residual stream (rows, hidden) before layer 0, after each layer; nil for none
}

// scratch is the memory of one pass; slices keep their capacity for the next.
type scratch struct {
	x, h, q, k, v, gate, up []float32
	cache                   []float32
	segmentOf, position     []int
	logits                  []float32
}

// sized returns s with length n; its contents are undefined.
func sized[T any](s *[]T, n int) []T {
	if cap(*s) < n {
		*s = make([]T, n+n/4)
	}
	*s = (*s)[:n]
	return *s
}

// forward computes the hidden states after the final norm of the rows that the batch needs, (len(need), hidden). They
// lie in the scratch memory.
func (m *Model) forward(ctx context.Context, b *batch, s *scratch) ([]float32, error) {
	c := m.config
	rows := len(b.ids)
	x := sized(&s.x, rows*c.HiddenSize)
	for r, id := range b.ids {
		m.embed.row(x[r*c.HiddenSize:], id)
	}
	b.report(0, x)
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
	for i := range m.layers {
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
		b.report(i+1, x[:rows*c.HiddenSize])
	}
	x = x[:rows*c.HiddenSize]
	m.normalize(x, x, m.norm)
	return x, nil
}

func (b *batch) report(layer int, x []float32) {
	if b.observe != nil {
		b.observe(layer, x)
	}
}

// normalize applies RMSNorm row by row; dst and x (rows, hidden) may be the same.
func (m *Model) normalize(dst, x, w []float32) {
	n := m.config.HiddenSize
	for r := 0; r < len(x); r += n {
		m.k.rmsNorm(dst[r:r+n], x[r:r+n], w, float32(m.config.RMSNormEps))
	}
}

// project computes the rotated queries of all rows into s.q (rows, heads·head_dim), scaled for the dot products, and
// puts rotated keys and values into the segments' caches.
func (m *Model) project(l *layer, layer int, b *batch, s *scratch, rows int, cos, sin []float32) {
	c := m.config
	hidden, dim, half := c.HiddenSize, c.HeadDim, c.HeadDim/2
	qn, kn := c.Heads*dim, c.KVHeads*dim
	q := sized(&s.q, rows*qn)
	scale := float32(1 / math.Sqrt(float64(dim)))
	for r0 := 0; r0 < rows; r0 += rowBlock {
		n := min(rowBlock, rows-r0)
		h, k, v := sized(&s.h, n*hidden), sized(&s.k, n*kn), sized(&s.v, n*kn)
		m.normalize(h, s.x[r0*hidden:(r0+n)*hidden], l.attentionNorm)
		l.q.apply(m.k, q[r0*qn:], h, n, b.threads, false)
		l.k.apply(m.k, k, h, n, b.threads, false)
		l.v.apply(m.k, v, h, n, b.threads, false)
		for i := range n {
			r := r0 + i
			at := s.position[r] * half
			cosine, sine := cos[at:at+half], sin[at:at+half]
			for x := q[r*qn : (r+1)*qn]; len(x) > 0; x = x[dim:] {
				rotate(x, cosine, sine, scale)
			}
			row := k[i*kn : (i+1)*kn]
			for x := row; len(x) > 0; x = x[dim:] {
				rotate(x, cosine, sine, 1)
			}
			seg := b.segments[s.segmentOf[r]]
			store := seg.kv(layer)
			slot := seg.past + r - seg.row
			for d, x := range row {
				store.k[d*seg.cap+slot] = x
			}
			copy(store.v[slot*kn:(slot+1)*kn], v[i*kn:])
		}
	}
}

// attend replaces the queries in s.q by what attention gives for them, of the needed rows alone where trim is set.
func (m *Model) attend(layer int, b *batch, s *scratch, trim bool) {
	rows := b.need
	n := len(rows)
	if !trim {
		rows, n = nil, len(b.ids)
	}
	work := 0
	for _, seg := range b.segments {
		work += seg.n * (seg.keys() + seg.parent.keys())
	}
	threads := b.threads
	if work*m.config.HeadDim*m.config.Heads < parallelWork {
		threads = 1
	}
	parallel(n, threads, func(lo, hi int) {
		var scores []float32
		for i := lo; i < hi; i++ {
			r := i
			if rows != nil {
				r = rows[i]
			}
			seg := b.segments[s.segmentOf[r]]
			scores = sized(&scores, seg.parent.keys()+seg.keys()+2*keyBlock)
			m.attendRow(layer, seg, r-seg.row, s.q[r*m.config.Heads*m.config.HeadDim:], scores)
		}
	})
}

// attendRow computes attention for token i of a segment, in place of its queries q (heads, head_dim).
func (m *Model) attendRow(layer int, seg *segment, i int, q, scores []float32) {
	c := m.config
	dim, kn, group := c.HeadDim, c.KVHeads*c.HeadDim, c.Heads/c.KVHeads
	own := seg.kv(layer)
	before, here := seg.parent.keys(), seg.past+i+1
	var shared kv
	for h := range c.Heads {
		x := q[h*dim : (h+1)*dim]
		at := h / group * dim // of the head's keys and values
		if before > 0 {
			shared = seg.parent.kv(layer)
			m.k.keys(scores, x, shared.k[at*seg.parent.cap:], seg.parent.cap, before)
			shared.v = shared.v[at:]
		}
		m.k.keys(scores[before:], x, own.k[at*seg.cap:], seg.cap, here)
		scale := m.k.softmax(scores, before+here)
		m.k.values(x, scores[:before+here], shared.v, before, own.v[at:], kn, scale)
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
		l.o.apply(m.k, x, s.q[r*qn:], n, threads, true)
		h := sized(&s.h, n*hidden)
		gate, up := sized(&s.gate, n*c.IntermediateSize), sized(&s.up, n*c.IntermediateSize)
		m.normalize(h, x, l.mlpNorm)
		l.gate.apply(m.k, gate, h, n, threads, false)
		l.up.apply(m.k, up, h, n, threads, false)
		m.k.swiglu(gate, up)
		l.down.apply(m.k, x, gate, n, threads, true)
	}
}

// addCaches gives every segment of the batch that has none a cache in scratch memory, used by the layers in turn.
func (m *Model) addCaches(b *batch, s *scratch) {
	kn := m.config.KVHeads * m.config.HeadDim
	total := 0
	for _, seg := range b.segments {
		seg.cap = roundUp(seg.n, keyBlock)
		total += 2 * seg.cap * kn
	}
	memory := sized(&s.cache, total)
	for _, seg := range b.segments {
		size := seg.cap * kn
		seg.cache = []kv{{memory[:size], memory[size : 2*size]}}
		memory = memory[2*size:]
	}
}

package engine

import "d2nwg/llm/engine/kernel"

// attend replaces the queries in s.q by what attention gives for them, of the needed rows alone where trim is set.
// Consecutive rows go together, since they see nearly the same keys; how many do never changes a result.
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
	heads, together := m.config.KVHeads, kernel.Queries
	if n/together*heads < 4*b.threads { // rather leave each thread its share
		together = 1
	}
	kernel.Parallel((n+together-1)/together*heads, threadsFor(b.threads, work*m.config.Heads*m.config.HeadDim), 1, func(lo, hi int) {
		a := &attention{m: m, layer: layer}
		for i := lo; i < hi; i++ {
			a.head = i % heads
			first := i / heads * together
			a.rows(b, s, rows, first, min(first+together, n))
		}
	})
}

// attention computes attention for the queries that share one head of keys and values.
type attention struct {
	m           *Model
	layer, head int
	scores      []float32
}

// rows goes through rows first…last−1 of the needed ones, or of all where need is nil.
func (a *attention) rows(b *batch, s *scratch, need []int, first, last int) {
	at := func(i int) int {
		if need == nil {
			return i
		}
		return need[i]
	}
	for first < last {
		r, n := at(first), 1
		for first+n < last && at(first+n) == r+n && s.segmentOf[r+n] == s.segmentOf[r] {
			n++
		}
		seg := b.segments[s.segmentOf[r]]
		a.tokens(seg, r-seg.row, n, s.q[r*a.m.config.Heads*a.m.config.HeadDim:])
		first += n
	}
}

// tokens computes attention for n tokens of a segment from token i on, in place of their queries in q (n, heads,
// head_dim): of one head for all of the tokens at once or, where that is more, of one token for several heads.
func (a *attention) tokens(seg *segment, i, n int, q []float32) {
	c := a.m.config
	dim, group, row := c.HeadDim, c.Heads/c.KVHeads, c.Heads*c.HeadDim
	q = q[a.head*group*dim:]
	if n >= min(group, kernel.Queries) {
		for h := range group {
			a.queries(seg, i, kernel.Rows{Data: q[h*dim:], N: n, Len: dim, Step: row}, n > 1)
		}
		return
	}
	for t := range n {
		for h := 0; h < group; h += kernel.Queries {
			x := kernel.Rows{Data: q[t*row+h*dim:], N: min(kernel.Queries, group-h), Len: dim, Step: dim}
			a.queries(seg, i+t, x, false)
		}
	}
}

// queries computes attention in place of queries of token i or, with causal, of as many tokens from it on.
func (a *attention) queries(seg *segment, i int, x kernel.Rows, causal bool) {
	k, dim, kn := a.m.k, x.Len, x.Len*a.m.config.KVHeads
	own := seg.kv(a.layer)
	before, here, more := seg.parent.keys(), seg.past+i+1, 0
	if causal {
		more = x.N - 1
	}
	most := before + here + more
	s := kernel.Rows{Data: sized(&a.scores, x.N*most), N: x.N, Len: before, Step: most}
	at := a.head * dim
	var shared kv
	if before > 0 {
		shared = seg.parent.kv(a.layer)
		keys(k, s, x, shared.k[at*seg.parent.cap:])
	}
	keys(k, kernel.Rows{Data: s.Data[before:], N: x.N, Len: here + more, Step: most}, x, own.k[at*seg.cap:])
	var scale [kernel.Queries]float32
	for j := range x.N {
		see := before + here + min(j, more) // the scores behind these are for later tokens
		scale[j] = k.Softmax(s.Data[j*most : j*most+see])
	}
	s.Len = before + here
	k.Values(x, s, shared.v[min(at, len(shared.v)):], before, own.v[at:], kn, &scale, causal)
}

// keys sets scores to the dot products of queries with the first keys of a head; k begins with these.
func keys(set *kernel.Set, scores, q kernel.Rows, k []float32) {
	for rest := scores.Len; rest > 0; rest -= keyBlock {
		scores.Len = min(rest, keyBlock)
		set.Keys(scores, q, k, keyBlock)
		if rest > keyBlock {
			scores.Data, k = scores.Data[keyBlock:], k[q.Len*keyBlock:]
		}
	}
}

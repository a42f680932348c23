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
		work += seg.n * (seg.start + seg.n)
	}
	heads, together := m.config.KVHeads, kernel.Queries
	if n/together*heads < 4*b.threads { // rather leave each thread its share
		together = 1
	}
	groups := (n + together - 1) / together
	kernel.Parallel(groups*heads, threadsFor(b.threads, work*m.config.Heads*m.config.HeadDim), 1, func(lo, hi int) {
		a := &attention{m: m, layer: layer}
		for i := lo; i < hi; i++ { // a head's keys and values stay in a cache while the groups of rows pass
			a.head = i / groups
			first := i % groups * together
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
		for first+n < last && at(first+n) == r+n && together(b.segment(s, r), b.segment(s, r+n)) {
			n++
		}
		a.tokens(b, s, r, n)
		first += n
	}
}

func (b *batch) segment(s *scratch, row int) *segment { return b.segments[s.segmentOf[row]] }

// together tells whether tokens of both segments have some of the same keys behind them.
func together(x, y *segment) bool { return x == y || shared(x.behind, y.behind) > 0 }

// shared is how many segments both begin with.
func shared(x, y []*segment) int {
	n := 0
	for n < min(len(x), len(y)) && x[n] == y[n] {
		n++
	}
	return n
}

// tokens computes attention for n rows from r on, in place of their queries in s.q (rows, heads, head_dim): of one head
// for all of the rows at once or, where that is more, of one row for several heads.
func (a *attention) tokens(b *batch, s *scratch, r, n int) {
	c := a.m.config
	dim, group, row := c.HeadDim, c.Heads/c.KVHeads, c.Heads*c.HeadDim
	q := s.q[r*row+a.head*group*dim:]
	if n >= min(group, kernel.Queries) {
		for h := range group {
			a.queries(b, s, r, kernel.Rows{Data: q[h*dim:], N: n, Len: dim, Step: row}, true)
		}
		return
	}
	for t := range n {
		for h := 0; h < group; h += kernel.Queries {
			x := kernel.Rows{Data: q[t*row+h*dim:], N: min(kernel.Queries, group-h), Len: dim, Step: dim}
			a.queries(b, s, r+t, x, false)
		}
	}
}

// run are queries of tokens of one segment.
type run struct {
	seg   *segment
	n     int
	here  int // keys of the segment that the first token sees
	later int // how many keys more the last one sees, and by one fewer each before it
}

func (a *attention) run(b *batch, s *scratch, r, n int, apart bool) run {
	seg := b.segment(s, r)
	x := run{seg: seg, n: n, here: seg.past + r - seg.row + 1}
	if apart {
		x.n = min(n, seg.row+seg.n-r)
		x.later = x.n - 1
	}
	return x
}

// queries computes attention in place of queries of row r or, where they are apart, of as many rows from it on. Keys
// that all of them see are read once.
func (a *attention) queries(b *batch, s *scratch, r int, x kernel.Rows, apart bool) {
	k, common := a.m.k, b.segment(s, r).behind
	var all [kernel.Queries]run
	most, runs := 0, all[:0]
	for j := 0; j < x.N; {
		run := a.run(b, s, r+j, x.N-j, apart)
		common = common[:shared(common, run.seg.behind)]
		most = max(most, run.seg.start-run.seg.past+run.here+run.later)
		runs = append(runs, run)
		j += run.n
	}
	p := kernel.Rows{Data: sized(&a.scores, x.N*most), N: x.N, Step: most}
	if len(common) > 0 {
		for _, run := range runs { // the few that each has for itself, while those that all see are at hand
			a.fetch(run)
		}
	}
	at := a.scoresOf(common, x, p, 0)
	var scale [2 * kernel.Queries]float32 // so that each run finds its own as an array
	j := 0
	for _, run := range runs {
		x, p := x.From(j, run.n), p.From(j, run.n)
		at := a.scoresOf(run.seg.behind[len(common):], x, p, at)
		k.Keys(columns(p, at, run.here+run.later), x, a.kv(run.seg).k)
		for i := range run.n { // the scores behind what a token sees are for later ones
			scale[j+i] = k.Softmax(p.Data[i*p.Step:][:at+run.here+min(i, run.later)])
		}
		j += run.n
	}
	at = a.valuesOf(common, x, p, 0)
	j = 0
	for _, run := range runs {
		x, p := x.From(j, run.n), p.From(j, run.n)
		at := a.valuesOf(run.seg.behind[len(common):], x, p, at)
		own := columns(p, at, run.here)
		k.Values(x, own, a.kv(run.seg).v, x.Len, (*[kernel.Queries]float32)(scale[j:]), run.later > 0, at > 0)
		j += run.n
	}
}

// scoresOf sets scores from column at on to the products with all keys of segments, and returns the column behind them.
func (a *attention) scoresOf(segments []*segment, x, scores kernel.Rows, at int) int {
	for _, seg := range segments {
		a.m.k.Keys(columns(scores, at, seg.keys()), x, a.kv(seg).k)
		at += seg.keys()
	}
	return at
}

// valuesOf adds all values of segments, weighted with p from column at on, to x, or sets it where at is 0. It returns
// the column behind them.
func (a *attention) valuesOf(segments []*segment, x, p kernel.Rows, at int) int {
	for _, seg := range segments {
		part := columns(p, at, seg.keys())
		a.m.k.Values(x, part, a.kv(seg).v, x.Len, &[kernel.Queries]float32{1, 1, 1, 1}, false, at > 0)
		at += seg.keys()
	}
	return at
}

// fetch asks for the memory of what a run's tokens see of their own segment.
func (a *attention) fetch(r run) {
	x, dim := a.kv(r.seg), a.m.config.HeadDim
	n := r.here + r.later
	a.m.k.Fetch(x.k.Cut(0, roundUp(n, keyBlock)*dim))
	a.m.k.Fetch(x.v.Cut(0, n*dim))
}

// kv returns a segment's keys and values, beginning with those of the head.
func (a *attention) kv(seg *segment) kv {
	return seg.kv(a.layer).from(a.head*a.m.config.HeadDim, seg.cap)
}

func columns(r kernel.Rows, at, n int) kernel.Rows {
	r.Data, r.Len = r.Data[at:], n
	return r
}

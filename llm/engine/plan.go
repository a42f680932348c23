package engine

import (
	"fmt"
	"slices"
)

// batchRows is about how many tokens go through the model at once.
const batchRows = 512

// A Plan is a set of requests as a tree over their tokens, in which a prefix that requests share stands once, cut into
// pieces of work. It keeps what the base model made of them, for variants that begin to differ in a later layer.
type Plan struct {
	reqs    []Request
	workers int
	root    *stage
	pieces  int // of work
	rows    int // tokens that one pass computes

	activations activations
}

// stage is a stretch of tokens too large to be computed together with all that follows it: its keys and values are kept
// while the tasks, each in one batch, and the stages under it are computed.
type stage struct {
	chunks []*work // its own tokens, at most batchRows at a time
	tasks  []*work // small subtrees
	next   []*stage
}

// work is what one batch computes.
type work struct {
	index   int
	ids     []int
	spans   []tokenSpan
	targets []target // by row
	need    []int    // rows with targets, ascending
	kept    bool     // others see its keys and values
}

// tokenSpan is a node of the tree in a batch.
type tokenSpan struct {
	row, n int
	start  int // position of the first token
	before int // index of the span that it follows in the batch, -1: it follows the stage
}

// target is a token to score at a row of the batch.
type target struct{ row, request, index int }

// node is a stretch of tokens of the tree, and what follows it.
type node struct {
	start    int
	ids      []int
	children []*node
	ends     []int // requests whose input ends with it
	rows     int   // tokens of the node and all below
}

// NewPlan plans requests for up to workers goroutines.
func (m *Model) NewPlan(reqs []Request, workers int) (*Plan, error) {
	for i, r := range reqs {
		if err := m.checkRequest(r); err != nil {
			return nil, fmt.Errorf("request %d: %w", i, err)
		}
	}
	p := &Plan{reqs: reqs, workers: max(workers, 1)}
	top := tree(reqs)
	p.rows = top.rows
	p.root = p.stage(top, min(batchRows, top.rows/p.workers+1))
	return p, nil
}

// Rows is how many tokens one pass over the plan computes, each shared prefix once.
func (p *Plan) Rows() int { return p.rows }

func (m *Model) checkRequest(r Request) error {
	if r.From < 1 || r.From > len(r.IDs) {
		return fmt.Errorf("scoring from token %d of %d; there has to be one before it", r.From, len(r.IDs))
	}
	if n := len(r.input()); n > m.config.MaxPositions {
		return fmt.Errorf("%d tokens, max_position_embeddings is %d: %w", n, m.config.MaxPositions, ErrTooLong)
	}
	return m.checkIDs(r.IDs)
}

// input returns the tokens of a request that the model has to see: all but the last, which is only predicted.
func (r Request) input() []int { return r.IDs[:len(r.IDs)-1] }

// tree builds the tree: in lexicographic order requests that share a prefix are neighbours.
func tree(reqs []Request) *node {
	order := make([]int, len(reqs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return slices.Compare(reqs[a].input(), reqs[b].input()) })
	top := &node{}
	path := []*node{top} // of the request before
	for _, i := range order {
		input := reqs[i].input()
		at, depth := 0, 0 // the deepest node of the path that is all shared, and where it ends
		for at+1 < len(path) {
			n := path[at+1]
			same := commonPrefix(n.ids, input[depth:])
			if same < len(n.ids) {
				if same > 0 {
					path[at+1] = n.split(path[at], same)
					at, depth = at+1, depth+same
				}
				break
			}
			at, depth = at+1, depth+same
		}
		path = path[:at+1]
		if depth < len(input) {
			n := &node{start: depth, ids: input[depth:]}
			path[at].children = append(path[at].children, n)
			path = append(path, n)
		}
		last := path[len(path)-1]
		last.ends = append(last.ends, i)
	}
	top.count()
	return top
}

// split cuts a node, the last child of its parent, in two and returns the first part.
func (n *node) split(parent *node, at int) *node {
	first := &node{start: n.start, ids: n.ids[:at], children: []*node{n}}
	n.start, n.ids = n.start+at, n.ids[at:]
	parent.children[len(parent.children)-1] = first
	return first
}

func (n *node) count() int {
	n.rows = len(n.ids)
	for _, c := range n.children {
		n.rows += c.count()
	}
	return n.rows
}

func commonPrefix(a, b []int) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// stage plans a node and all below it; limit is the most tokens of a task.
func (p *Plan) stage(n *node, limit int) *stage {
	s := &stage{}
	for at := 0; at < len(n.ids); at += batchRows {
		part := &node{start: n.start + at, ids: n.ids[at:min(at+batchRows, len(n.ids))]}
		w := p.newWork()
		w.kept = true
		w.add(part, -1)
		s.chunks = append(s.chunks, w)
	}
	if len(n.ids) > 0 {
		p.targets(n, func(i int) (*work, int) { return s.chunks[i/batchRows], i % batchRows })
	}
	var task *work
	for _, c := range n.children {
		if c.rows > limit {
			s.next = append(s.next, p.stage(c, limit))
			continue
		}
		if task == nil || len(task.ids)+c.rows > limit {
			task = p.newWork()
			s.tasks = append(s.tasks, task)
		}
		p.subtree(task, c, -1)
	}
	for _, w := range slices.Concat(s.chunks, s.tasks) {
		w.finish()
	}
	return s
}

func (p *Plan) newWork() *work {
	w := &work{index: p.pieces}
	p.pieces++
	return w
}

// subtree lays a node and all below it into a batch.
func (p *Plan) subtree(w *work, n *node, before int) {
	at := w.add(n, before)
	row := w.spans[at].row
	p.targets(n, func(i int) (*work, int) { return w, row + i })
	for _, c := range n.children {
		p.subtree(w, c, at)
	}
}

// add lays the tokens of a node into the batch and returns the index of its span.
func (w *work) add(n *node, before int) int {
	w.spans = append(w.spans, tokenSpan{row: len(w.ids), n: len(n.ids), start: n.start, before: before})
	w.ids = append(w.ids, n.ids...)
	return len(w.spans) - 1
}

// targets notes, at each token of the node, what the requests below it score there.
func (p *Plan) targets(n *node, place func(i int) (*work, int)) {
	end := n.start + len(n.ids)
	n.each(func(request int) {
		r := p.reqs[request]
		for i := max(r.From-1, n.start); i < end && i < len(r.IDs)-1; i++ { // the token at i predicts the one after it
			w, row := place(i - n.start)
			w.targets = append(w.targets, target{row, request, i + 1 - r.From})
		}
	})
}

// each calls f for every request that goes through the node.
func (n *node) each(f func(request int)) {
	for _, i := range n.ends {
		f(i)
	}
	for _, c := range n.children {
		c.each(f)
	}
}

// finish orders the targets.
func (w *work) finish() {
	slices.SortStableFunc(w.targets, func(a, b target) int { return a.row - b.row })
	w.need = make([]int, 0, len(w.targets))
	for _, t := range w.targets {
		if n := len(w.need); n == 0 || w.need[n-1] != t.row {
			w.need = append(w.need, t.row)
		}
	}
}

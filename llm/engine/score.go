package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Request asks for the probabilities of IDs[From:], each given all tokens before it; 1 ≤ From ≤ len(IDs).
type Request struct {
	IDs  []int
	From int
}

// Response answers a Request, one value a scored token.
type Response struct {
	LogProbs []float64 // natural logarithm of the token's probability
	Margins  []float64 // the token's logit − the largest logit of the others
	Greedy   []bool    // the token is the argmax; of equal logits the lowest id is
}

// Sum returns the log-probability of all scored tokens together.
func (r Response) Sum() float64 {
	sum := 0.0
	for _, v := range r.LogProbs {
		sum += v
	}
	return sum
}

// AllGreedy tells whether greedy generation would give exactly the scored tokens.
func (r Response) AllGreedy() bool { return !slices.Contains(r.Greedy, false) }

// batchRows is about how many tokens go through the model at once.
const batchRows = 512

// Score answers requests with up to workers goroutines. Tokens at the start that requests share are computed once, so
// prompts are best written with what they have in common first. The bits of a response don't depend on the other requests or on workers. The
// error wraps ErrTooLong for a request beyond the model's positions, ErrNotFinite where the weights give NaN.
func (m *Model) Score(ctx context.Context, reqs []Request, workers int) ([]Response, error) {
	for i, r := range reqs {
		if r.From < 1 || r.From > len(r.IDs) {
			return nil, fmt.Errorf("request %d scores from token %d of %d; there has to be one before it", i, r.From, len(r.IDs))
		}
		if n := len(r.input()); n > m.config.MaxPositions {
			return nil, fmt.Errorf("request %d: %d tokens, max_position_embeddings is %d: %w", i, n, m.config.MaxPositions, ErrTooLong)
		}
		if err := m.checkIDs(r.IDs); err != nil {
			return nil, fmt.Errorf("request %d: %w", i, err)
		}
	}
	groups := plan(reqs)
	rows := 0
	for _, g := range groups {
		rows += g.rows
	}
	workers = max(workers, 1)
	return m.scoreRuns(ctx, reqs, split(groups, min(batchRows, rows/workers+1)), workers)
}

// scoreRuns hands the runs to workers; where there are fewer runs than workers, a run gets several threads. The first
// error ends all.
func (m *Model) scoreRuns(ctx context.Context, reqs []Request, runs [][]group, workers int) ([]Response, error) {
	threads := max(1, workers/max(len(runs), 1))
	workers = min(workers, len(runs))
	out := make([]Response, len(reqs))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			s := m.scratch.Get().(*scratch)
			defer m.scratch.Put(s)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(runs) || ctx.Err() != nil {
					return
				}
				if err := m.scoreRun(ctx, reqs, runs[i], threads, s, out); err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wait.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return out, nil
}

// target is a token to score at a row of the batch.
type target struct{ row, request, index int }

// scoreRun computes some groups in one batch and fills in their responses.
func (m *Model) scoreRun(ctx context.Context, reqs []Request, groups []group, threads int, s *scratch, out []Response) error {
	b := &batch{threads: threads}
	var targets []target
	for _, g := range groups {
		targets = b.addGroup(reqs, g, targets, out)
	}
	slices.SortFunc(targets, func(x, y target) int { return x.row - y.row })
	b.need = make([]int, 0, len(targets))
	for _, t := range targets {
		if n := len(b.need); n == 0 || b.need[n-1] != t.row {
			b.need = append(b.need, t.row)
		}
	}
	if len(targets) == 0 {
		return nil
	}
	m.addCaches(b, s)
	hidden, err := m.forward(ctx, b, s)
	if err != nil {
		return err
	}
	done := 0
	return m.eachLogits(hidden, s, b.threads, func(i int, logits []float32) error {
		for ; done < len(targets) && targets[done].row == b.need[i]; done++ {
			t := targets[done]
			r := reqs[t.request]
			logProb, margin, greedy, err := m.judge(logits, r.IDs[r.From+t.index])
			if errors.Is(err, ErrNotFinite) {
				return fmt.Errorf("request %d: %w", t.request, err)
			}
			o := &out[t.request]
			o.LogProbs[t.index], o.Margins[t.index], o.Greedy[t.index] = logProb, margin, greedy
		}
		return nil
	})
}

// addGroup lays a group's tokens into the batch, appends what is to be scored, and makes the responses.
func (b *batch) addGroup(reqs []Request, g group, targets []target, out []Response) []target {
	first := len(b.ids)
	var parent *segment
	if g.prefix > 0 {
		parent = &segment{row: first, n: g.prefix}
		b.segments = append(b.segments, parent)
		b.ids = append(b.ids, reqs[g.members[0]].IDs[:g.prefix]...)
	}
	for _, i := range g.members {
		r := reqs[i]
		rest := r.input()[g.prefix:]
		row := len(b.ids) - g.prefix // where token 0 would be, were the prefix repeated here
		if len(rest) > 0 {
			b.segments = append(b.segments, &segment{parent: parent, row: len(b.ids), n: len(rest), start: g.prefix})
			b.ids = append(b.ids, rest...)
		}
		n := len(r.IDs) - r.From
		out[i] = Response{LogProbs: make([]float64, n), Margins: make([]float64, n), Greedy: make([]bool, n)}
		for j := range n {
			at := row + r.From + j - 1
			if r.From+j-1 < g.prefix {
				at = first + r.From + j - 1
			}
			targets = append(targets, target{at, i, j})
		}
	}
	return targets
}

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

// Score answers requests with up to workers goroutines. A prefix that requests share is computed once. The bits of a
// response don't depend on the other requests or on workers. The error wraps ErrTooLong for a request beyond the model's
// positions, ErrNotFinite where the weights give NaN.
func (m *Model) Score(ctx context.Context, reqs []Request, workers int) ([]Response, error) {
	p, err := m.NewPlan(reqs, workers)
	if err != nil {
		return nil, err
	}
	defer p.Release()
	return m.ScorePlan(ctx, p)
}

// ScorePlan answers the requests of a plan, which any model of the same architecture may have made. A variant that
// agrees with the base in its first layers starts from what the base made of these.
func (m *Model) ScorePlan(ctx context.Context, p *Plan) ([]Response, error) {
	return m.ScorePlanEach(ctx, p, nil)
}

// ScorePlanEach is ScorePlan that also hands over each response as soon as it is complete, in no particular order and
// never concurrently. An error of done ends the work.
func (m *Model) ScorePlanEach(ctx context.Context, p *Plan, done func(request int, r Response) error) ([]Response, error) {
	run := &scoring{m: m, p: p, out: make([]Response, len(p.reqs)), done: done}
	if done != nil {
		run.left = make([]int, len(p.reqs))
	}
	for i, r := range p.reqs {
		n := len(r.IDs) - r.From
		run.out[i] = Response{LogProbs: make([]float64, n), Margins: make([]float64, n), Greedy: make([]bool, n)}
		if done == nil {
			continue
		}
		if run.left[i] = n; n == 0 {
			if err := done(i, run.out[i]); err != nil {
				return nil, err
			}
		}
	}
	if m.root != nil && m.first > 0 {
		var err error
		if run.from, run.inputs, err = p.activations.before(ctx, m.root, p, m.first); err != nil {
			return nil, err
		}
	}
	err := run.all(ctx)
	if errors.Is(err, errLost) {
		p.activations.lose(run.inputs)
		run.from, run.inputs = 0, nil
		err = run.all(ctx)
	}
	if err != nil {
		return nil, err
	}
	return run.out, nil
}

// scoring is a pass of a model over a plan.
type scoring struct {
	m      *Model
	p      *Plan
	from   int      // first layer to compute
	inputs *streams // residual streams before layer from; nil where from is 0
	out    []Response
	record *recording // nil: score

	mu   sync.Mutex
	left []int // tokens of each request still to score; nil where done is
	done func(request int, r Response) error
}

func (run *scoring) all(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err := run.stage(ctx, run.p.root, nil, cancel)
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

// stage computes a stage and all below it.
func (run *scoring) stage(ctx context.Context, s *stage, parent *segment, cancel context.CancelCauseFunc) error {
	seg := parent
	if len(s.chunks) > 0 {
		var err error
		if seg, err = run.chunks(ctx, s, parent); err != nil {
			return err
		}
	}
	run.tasks(ctx, s.tasks, seg, cancel)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, next := range s.next {
		if err := run.stage(ctx, next, seg, cancel); err != nil {
			return err
		}
	}
	return nil
}

// chunks computes the stage's own tokens with all threads and returns them with their keys and values.
func (run *scoring) chunks(ctx context.Context, s *stage, parent *segment) (*segment, error) {
	total := 0
	for _, w := range s.chunks {
		total += len(w.ids)
	}
	seg := parent.follow()
	run.m.reserve(seg, seg.past+total, run.from)
	scratch := run.m.scratch.Get().(*scratch)
	defer run.m.scratch.Put(scratch)
	for _, w := range s.chunks {
		seg.n = len(w.ids)
		err := run.m.guarded(func() error { return run.work(ctx, w, []*segment{seg}, run.p.workers, scratch) })
		if err != nil {
			return nil, err
		}
		seg.done()
		seg.before = nil // its keys are there now
	}
	return seg, nil
}

// tasks hands tasks to workers; where there are fewer than workers, a task gets several threads. The first error ends
// all.
func (run *scoring) tasks(ctx context.Context, tasks []*work, parent *segment, cancel context.CancelCauseFunc) {
	if len(tasks) == 0 {
		return
	}
	threads := max(1, run.p.workers/len(tasks))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(run.p.workers, len(tasks)) {
		wait.Go(func() {
			s := run.m.scratch.Get().(*scratch)
			defer run.m.scratch.Put(s)
			for {
				i := int(next.Add(1)) - 1
				if i >= len(tasks) || ctx.Err() != nil {
					return
				}
				err := run.m.guarded(func() error {
					return run.work(ctx, tasks[i], tasks[i].segments(parent), threads, s)
				})
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// fewKeys is how many keys are rather copied to the following segment, where they lie with its own.
const fewKeys = 64

// follow is next, but where a segment's keys are few they are copied to the following one.
func (s *segment) follow() *segment {
	if s != nil && len(s.behind) == 0 && s.past < fewKeys {
		return &segment{before: s, past: s.past, start: s.start}
	}
	return s.next()
}

// segments lays out a task's spans behind the stage's keys.
func (w *work) segments(parent *segment) []*segment {
	all := make([]*segment, len(w.spans))
	for i, x := range w.spans {
		seg := parent.follow()
		seg.past += x.start - seg.start
		seg.row, seg.n, seg.start = x.row, x.n, x.start
		if x.before >= 0 {
			seg.before = all[x.before]
		}
		all[i] = seg
	}
	return all
}

// work computes one batch and fills in what it scores, or records its residual stream.
func (run *scoring) work(ctx context.Context, w *work, segments []*segment, threads int, s *scratch) error {
	b := &batch{ids: w.ids, segments: segments, need: w.need, threads: threads, from: run.from}
	if run.from > 0 {
		var err error
		if b.input, err = run.inputs.get(w.index, &s.x); err != nil {
			return err
		}
	}
	run.m.addCaches(b, s)
	if run.record != nil {
		return run.record.work(ctx, run.m, w, b, s)
	}
	if len(w.need) == 0 && !w.kept {
		return nil // nothing is scored
	}
	hidden, err := run.m.forward(ctx, b, s)
	if err != nil {
		return err
	}
	return run.judge(w, hidden, threads, s)
}

// judge scores the targets of a batch.
func (run *scoring) judge(w *work, hidden []float32, threads int, s *scratch) error {
	rows, tokens := make([]float32, 0, len(hidden)), make([]int, 0, len(w.targets))
	at := -1
	n := run.m.config.HiddenSize
	for _, t := range w.targets { // a row may have several tokens to score: it is repeated
		if at < 0 || w.need[at] != t.row {
			at++
		}
		rows = append(rows, hidden[at*n:(at+1)*n]...)
		r := run.p.reqs[t.request]
		tokens = append(tokens, r.IDs[r.From+t.index])
	}
	judged, err := run.m.judge(rows, tokens, &s.inputs, threads, false)
	if errors.Is(err, ErrNotFinite) {
		return fmt.Errorf("request %d: %w", w.targets[len(judged)].request, err)
	}
	for i, j := range judged {
		t := w.targets[i]
		o := &run.out[t.request]
		o.LogProbs[t.index], o.Margins[t.index], o.Greedy[t.index] = j.logProb, j.margin, j.greedy
	}
	if err != nil || run.done == nil {
		return err
	}
	return run.finished(w)
}

// finished hands over the responses that the batch completed.
func (run *scoring) finished(w *work) error {
	run.mu.Lock()
	defer run.mu.Unlock()
	for _, t := range w.targets {
		if run.left[t.request]--; run.left[t.request] > 0 {
			continue
		}
		if err := run.done(t.request, run.out[t.request]); err != nil {
			return err
		}
	}
	return nil
}

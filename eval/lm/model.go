package lm

import (
	"context"
	"slices"
	"sync"

	"d2nwg/llm/engine"
)

// Model is the project's own engine as an Engine.
type Model struct {
	*engine.Model
	Plans *Plans // shared by variants of one checkpoint that answer the same requests; nil = none
}

// ScoreEach plans all requests at once, so that each prefix they share is computed once.
func (m Model) ScoreEach(ctx context.Context, reqs []engine.Request, workers int, done func(int, engine.Response) error) error {
	plan, err := m.Plans.of(m.Model, reqs, workers)
	if err != nil {
		return err
	}
	_, err = m.ScorePlanEach(ctx, plan, done)
	return err
}

// Rows is how many tokens the plan computes.
func (m Model) Rows(reqs []engine.Request) (int64, error) {
	if plan := m.Plans.find(reqs); plan != nil {
		return int64(plan.Rows()), nil
	}
	plan, err := m.NewPlan(reqs, 1)
	if err != nil {
		return 0, err
	}
	return int64(plan.Rows()), nil
}

// mostPlans is how many plans are kept: more than a race has looks.
const mostPlans = 16

// Plans keeps the latest plans: many variants answer the same requests, and start from what the base made of them. It
// is safe for concurrent use; a nil *Plans keeps nothing.
type Plans struct {
	mu    sync.Mutex
	plans []planned // oldest first
}

type planned struct {
	reqs []engine.Request
	plan *engine.Plan
}

// NewPlans keeps nothing yet.
func NewPlans() *Plans { return &Plans{} }

// find returns the plan of requests where it is kept.
func (p *Plans) find(reqs []engine.Request) *engine.Plan {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known(reqs)
}

func (p *Plans) known(reqs []engine.Request) *engine.Plan {
	same := func(a, b engine.Request) bool { return a.From == b.From && slices.Equal(a.IDs, b.IDs) }
	for _, known := range p.plans {
		if slices.EqualFunc(known.reqs, reqs, same) {
			return known.plan
		}
	}
	return nil
}

// of returns the plan of requests, for up to workers goroutines.
func (p *Plans) of(m *engine.Model, reqs []engine.Request, workers int) (*engine.Plan, error) {
	if p == nil {
		return m.NewPlan(reqs, workers)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan := p.known(reqs); plan != nil {
		return plan, nil
	}
	plan, err := m.NewPlan(reqs, workers)
	if err != nil {
		return nil, err
	}
	if len(p.plans) == mostPlans {
		p.plans[0].plan.Release()
		p.plans = p.plans[1:]
	}
	p.plans = append(p.plans, planned{reqs, plan})
	return plan, nil
}

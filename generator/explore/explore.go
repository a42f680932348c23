// Package explore searches for a better checkpoint near a base and judges what it found.
//
// Every source of proposals (the generator, and baselines that need no generator) gets the same search with the same
// number of candidates on the select split, raced by the same rules (see race.go). Its winner has to pass a gate on confirm. Only then, once, test is
// opened, after the ledger has noted it; two verdicts are paired comparisons on test:
//
//	checkpoint: the candidate is better than the base
//	generator:  the generator's winner is better than every baseline's winner, too
//
// They are tested in this order, the second only if the first holds, each at the level that earlier openings of the
// same test split have left (stats.SpendAlpha); so the chance of any false verdict on a test split stays below alpha.
package explore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// Split and Scores are the shared words of a comparison; see package stats.
type (
	Split  = stats.Split
	Scores = stats.Scores
)

// A Scorer scores a candidate on a split, one number per item, always the same items in the same order.
type Scorer interface {
	Score(ctx context.Context, v *llm.Variant, split Split) (Scores, error)
	// ScoreItems scores some items, in the order given. An item's score must have the same bits as in Score.
	ScoreItems(ctx context.Context, v *llm.Variant, split Split, items []int) (Scores, error)
	Hash(split Split) string // identifies the split's items
	Items(split Split) int
	Metric() string
}

// Budget is what every source's search may spend. All counts are per source.
type Budget struct {
	Proposals int       `json:"proposals"` // whole proposals
	Scales    []float64 `json:"scales"`    // strengths at which each proposal is tried
	Layers    int       `json:"layers"`    // tensors replaced one by one, in the plan's order
	Tries     int       `json:"tries"`     // replacements tried for each of them
	Soup      int       `json:"soup"`      // blends with runners-up and the base
}

// Evaluations is the number of candidates that a source's search tries on select, in a space of this many tensors.
func (b Budget) Evaluations(tensors int) int {
	return b.Proposals*len(b.Scales) + min(b.Layers, tensors)*b.Tries + b.Soup
}

func (b Budget) check() error {
	switch {
	case b.Proposals < 1 || len(b.Scales) < 1:
		return errors.New("explore: the budget needs at least one proposal and one scale")
	case min(b.Layers, b.Tries, b.Soup) < 0:
		return errors.New("explore: a budget has no negative counts")
	case b.Tries > b.Proposals*len(b.Scales):
		return fmt.Errorf("explore: %d tries per tensor need as many proposals; the budget has %d", b.Tries, b.Proposals*len(b.Scales))
	}
	return nil
}

// A Plan is everything a run depends on.
type Plan struct {
	Base      *llm.Checkpoint
	Relatives []Relative // material of the baselines; may be empty
	Sources   []Source   // the generator and whatever else is to be compared; baselines are added
	Scorer    Scorer
	Order     []string // tensors, most informative first (Spectrum); others of the space follow by name
	Budget    Budget
	Alpha     float64 // chance of any false verdict on this test split, ever; 0 = 0.05
	Resamples int     // of the bootstrap; 0 = 10000
	RaceAlpha float64 // chance that a source's search drops a best candidate before it was scored in full; 0 = score everything
	Seed      uint64
	// AcceptBaselines lets a baseline's winner be the candidate of the checkpoint verdict. Decided before test is
	// opened: it is part of what the ledger records.
	AcceptBaselines bool
	Key             string           // identifies what the sources' proposals depend on besides Base, Relatives and Seed
	Journal         *journal.Journal // nil = nothing is remembered
	Ledger          string           // path of the ledger
	Progress        progress.Func
}

const defaultAlpha = 0.05

// run is a plan being carried out.
type run struct {
	plan    *Plan
	id      string
	space   *Space
	names   []string // tensors of the space in the plan's order
	sources []Source
	base    outcome            // the base on select
	known   map[string]*scored // by the hash of the weights
	weights []float64          // of select's items, with mean 1; nil = equal
	span    float64            // of a race's differences
	done    int64
	total   int64
}

// Run carries out the plan. What it did before it was interrupted it takes from the journal: a resumed run ends with
// the same report, weights and ledger.
func Run(ctx context.Context, plan Plan) (*Report, error) {
	plan.Alpha = cmp.Or(plan.Alpha, defaultAlpha)
	plan.Resamples = cmp.Or(plan.Resamples, 10000)
	r, err := newRun(ctx, &plan)
	if err != nil {
		return nil, err
	}
	baseHash, err := plan.Base.Hash()
	if err != nil {
		return nil, err
	}
	report := &Report{
		Run: r.id, Base: baseHash, Metric: plan.Scorer.Metric(), Seed: plan.Seed, Budget: plan.Budget,
		Alpha: plan.Alpha, RaceAlpha: plan.RaceAlpha, Splits: map[Split]SplitInfo{}, BaseScores: map[Split]Summary{},
	}
	for _, split := range []Split{stats.Select, stats.Confirm, stats.Test} {
		report.Splits[split] = SplitInfo{Hash: plan.Scorer.Hash(split), Items: plan.Scorer.Items(split)}
	}
	if err := r.search(ctx, report); err != nil {
		return nil, err
	}
	if err := r.confirm(ctx, report); err != nil {
		return nil, err
	}
	if err := r.test(ctx, report); err != nil {
		return nil, err
	}
	report.conclude()
	return report, nil
}

func newRun(ctx context.Context, plan *Plan) (*run, error) {
	if plan.Base == nil || plan.Scorer == nil || plan.Ledger == "" {
		return nil, errors.New("explore: a plan needs a base, a scorer and a ledger")
	}
	if err := plan.Budget.check(); err != nil {
		return nil, err
	}
	if !(plan.RaceAlpha >= 0 && plan.RaceAlpha < 1) {
		return nil, fmt.Errorf("explore: the race's alpha %g is not between 0 and 1", plan.RaceAlpha)
	}
	var known []*llm.Variant
	for _, r := range plan.Relatives {
		known = append(known, r.Variant)
	}
	for _, s := range plan.Sources {
		first, err := s.Propose(ctx, 0)
		if err != nil {
			return nil, fmt.Errorf("source %s, proposal 0: %w", s.Name(), err)
		}
		known = append(known, first)
	}
	space, err := NewSpace(plan.Base, known)
	if err != nil {
		return nil, err
	}
	r := &run{plan: plan, space: space, known: map[string]*scored{}}
	for _, name := range append(slices.Clone(plan.Order), space.Names()...) {
		if _, ok := space.axes[name]; ok && !slices.Contains(r.names, name) {
			r.names = append(r.names, name)
		}
	}
	if len(r.names) == 0 {
		return nil, errors.New("explore: neither relatives nor proposals change any tensor of the base")
	}
	own, err := baselines(plan, space)
	if err != nil {
		return nil, err
	}
	r.sources = append(own, plan.Sources...)
	if err := distinctNames(r.sources); err != nil {
		return nil, err
	}
	r.total = int64(len(r.sources) * plan.Budget.Evaluations(len(r.names)))
	r.id, err = r.identity()
	return r, err
}

func distinctNames(sources []Source) error {
	seen := map[string]bool{"base": true}
	for _, s := range sources {
		if seen[s.Name()] {
			return fmt.Errorf("explore: two sources are called %q", s.Name())
		}
		seen[s.Name()] = true
	}
	return nil
}

// identity is a hash of all that a run's results depend on.
func (r *run) identity() (string, error) {
	p := r.plan
	base, err := p.Base.Hash()
	if err != nil {
		return "", err
	}
	parts := []any{"explore 2", base, p.Scorer.Metric(), p.Budget, p.Seed, p.Alpha, p.Resamples, p.RaceAlpha, p.AcceptBaselines, p.Key, r.names}
	for _, split := range []Split{stats.Select, stats.Confirm, stats.Test} {
		parts = append(parts, p.Scorer.Hash(split))
	}
	for _, relative := range p.Relatives {
		hash, err := relative.Variant.Hash()
		if err != nil {
			return "", err
		}
		parts = append(parts, hash, relative.Name, relative.Similarity)
	}
	for _, s := range r.sources {
		parts = append(parts, s.Name(), s.Kind())
	}
	data, err := json.Marshal(parts)
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8]), err
}

// search finds every source's winner on select.
func (r *run) search(ctx context.Context, report *Report) error {
	if err := r.scoreBase(ctx); err != nil {
		return err
	}
	report.BaseScores[stats.Select] = Summary{r.base.Mean, r.base.Tie}
	r.done = 0
	for _, source := range r.sources {
		s := &search{run: r, source: source, vectors: map[int]Vector{}}
		best, err := s.find(ctx)
		if err != nil {
			return err
		}
		v, err := s.again(ctx, best)
		if err != nil {
			return err
		}
		report.Sources = append(report.Sources, Result{
			Name: source.Name(), Kind: source.Kind(), Evaluations: s.evaluations,
			Items: s.items, FullItems: s.evaluations * r.plan.Scorer.Items(stats.Select), Better: s.better,
			Winner: best.Hash, How: best.how, Blend: best.blend, Select: Summary{best.Mean, best.Tie}, variant: v,
		})
	}
	return nil
}

// scoreBase scores the base on all of select.
func (r *run) scoreBase(ctx context.Context) error {
	all := make([]int, r.plan.Scorer.Items(stats.Select))
	for i := range all {
		all[i] = i
	}
	s := &search{run: r, source: NewSource("base", "base", nil)}
	e := s.enter(Blend{}, "base")
	if err := s.measure(ctx, e, all, all); err != nil {
		return err
	}
	if r.base = e.outcome; r.base.Bad {
		return errors.New("explore: the base itself has scores that are not finite")
	}
	r.ruler(e.known.scores)
	return nil
}

// scoreKey is the journal's key of a candidate's scores.
func (r *run) scoreKey(variant string, split Split) string {
	return fmt.Sprintf("%s/%s/%s/%s", variant, split, r.plan.Scorer.Hash(split), r.plan.Scorer.Metric())
}

// score asks the scorer and checks that the answer has the promised size.
func (r *run) score(ctx context.Context, v *llm.Variant, split Split) (Scores, error) {
	scores, err := r.plan.Scorer.Score(ctx, v, split)
	if err != nil {
		return Scores{}, err
	}
	if want := r.plan.Scorer.Items(split); len(scores.Items) != want {
		return Scores{}, fmt.Errorf("explore: the scorer returned %d items of split %s, not %d", len(scores.Items), split, want)
	}
	return scores, nil
}

// full scores a candidate on confirm or test, item by item, once.
func (r *run) full(ctx context.Context, v *llm.Variant, split Split) (Scores, error) {
	hash, err := v.Hash()
	if err != nil {
		return Scores{}, err
	}
	return journal.Do(r.plan.Journal, "score", r.scoreKey(hash, split), func() (Scores, error) { return r.score(ctx, v, split) })
}

func (r *run) report(source string, o outcome) {
	r.done++
	r.plan.Progress.Report(progress.Event{
		Stage: "explore", Done: r.done, Total: r.total, Note: source, Values: map[string]float64{r.plan.Scorer.Metric(): o.Mean},
	})
}

package explore

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"d2nwg/llm"
)

// mixedBag proposes mostly rubbish, now and then something near the goal.
func mixedBag(base *llm.Checkpoint) Source {
	good, bad := generatorOf(base, "", "", 0.8, 0.3), generatorOf(base, "", "", -3, 1)
	return NewSource("generated", Generator, func(ctx context.Context, i int) (*llm.Variant, error) {
		if i%8 == 5 {
			return good.Propose(ctx, i)
		}
		return bad.Propose(ctx, i)
	})
}

// Races must find what scoring everything finds, for less, under the same rules for every source, and the report must
// say what was spent.
func TestRacesFindTheSameForLess(t *testing.T) {
	base := tinyBase(t)
	run := func(alpha float64) (*Report, int) {
		scorer := &fakeScorer{items: 400, f: plantedScore(1)}
		plan := testPlan(t, base, scorer)
		plan.Budget = Budget{Proposals: 32, Scales: []float64{1}, Layers: 3, Tries: 2, Soup: 3}
		plan.Sources, plan.RaceAlpha = []Source{mixedBag(base)}, alpha
		return mustRun(t, plan), scorer.selected
	}
	full, scoredFull := run(0)
	raced, scoredRaced := run(0.05)
	items := 400 // the base
	for i, s := range full.Sources {
		r := raced.Sources[i]
		if s.Items != s.FullItems || s.FullItems != 400*full.Budget.Evaluations(len(tinyNames)) || s.Better != 0 {
			t.Errorf("%s without races: %d items of %d, %d better", s.Name, s.Items, s.FullItems, s.Better)
		}
		if r.Winner != s.Winner || r.Select != s.Select || r.Evaluations != s.Evaluations || r.FullItems != s.FullItems {
			t.Errorf("%s: %+v with races, %+v without", s.Name, r, s)
		}
		t.Logf("%-13s  %5d of %5d items, %2d of 32 proposals shown better than the base", r.Name, r.Items, r.FullItems, r.Better)
		items += r.Items
	}
	if scoredRaced > items || scoredFull < 2*scoredRaced {
		t.Errorf("%d items scored, %d reported, %d without races", scoredRaced, items, scoredFull)
	}
	if g := raced.result("generated"); float64(g.Items) > 0.35*float64(g.FullItems) || g.Better != 4 {
		t.Errorf("generated: %d of %d items, %d better", g.Items, g.FullItems, g.Better)
	}
}

// A candidate whose scores are not finite on some items must lose, whenever that comes out.
func TestBadScoresLoseQuietly(t *testing.T) {
	base := tinyBase(t)
	planted := plantedScore(1)
	plan := testPlan(t, base, &fakeScorer{items: 100, f: func(v *llm.Variant, hash uint64, split Split, item int) float64 {
		if hash%2 == 0 && item == 37 && len(v.Names()) > 0 {
			return math.NaN()
		}
		return planted(v, hash, split, item)
	}})
	plan.Sources = []Source{generatorOf(base, "generated", Generator, 0.8, 0.3)}
	plan.Relatives = nil
	report, err := Run(context.Background(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if s := report.result("generated"); !(s.Select.Mean > 0) || !s.Passed {
		t.Errorf("winner %+v", s)
	}
}

// What a race compares: items weighted to a mean weight of 1, within the spread of the base's own.
func TestRuler(t *testing.T) {
	var r run
	r.ruler(Scores{Items: []float64{0, 1, 1, 0}})
	if r.span != 1 || r.weights != nil {
		t.Errorf("0/1 scores: span %g, weights %v", r.span, r.weights)
	}
	r.ruler(Scores{Items: []float64{-2, -2, -2}, Weights: []float64{1, 2, 3}})
	if r.span != 1 || fmt.Sprint(r.weights) != "[0.5 1 1.5]" {
		t.Errorf("span %g, weights %v", r.span, r.weights)
	}
	random := rand.New(rand.NewPCG(1, 1))
	x := make([]float64, 4000)
	for i := range x {
		x[i] = 3 * random.NormFloat64()
	}
	x[0] = -1e6 // one broken item is no measure
	r = run{}
	if r.ruler(Scores{Items: x}); math.Abs(r.span-3*1.349) > 0.2 {
		t.Errorf("span %g", r.span)
	}
	s := search{run: &run{weights: []float64{0.5, 1.5}}}
	if got := s.weighted(&scored{scores: Scores{Items: []float64{4, 2}}}, []int{1, 0}); !slices.Equal(got, []float64{3, 2}) {
		t.Errorf("weighted %v", got)
	}
}

func TestLevelsAddUp(t *testing.T) {
	for _, b := range []Budget{testBudget, {Soup: 4}, {Layers: 9, Tries: 1}, {Layers: 9}} {
		r := run{plan: &Plan{Budget: b, RaceAlpha: 0.1}, names: tinyNames}
		whole, later := r.levels()
		races := b.Soup
		if b.Tries > 0 {
			races += min(b.Layers, len(tinyNames))
		}
		if got := whole + float64(races)*later; math.Abs(got-0.1) > 1e-15 {
			t.Errorf("%+v: %g and %d times %g make %g", b, whole, races, later, got)
		}
	}
}

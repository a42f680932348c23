package explore

import (
	"context"
	"fmt"
	"maps"
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

// marginScore is a real-valued metric that falls with the distance from the goal.
func marginScore(v *llm.Variant, hash uint64, split Split, item int) float64 {
	distance, n := 0.0, 0.0
	for _, name := range tinyNames {
		t, _ := v.Base.Tensor(name)
		b := v.LowRank[name].B
		for i := range t.Shape[0] * 2 {
			d := 1.0
			if b != nil {
				d -= float64(b[i])
			}
			distance, n = distance+d*d, n+1
		}
	}
	return 8*uniform(7, split, item) - math.Sqrt(distance/n)*(1+uniform(8, split, item)) + uniform(hash, split, item)
}

// Races must find what scoring everything finds, for less than half, under the same rules for every source, and the report must
// say what was spent.
func TestRacesFindTheSameForLess(t *testing.T) {
	t.Run("0/1", func(t *testing.T) { testRaces(t, plantedScore(1), 0.35) })
	t.Run("margins", func(t *testing.T) { testRaces(t, marginScore, 0.35) })
}

func testRaces(t *testing.T, f func(*llm.Variant, uint64, Split, int) float64, most float64) {
	base := tinyBase(t)
	run := func(alpha float64) (*Report, int) {
		scorer := &fakeScorer{items: 400, f: f}
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
		if r.Evaluations != s.Evaluations || r.FullItems != s.FullItems {
			t.Errorf("%s: %d candidates with races, %d without", s.Name, r.Evaluations, s.Evaluations)
		}
		// A race promises its best only. Those that follow may come in another order, and with them what blends are made of.
		if loss := s.Select.Mean - r.Select.Mean; r.Winner != s.Winner && (s.Kind == Generator || loss > 0.01) {
			t.Errorf("%s: the winner has %g on select, without races %g", s.Name, r.Select.Mean, s.Select.Mean)
		}
		t.Logf("%-13s  %5d of %5d items, %2d of 32 proposals shown better than the base", r.Name, r.Items, r.FullItems, r.Better)
		items += r.Items
	}
	if scoredRaced > items || 2*scoredRaced > scoredFull {
		t.Errorf("%d items scored, %d reported, %d without races", scoredRaced, items, scoredFull)
	}
	if g := raced.result("generated"); float64(g.Items) > most*float64(g.FullItems) || g.Better != 4 {
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

// From look to look a race holds what it made, within its room.
func TestRacesHoldTheirCandidates(t *testing.T) {
	base := tinyBase(t)
	scored := map[*llm.Variant]int{} // times
	scorer := &fakeScorer{items: 400, f: plantedScore(1)}
	plan := testPlan(t, base, countVariants{scorer, scored})
	plan.Budget = Budget{Proposals: 32, Scales: []float64{1}}
	plan.Sources, plan.RaceAlpha = []Source{mixedBag(base)}, 0.05
	report := mustRun(t, plan)
	candidates := 1 // the base
	for _, s := range report.Sources {
		candidates += s.Evaluations
	}
	if most := slices.Max(slices.Collect(maps.Values(scored))); len(scored) > candidates || most < 3 {
		t.Errorf("%d candidates were made %d times, and scored at most %d times each", candidates, len(scored), most)
	}
	v := lowRank(base, func() float64 { return 1 })
	size := 0
	for _, x := range v.LowRank {
		size += len(x.A) + len(x.B)
	}
	s := &search{room: 2*size - 1}
	if s.hold(v) != v || s.hold(v) != nil || s.room != size-1 {
		t.Errorf("a race has room for %d values after two candidates of %d", s.room, size)
	}
}

// countVariants counts how often each variant is scored on select.
type countVariants struct {
	Scorer
	scored map[*llm.Variant]int
}

func (c countVariants) ScoreItems(ctx context.Context, v *llm.Variant, split Split, items []int) (Scores, error) {
	c.scored[v]++
	return c.Scorer.ScoreItems(ctx, v, split, items)
}

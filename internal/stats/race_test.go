package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// runRace carries a race out over the whole scores (candidate, item), and counts the items that were scored.
func runRace(t *testing.T, c RaceConfig, scores [][]float64, base []float64, seed uint64) (*Race, int) {
	t.Helper()
	c.Candidates, c.Items = len(scores), len(scores[0])
	race, err := NewRace(c)
	if err != nil {
		t.Fatal(err)
	}
	order := RaceOrder(c.Items, seed)
	pick := func(x []float64, at []int) (out []float64) {
		for _, i := range at {
			out = append(out, x[i])
		}
		return out
	}
	spent := 0
	for from, to := race.Next(); from < to; from, to = race.Next() {
		now := make([][]float64, len(scores))
		for i := range scores {
			if race.In(i) {
				now[i] = pick(scores[i], order[from:to])
				spent += to - from
			}
		}
		var b []float64
		if base != nil {
			b = pick(base, order[from:to])
		}
		if err := race.Look(now, b); err != nil {
			t.Fatal(err)
		}
	}
	return race, spent
}

func sum(x []float64) float64 {
	var s float64
	for _, v := range x {
		s += v
	}
	return s
}

// tolerated is the most of n events of probability p that a correct program shows, but once in about 750 tests.
func tolerated(p float64, n int) float64 {
	return float64(n)*p + 3*math.Sqrt(float64(n)*p*(1-p))
}

func bernoulli(r *rand.Rand, p float64) float64 {
	if r.Float64() < p {
		return 1
	}
	return 0
}

// With no candidate better than the base, any acceptance is false: over 1,000 races of each kind the rate must keep to alpha.
// The same simulation finds a test guilty that looks often at the usual level, or forgets how many candidates there are.
func TestNullRacesRarelyAccept(t *testing.T) {
	const runs, candidates, items, alpha = 1000, 6, 100, 0.05
	pairs := func(p float64) func(*rand.Rand) ([]float64, float64) {
		return func(r *rand.Rand) (x []float64, base float64) {
			for range candidates {
				x = append(x, bernoulli(r, p))
			}
			return x, bernoulli(r, p)
		}
	}
	for name, draw := range map[string]func(*rand.Rand) (x []float64, base float64){
		"Bernoulli .05": pairs(0.05), "Bernoulli .5": pairs(0.5), "Bernoulli .9": pairs(0.9),
		"ties": func(r *rand.Rand) (x []float64, base float64) { // nineteen items of twenty are the same for all
			same := bernoulli(r, 0.5)
			for range candidates {
				v := same
				if r.IntN(20) == 0 {
					v = bernoulli(r, 0.5)
				}
				x = append(x, v)
			}
			if r.IntN(20) == 0 {
				same = bernoulli(r, 0.5)
			}
			return x, same
		},
		"heavy tails": func(r *rand.Rand) (x []float64, base float64) { // Cauchy
			for range candidates {
				x = append(x, r.NormFloat64()/math.Abs(r.NormFloat64()))
			}
			return x, 0
		},
		"skewed": func(r *rand.Rand) (x []float64, base float64) { // rare wins pay for many small losses
			for range candidates {
				v := -1.0 / 19
				if r.IntN(20) == 0 {
					v = 1
				}
				x = append(x, v)
			}
			return x, 0
		},
		"dependent": func(r *rand.Rand) (x []float64, base float64) { // one luck for all
			shared := bernoulli(r, 0.5)
			for range candidates {
				x = append(x, max(0, min(1, shared+0.1*bernoulli(r, 0.5)-0.05)))
			}
			return x, 0.5
		},
	} {
		r := rand.New(rand.NewPCG(1, 2))
		accepted, naive := 0, 0
		for range runs {
			scores, base := square(candidates), make([]float64, items)
			for i := range scores {
				scores[i] = make([]float64, items)
			}
			for t := range items {
				x, b := draw(r)
				base[t] = b
				for i, v := range x {
					scores[i][t] = v
				}
			}
			race, _ := runRace(t, RaceConfig{Alpha: alpha}, scores, base, r.Uint64())
			any := false
			for i := range scores {
				any = any || race.Accepted(i)
			}
			if any {
				accepted++
			}
			if looksGood(scores, base, Looks(items)) {
				naive++
			}
		}
		t.Logf("%-13s  %3d of %d races accept a candidate at alpha %g; looking at the z-score would in %d", name, accepted, runs, alpha, naive)
		if float64(accepted) > tolerated(alpha, runs) {
			t.Errorf("%s: %d false acceptances in %d races, at most %.0f are tolerated", name, accepted, runs, tolerated(alpha, runs))
		}
		if float64(naive) <= tolerated(alpha, runs) {
			t.Errorf("%s: even a wrong test passes (%d): the simulation shows nothing", name, naive)
		}
	}
}

// looksGood is what is wrong: a z-test at the plain level for every candidate at every look.
func looksGood(scores [][]float64, base []float64, looks []int) bool {
	for _, x := range scores {
		for _, n := range looks {
			var s, q float64
			for t := range n {
				d := min(max(x[t]-base[t], -1), 1)
				s += d
				q += d * d
			}
			if s > 1.645*math.Sqrt(q) {
				return true
			}
		}
	}
	return false
}

// The hardest case for dropping: candidates that are exactly equal on all items, so that the first is a best one in
// every order. It must be dropped with probability at most alpha; and not so rarely that the bound were idle.
func TestBestIsRarelyDropped(t *testing.T) {
	const runs, items, alpha = 3000, 64, 0.1
	for name, scores := range map[string][][]float64{
		"two, few differences":  equals(2, items, 12),
		"two, all different":    equals(2, items, items),
		"eight, half different": equals(8, items, items/2),
	} {
		dropped, others := 0, 0
		for seed := range uint64(runs) {
			race, _ := runRace(t, RaceConfig{Alpha: alpha, Looks: []int{8, 16, 24, 32, 40, 48, 56, 60, 62, 63, 64}}, scores, nil, seed)
			if !race.In(0) {
				dropped++
			}
			if !slices.ContainsFunc([]int{0, 1}, race.In) {
				others++
			}
		}
		t.Logf("%s: a best candidate is dropped in %d of %d races at alpha %g", name, dropped, runs, alpha)
		if float64(dropped) > tolerated(alpha, runs) || dropped < runs*alpha/20 {
			t.Errorf("%s: dropped in %d races of %d, alpha %g", name, dropped, runs, alpha)
		}
		if len(scores) == 2 && others > 0 {
			t.Errorf("%s: both were dropped in %d races", name, others)
		}
	}
}

// equals makes n candidates of the same total, whose scores differ on some of the items.
func equals(n, items, different int) [][]float64 {
	r := rand.New(rand.NewPCG(3, uint64(n)))
	scores := square(n)
	for i := range scores {
		scores[i] = make([]float64, items)
		for k, t := range r.Perm(different) {
			scores[i][t] = float64(k % 2)
		}
	}
	return scores
}

// Acceptance: of 32 candidates 28 are clearly worse. Finding the best must cost at most a quarter of scoring them all
// (an eighth is what the four good ones cost alone), and it must survive.
func TestRaceOf32(t *testing.T) {
	const runs, candidates, good, items, alpha = 60, 32, 4, 400, 0.05
	r := rand.New(rand.NewPCG(5, 6))
	spent, lost := 0, 0
	var accepted [8]int // the first of eight is good
	for range runs {
		scores, base := square(candidates), make([]float64, items)
		for i := range scores {
			scores[i] = make([]float64, items)
		}
		for t := range items {
			difficulty := r.Float64() // half of what decides an item is its own, half the candidate's luck
			base[t] = bernoulli(r, 0.3)
			for i := range scores {
				p, u := 0.1, difficulty
				if i%8 == 0 {
					p = 0.5
				}
				if r.IntN(2) == 0 {
					u = r.Float64()
				}
				if u < p {
					scores[i][t] = 1
				}
			}
		}
		race, n := runRace(t, RaceConfig{Alpha: alpha}, scores, base, r.Uint64())
		spent += n
		best := slices.MaxFunc(scores, func(a, b []float64) int { return int(sum(a) - sum(b)) })
		for i := range scores {
			if &scores[i][0] == &best[0] && !race.In(i) {
				lost++
			}
			if race.Accepted(i) {
				accepted[i%8]++
			}
		}
	}
	cost := float64(spent) / float64(runs*candidates*items)
	t.Logf("%d candidates, %d bad: %.1f %% of the full cost, the best was lost in %d of %d races; %d of %d good ones were accepted",
		candidates, candidates-good, 100*cost, lost, runs, accepted[0], good*runs)
	if cost > 0.25 || float64(lost) > tolerated(alpha, runs) {
		t.Errorf("cost %.3f, lost %d", cost, lost)
	}
	if accepted[0] < good*runs*8/10 || slices.Max(accepted[1:]) > 0 {
		t.Errorf("accepted, by place: %v", accepted)
	}
}

// Real-valued scores in a range fixed beforehand; and what a race must not depend on.
func TestRaceOfMargins(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const items = 300
	scores := square(4)
	for i := range scores {
		scores[i] = make([]float64, items)
		for t := range items {
			scores[i][t] = 5*r.NormFloat64() - 3*float64(i)
		}
	}
	scores[3][17] = -1e6 // one outlier decides nothing
	race, spent := runRace(t, RaceConfig{Alpha: 0.05, Range: 10}, scores, nil, 1)
	if !race.In(0) || race.In(2) || race.In(3) || spent > 3*items {
		t.Errorf("%d items, in: %v %v %v %v", spent, race.In(0), race.In(1), race.In(2), race.In(3))
	}
	again, n := runRace(t, RaceConfig{Alpha: 0.05, Range: 10}, scores, nil, 1)
	if n != spent || fmt.Sprint(again.out, again.worse) != fmt.Sprint(race.out, race.worse) {
		t.Error("the same race ended otherwise")
	}
	if all, n := runRace(t, RaceConfig{Range: 10}, scores, nil, 1); n != 4*items || !all.In(3) {
		t.Errorf("without alpha %d items were scored", n)
	}
}

// A candidate that can only draw level by winning every item left may still be the best; one that can't is out.
func TestRaceAtTheLastMoment(t *testing.T) {
	for behind, want := range map[int]bool{8: true, 9: false} {
		race, err := NewRace(RaceConfig{Candidates: 2, Items: behind + 8, Alpha: 1e-30, Looks: []int{behind, behind + 1, behind + 8}})
		if err != nil {
			t.Fatal(err)
		}
		ahead := slices.Repeat([]float64{1}, behind)
		if err := race.Look([][]float64{make([]float64, behind), ahead}, nil); err != nil {
			t.Fatal(err)
		}
		if err := race.Look([][]float64{{1}, {0}}, nil); err != nil {
			t.Fatal(err)
		}
		if race.In(0) != want {
			t.Errorf("%d behind and 8 left: in is %v", behind, race.In(0))
		}
	}
}

func TestRaceRefusals(t *testing.T) {
	for name, c := range map[string]RaceConfig{
		"nobody": {Items: 5}, "nothing": {Candidates: 2}, "alpha": {Candidates: 2, Items: 5, Alpha: 1},
		"range": {Candidates: 2, Items: 5, Range: math.Inf(1)}, "looks": {Candidates: 2, Items: 5, Looks: []int{3, 3, 5}},
		"short": {Candidates: 2, Items: 5, Looks: []int{3}},
	} {
		if _, err := NewRace(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	race, err := NewRace(RaceConfig{Candidates: 2, Items: 3, Looks: []int{2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	two := []float64{0, 1}
	for name, look := range map[string]struct {
		scores [][]float64
		base   []float64
	}{
		"one of two": {[][]float64{two}, nil}, "too few": {[][]float64{two, {1}}, nil}, "base": {[][]float64{two, two}, two[:1]},
		"NaN": {[][]float64{two, {0, math.NaN()}}, nil}, "base NaN": {[][]float64{two, two}, []float64{0, math.Inf(1)}},
	} {
		if race.Look(look.scores, look.base) == nil {
			t.Errorf("%s: no error", name)
		}
	}
	race.Withdraw(1)
	if err := race.Look([][]float64{two, nil}, nil); err != nil {
		t.Error(err)
	}
	race.Withdraw(0)
	if err := race.Look([][]float64{nil, nil}, nil); err != nil {
		t.Error(err)
	}
	if race.Look([][]float64{nil, nil}, nil) == nil {
		t.Error("a race went on after its end")
	}
	if got := fmt.Sprint(Looks(200), Looks(22)[:1], Looks(1)); got != "[25 38 50 75 100 150 200] [17] [1]" {
		t.Errorf("looks %s", got)
	}
}

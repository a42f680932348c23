package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"testing"

	"pgregory.net/rapid"
)

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance) {
		t.Errorf("%s = %.8g, want %.8g ± %g", what, got, want, tolerance)
	}
}

// onlyDiscordant makes paired 0/1 items with the given wins, losses and ties.
func onlyDiscordant(wins, losses, ties int) (a, b []float64) {
	for i := range wins + losses + ties {
		switch {
		case i < wins:
			a, b = append(a, 1), append(b, 0)
		case i < wins+losses:
			a, b = append(a, 0), append(b, 1)
		default:
			a, b = append(a, float64(i%2)), append(b, float64(i%2))
		}
	}
	return a, b
}

// Binomial tails counted by hand: C(n,k) sums over 2^n.
func TestMcNemarByHand(t *testing.T) {
	for _, c := range []struct {
		wins, losses int
		p            float64
	}{
		{0, 0, 1}, {0, 5, 1}, {1, 0, 0.5}, {5, 0, 1.0 / 32}, {8, 2, 56.0 / 1024}, {6, 6, 2510.0 / 4096},
		{3, 1, 5.0 / 16}, {60, 0, math.Pow(2, -60)},
	} {
		a, b := onlyDiscordant(c.wins, c.losses, 7)
		wins, losses, p, err := McNemar(a, b)
		if err != nil || wins != c.wins || losses != c.losses {
			t.Fatalf("%d %d %v", wins, losses, err)
		}
		near(t, fmt.Sprint(c), p/c.p, 1, 1e-9)
	}
	if _, _, _, err := McNemar([]float64{0.5}, []float64{1}); err == nil {
		t.Error("a fraction was accepted")
	}
}

func TestHolmByHand(t *testing.T) {
	got := Holm([]float64{0.01, 0.04, 0.03, 0.005})
	for i, want := range []float64{0.03, 0.06, 0.06, 0.02} {
		near(t, fmt.Sprint("p", i), got[i], want, 1e-12)
	}
	if got := Holm([]float64{0.9, 0.8}); got[0] != 1 || got[1] != 1 {
		t.Errorf("above one: %v", got)
	}
}

func TestHolmNeverBelowRawAndKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.SliceOfN(rapid.Float64Range(0, 1), 1, 8).Draw(t, "p")
		adjusted := Holm(p)
		for i := range p {
			if adjusted[i] < p[i] || adjusted[i] > 1 || adjusted[i] > float64(len(p))*p[i] {
				t.Fatalf("%v → %v", p, adjusted)
			}
			for k := range p {
				if p[i] < p[k] && adjusted[i] > adjusted[k] {
					t.Fatalf("order lost: %v → %v", p, adjusted)
				}
			}
		}
	})
}

func TestSpentAlphaAddsUp(t *testing.T) {
	near(t, "first", SpendAlpha(0.05, 1), 0.025, 1e-15)
	var sum float64
	for k := 1; k <= 10000; k++ {
		sum += SpendAlpha(0.05, k)
	}
	near(t, "sum", sum, 0.05*10000/10001, 1e-12)
}

// With many items the interval must agree with the normal theory of a mean, weighted and not.
func TestBootstrapAgreesWithNormalTheory(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 2000
	a, b, w := make([]float64, n), make([]float64, n), make([]float64, n)
	for i := range a {
		b[i] = r.NormFloat64()
		a[i] = b[i] + 0.3 + 2*r.NormFloat64()
		w[i] = 1 + 3*r.Float64()
	}
	for _, weights := range [][]float64{nil, w} {
		got, err := PairedBootstrap(a, b, weights, 4000, 7, 0.05)
		if err != nil {
			t.Fatal(err)
		}
		var sw, swd float64
		for i := range a {
			sw += weight(weights, i)
			swd += weight(weights, i) * (a[i] - b[i])
		}
		gain := swd / sw
		var v float64 // delta method of the ratio
		for i := range a {
			u := weight(weights, i) * (a[i] - b[i] - gain) / sw
			v += u * u
		}
		se := math.Sqrt(v)
		near(t, "gain", got.Gain, gain, 1e-12)
		near(t, "lower", got.Lower, gain-1.645*se, 0.1*se)
		near(t, "low", got.Low, gain-1.960*se, 0.12*se)
		near(t, "high", got.High, gain+1.960*se, 0.12*se)
		if again, _ := PairedBootstrap(a, b, weights, 4000, 7, 0.05); again != got {
			t.Error("the same seed gave another interval")
		}
	}
}

func TestBootstrapDegenerate(t *testing.T) {
	same := []float64{1, 0, 1, 1}
	got, err := PairedBootstrap(same, same, nil, 200, 1, 0.05)
	if err != nil || got.Lower != 0 || got.High != 0 || got.P != 1 {
		t.Errorf("identical candidates: %+v %v", got, err)
	}
	ones := []float64{1, 1, 1}
	got, err = PairedBootstrap(ones, []float64{0, 0, 0}, nil, 200, 1, 0.05)
	if err != nil || got.Lower != 1 || got.Gain != 1 {
		t.Errorf("a constant gain: %+v %v", got, err)
	}
	for name, f := range map[string]func() (Interval, error){
		"one item": func() (Interval, error) { return PairedBootstrap(ones[:1], ones[:1], nil, 200, 1, 0.05) },
		"lengths":  func() (Interval, error) { return PairedBootstrap(ones, ones[:2], nil, 200, 1, 0.05) },
		"NaN": func() (Interval, error) {
			return PairedBootstrap([]float64{1, math.NaN()}, ones[:2], nil, 200, 1, 0.05)
		},
		"weight": func() (Interval, error) { return PairedBootstrap(ones, ones, []float64{1, 0, 1}, 200, 1, 0.05) },
		"alpha":  func() (Interval, error) { return PairedBootstrap(ones, ones, nil, 200, 1, 0.7) },
	} {
		if _, err := f(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Coverage: over many samples with no gain, the lower bound must exceed zero about alpha of the time, for symmetric,
// skewed and weighted differences.
func TestLowerBoundCoverage(t *testing.T) {
	const runs, n, alpha = 1500, 50, 0.05
	for name, draw := range map[string]func(r *rand.Rand) (d, w float64){
		"normal": func(r *rand.Rand) (float64, float64) { return r.NormFloat64(), 1 },
		"right":  func(r *rand.Rand) (float64, float64) { return r.ExpFloat64() - 1, 1 },
		"left":   func(r *rand.Rand) (float64, float64) { return 1 - r.ExpFloat64(), 1 },
		"bytes":  func(r *rand.Rand) (float64, float64) { return r.NormFloat64(), 1 + r.ExpFloat64() },
	} {
		r := rand.New(rand.NewPCG(3, 4))
		false0 := 0
		for k := range runs {
			d, w, zero := make([]float64, n), make([]float64, n), make([]float64, n)
			for i := range d {
				d[i], w[i] = draw(r)
			}
			got, err := PairedBootstrap(d, zero, w, 400, uint64(k), alpha)
			if err != nil {
				t.Fatal(err)
			}
			if got.Lower > 0 {
				false0++
			}
		}
		rate := float64(false0) / runs
		t.Logf("%s: false lower bounds %.3f at alpha %.2f", name, rate, alpha)
		if rate > alpha+0.02 { // three standard errors of 1500 runs
			t.Errorf("%s: lower bound above zero in %.3f of null runs, want at most %.2f", name, rate, alpha)
		}
	}
}

// Power: simulated pairs with the gain that MinDetectable names must be found about as often as it promises.
func TestMinDetectableIsFound(t *testing.T) {
	const n, psi, alpha, power, runs = 400, 0.2, 0.025, 0.8, 2000
	delta := MinDetectable(n, psi, alpha, power)
	near(t, "Connor's n", math.Pow((1.959964*math.Sqrt(psi)+0.841621*math.Sqrt(psi-delta*delta))/delta, 2), n, 0.5)
	r := rand.New(rand.NewPCG(5, 6))
	found := 0
	for range runs {
		wins, losses := 0, 0
		for range n {
			switch u := r.Float64(); {
			case u < (psi+delta)/2:
				wins++
			case u < psi:
				losses++
			}
		}
		if signTest(wins, losses) <= alpha {
			found++
		}
	}
	got := float64(found) / runs
	t.Logf("n %d, discordance %g: smallest gain %.4f found in %.3f of runs", n, psi, delta, got)
	if got < power-0.08 || got > power+0.05 { // the exact test is a little conservative
		t.Errorf("found %.3f, want about %.2f", got, power)
	}
	near(t, "few items", MinDetectable(10, 0.01, 0.05, 0.8), 0.5, 1e-12) // 5 wins of 5: p = 1/32
	near(t, "mean", MinDetectableMean(100, 2, 0.05, 0.8), (1.644854+0.841621)*0.2, 1e-5)
}

func TestCutSharesAndStability(t *testing.T) {
	counts := map[Split]int{}
	for i := range 20000 {
		counts[DefaultShares.Cut(fmt.Sprint("item ", i))]++
	}
	for split, share := range map[Split]float64{Train: 0.7, Select: 0.1, Confirm: 0.1, Test: 0.1} {
		near(t, string(split), float64(counts[split])/20000, share, 0.01)
	}
	// First 8 bytes of sha256("abc") are ba7816bf8f01cfea = 13436514500253700074; mod 100 = 74: select.
	if got := DefaultShares.Cut("abc"); got != Select {
		t.Errorf("abc is in %s", got)
	}
	if (Shares{50, 50, 10, -10}).Check() == nil || DefaultShares.Check() != nil {
		t.Error("Check is wrong")
	}
}

func TestScores(t *testing.T) {
	s := Scores{Items: []float64{1, 0}, Tie: []float64{2, 4}, Weights: []float64{3, 1}}
	near(t, "mean", s.Mean(), 0.75, 1e-15)
	near(t, "tie", s.TieMean(), 2.5, 1e-15)
	if s.Binary() || !(Scores{Items: []float64{1, 0}}).Binary() || (Scores{Items: []float64{0.5}}).Binary() {
		t.Error("Binary is wrong")
	}
}

func TestQuantileOfKnownList(t *testing.T) {
	x := make([]float64, 99)
	for i := range x {
		x[i] = float64(i + 1)
	}
	sort.Float64s(x)
	near(t, "5 %", quantile(x, 0.05), 5, 0)
	near(t, "97.5 %", quantile(x, 0.975), 98, 0)
	near(t, "below", quantile(x, 0.0001), 1, 0)
}

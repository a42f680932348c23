package sample

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"
)

var inf = math.Inf(1)

// reference computes the distribution by the definitions, in float64 and with full sorts: the probability of each
// token, and how near a decision of top-p or min-p was to going the other way.
func reference(logits []float32, sequence []int, o Options) (probs []float64, near float64) {
	scores := make([]float64, len(logits))
	for i, x := range logits {
		scores[i] = float64(x)
		if slices.Contains(sequence, i) {
			if x < 0 {
				scores[i] *= o.RepetitionPenalty
			} else {
				scores[i] /= o.RepetitionPenalty
			}
		}
		scores[i] /= o.Temperature
	}
	if o.TopK > 0 {
		falling := slices.Sorted(slices.Values(scores))
		threshold := falling[len(falling)-min(o.TopK, len(falling))]
		for i, x := range scores {
			if x < threshold {
				scores[i] = -inf
			}
		}
	}
	near = inf
	if o.TopP < 1 {
		order := make([]int, len(scores))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(scores[a], scores[b]) })
		p, sum := softmax(scores), 0.0
		for _, id := range order[:len(order)-1] {
			sum += p[id]
			near = min(near, math.Abs(sum-(1-o.TopP)))
			if sum <= 1-o.TopP {
				scores[id] = -inf
			}
		}
	}
	p := softmax(scores)
	top := slices.Max(p)
	for i := range scores {
		if o.MinP > 0 && o.MinP < 1 {
			near = min(near, math.Abs(p[i]-o.MinP*top))
		}
		if p[i] < o.MinP*top {
			scores[i] = -inf
		}
	}
	return softmax(scores), near
}

func softmax(scores []float64) []float64 {
	top, sum := slices.Max(scores), 0.0
	p := make([]float64, len(scores))
	for i, x := range scores {
		p[i] = math.Exp(x - top)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// distribution is what a sampler draws from.
func distribution(t testing.TB, s *Sampler, logits []float32) []float64 {
	t.Helper()
	w := new(work)
	scores, err := s.scores(w, logits)
	if err != nil {
		t.Fatal(err)
	}
	_, top, err := largest(scores)
	if err != nil {
		t.Fatal(err)
	}
	s.candidates(w, scores, top)
	probs, sum := make([]float64, len(logits)), 0.0
	for _, x := range w.weights {
		sum += x
	}
	for i, id := range w.ids {
		probs[id] = w.weights[i] / sum
	}
	return probs
}

func mustNew(t testing.TB, o Options, sequence int, prompt ...int) *Sampler {
	t.Helper()
	s, err := New(o, sequence, prompt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Logits from a coarse grid meet many ties; temperatures and penalties that are powers of two keep float32 exact, so
// that the reference decides them alike.
func TestSamplerMeetsTheDefinitions(t *testing.T) {
	grid := rapid.Custom(func(t *rapid.T) float32 { return float32(rapid.IntRange(-40, 40).Draw(t, "quarters")) / 4 })
	skipped, held := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		logits := rapid.SliceOfN(grid, 1, 60).Draw(rt, "logits")
		if rapid.Bool().Draw(rt, "banned") {
			logits = append(logits, float32(-inf))
		}
		sequence := rapid.SliceOfN(rapid.IntRange(0, len(logits)-1), 0, 8).Draw(rt, "sequence")
		o := Options{
			Temperature:       rapid.SampledFrom([]float64{0.5, 1, 2, 0.25}).Draw(rt, "temperature"),
			TopK:              rapid.SampledFrom([]int{0, 1, 2, 5, 50, 1000}).Draw(rt, "top-k"),
			TopP:              rapid.SampledFrom([]float64{1, 0, 0.1, 0.33, 0.9, 0.999, 1 - 1e-9}).Draw(rt, "top-p"),
			MinP:              rapid.SampledFrom([]float64{0, 0.01, 0.1, 0.45, 1}).Draw(rt, "min-p"),
			RepetitionPenalty: rapid.SampledFrom([]float64{1, 2, 0.5}).Draw(rt, "penalty"),
		}
		want, near := reference(logits, sequence, o)
		if near < 1e-13 {
			skipped++
			return
		}
		held++
		got := distribution(t, mustNew(t, o, 0, sequence...), logits)
		for i := range want {
			if math.Abs(got[i]-want[i]) > 1e-12 || (got[i] > 0) != (want[i] > 0) {
				rt.Fatalf("token %d has the probability %v, want %v (%v)", i, got[i], want[i], o)
			}
		}
	})
	t.Logf("%d distributions held, %d were too near to a decision", held, skipped)
	if held < skipped {
		t.Error("too few were compared")
	}
}

// With settings that aren't powers of two the scores are those of float32, and near those of float64.
func TestScoresAreThoseOfFloat32(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	logits := normal(r, 1000, 4)
	o := Options{Temperature: 0.7, TopP: 1, RepetitionPenalty: 1.3}
	s := mustNew(t, o, 0, 5, 6, 7, 5)
	got, err := s.scores(new(work), logits)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range logits {
		want := x
		if i >= 5 && i <= 7 {
			if x < 0 {
				want *= 1.3
			} else {
				want /= 1.3
			}
		}
		if want /= 0.7; got[i] != want {
			t.Errorf("score %d is %v, want %v", i, got[i], want)
		}
	}
}

func TestTies(t *testing.T) {
	equal := []float32{1, 1, 1, 1}
	for _, c := range []struct {
		logits []float32
		o      Options
		want   []float64
	}{
		{equal, Options{Temperature: 1, TopK: 2, TopP: 1, RepetitionPenalty: 1}, []float64{.25, .25, .25, .25}},
		{equal, Options{Temperature: 1, TopP: .5, RepetitionPenalty: 1}, []float64{0, 0, .5, .5}},
		{equal, Options{Temperature: 1, TopP: 0, RepetitionPenalty: 1}, []float64{0, 0, 0, 1}},
		{equal, Options{Temperature: 1, TopP: 1, MinP: 1, RepetitionPenalty: 1}, []float64{.25, .25, .25, .25}},
		{[]float32{0, float32(math.Copysign(0, -1)), -1}, Options{Temperature: 1, TopK: 1, TopP: 1, RepetitionPenalty: 1},
			[]float64{.5, .5, 0}},
		{[]float32{3, 9, 9}, Options{Temperature: 1, TopK: 3, TopP: .6, RepetitionPenalty: 1}, []float64{0, .5, .5}},
		{[]float32{7}, Options{Temperature: 9, TopK: 40, TopP: .2, MinP: .3, RepetitionPenalty: 2}, []float64{1}},
		{[]float32{0, 4000, 0}, Options{Temperature: 1, TopP: .999, RepetitionPenalty: 1}, []float64{0, 1, 0}},
	} {
		if got := distribution(t, mustNew(t, c.o, 0), c.logits); !slices.Equal(got, c.want) {
			t.Errorf("%v of %v: %v, want %v", c.o, c.logits, got, c.want)
		}
	}
}

func TestGreedy(t *testing.T) {
	s := mustNew(t, Options{TopP: 1, RepetitionPenalty: 4, TopK: 1}, 0, 3)
	var got []int
	for range 4 { // 8 is penalized to 2 from the start; the others as they come: 5 to 1.25, −1 to −4
		id, err := s.Next([]float32{5, 5, -1, 8})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, id)
	}
	if want := []int{0, 1, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("chose %v, want %v", got, want)
	}
}

func TestNextFails(t *testing.T) {
	nan := float32(math.NaN())
	for _, logits := range [][]float32{{nan}, {1, nan, 2}, {float32(inf), 1}, {float32(-inf), float32(-inf)}, {}} {
		for _, temperature := range []float64{0, 1, 0.5} {
			o := Off()
			o.Temperature = temperature
			if id, err := mustNew(t, o, 0).Next(logits); !errors.Is(err, ErrNotFinite) {
				t.Errorf("%v at temperature %v: token %d, %v", logits, temperature, id, err)
			}
		}
	}
	o := Off()
	o.Temperature = 1e-38
	if _, err := mustNew(t, o, 0).Next([]float32{1, 2e6}); !errors.Is(err, ErrNotFinite) {
		t.Errorf("overflow gives %v", err)
	}
	o.Temperature, o.RepetitionPenalty = 0, 2
	if _, err := mustNew(t, o, 0, 9).Next([]float32{1, 2}); err == nil {
		t.Error("a token beyond the logits is taken")
	}
}

func TestCheck(t *testing.T) {
	nan := math.NaN()
	for _, change := range []func(o *Options){
		func(o *Options) { o.Temperature = -1 }, func(o *Options) { o.Temperature = nan },
		func(o *Options) { o.Temperature = inf }, func(o *Options) { o.Temperature = 1e-60 },
		func(o *Options) { o.TopK = -1 }, func(o *Options) { o.TopP = -.1 },
		func(o *Options) { o.TopP = 1.1 }, func(o *Options) { o.TopP = nan }, func(o *Options) { o.MinP = 2 },
		func(o *Options) { o.RepetitionPenalty = 0 }, func(o *Options) { o.RepetitionPenalty = nan },
	} {
		o := Off()
		change(&o)
		if _, err := New(o, 0, nil); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// The frequencies of draws must be the distribution's: at a million to one a correct sampler passes each case.
func TestDrawsFollowTheDistribution(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	logits := normal(r, 40, 2)
	for i, o := range []Options{
		Off(),
		{Temperature: 0.7, TopK: 10, TopP: 1, RepetitionPenalty: 1},
		{Temperature: 1.5, TopP: 0.8, RepetitionPenalty: 1, Seed: 9},
		{Temperature: 1, TopP: 1, MinP: 0.05, RepetitionPenalty: 1, Seed: math.MaxUint64},
	} {
		want, _ := reference(logits, nil, o)
		const n = 40000
		counts := make([]int, len(logits))
		for sequence := range 4 { // streams of several sequences, pooled
			s := mustNew(t, o, sequence)
			for range n / 4 {
				id, err := s.Next(logits)
				if err != nil {
					t.Fatal(err)
				}
				counts[id]++
			}
		}
		chi, cells, rare, rareCount := 0.0, 0, 0.0, 0
		for id, p := range want {
			if p == 0 && counts[id] > 0 {
				t.Fatalf("case %d: token %d was cut off, but drawn %d times", i, id, counts[id])
			}
			if expected := p * n; expected >= 5 {
				chi += (float64(counts[id]) - expected) * (float64(counts[id]) - expected) / expected
				cells++
			} else {
				rare, rareCount = rare+expected, rareCount+counts[id]
			}
		}
		if rare > 0 {
			chi += (float64(rareCount) - rare) * (float64(rareCount) - rare) / rare
			cells++
		}
		if most := (distuv.ChiSquared{K: float64(cells - 1)}).Quantile(1 - 1e-6); chi > most {
			t.Errorf("case %d: chi square %.1f over %d cells, at most %.1f", i, chi, cells, most)
		}
	}
}

// Same seed and number, same tokens; another seed or number, others.
func TestStreams(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	logits := normal(r, 500, 1)
	tokens := func(seed uint64, sequence int) string {
		o := Off()
		o.Seed = seed
		s := mustNew(t, o, sequence)
		ids := make([]int, 20)
		for i := range ids {
			var err error
			if ids[i], err = s.Next(logits); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprint(ids)
	}
	before := slices.Clone(logits)
	met := map[string]bool{}
	for _, seed := range []uint64{0, 1, 2, 1 << 40} {
		for sequence := range 4 {
			met[tokens(seed, sequence)] = true
			if !met[tokens(seed, sequence)] {
				t.Error("the same stream gives other tokens")
			}
		}
	}
	if len(met) != 16 {
		t.Errorf("16 streams gave %d sequences", len(met))
	}
	if !slices.Equal(before, logits) {
		t.Error("the logits were changed")
	}
}

func TestBoundary(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		score := rapid.OneOf(rapid.Float32(), rapid.SampledFrom([]float32{0, -1, 1, 2, float32(-inf)}))
		scores := rapid.SliceOfN(score, 1, 80).Draw(rt, "scores")
		rising := slices.Sorted(slices.Values(scores))
		k := rapid.IntRange(1, len(scores)).Draw(rt, "k")
		kth := rising[len(rising)-k]
		more := 0.0
		for _, x := range scores {
			if x > kth {
				more++
			}
		}
		if last, above := new(work).boundary(scores, nil, float64(k)); last != kth || above != more {
			rt.Fatalf("boundary %d of %v is %v below %v, want %v below %v", k, scores, last, above, kth, more)
		}
	})
}

func normal(r *rand.Rand, n int, deviation float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(deviation * r.NormFloat64())
	}
	return x
}

func BenchmarkNext(b *testing.B) {
	logits := normal(rand.New(rand.NewPCG(1, 1)), 128256, 3)
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"greedy", Options{TopP: 1, RepetitionPenalty: 1}},
		{"temperature", Options{Temperature: 0.8, TopP: 1, RepetitionPenalty: 1}},
		{"top-k 50", Options{Temperature: 0.8, TopK: 50, TopP: 0.9, RepetitionPenalty: 1}},
		{"top-p 0.9", Options{Temperature: 0.6, TopP: 0.9, RepetitionPenalty: 1}},
		{"min-p 0.05", Options{Temperature: 1, TopP: 1, MinP: 0.05, RepetitionPenalty: 1.1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := mustNew(b, c.o, 0, 1, 2, 3)
			for b.Loop() {
				if _, err := s.Next(logits); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

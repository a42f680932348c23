package stats

import (
	"fmt"
	"math"
	"math/rand/v2"
	"sort"

	"gonum.org/v1/gonum/stat/distuv"
)

// An Interval is a paired comparison: the mean difference of two candidates on the same items.
type Interval struct {
	N     int     `json:"n"`
	Gain  float64 `json:"gain"`  // Σ w·(a−b) / Σ w
	Lower float64 `json:"lower"` // one-sided bound: the true gain lies above it with probability 1−alpha
	Low   float64 `json:"low"`   // two-sided interval at 1−alpha
	High  float64 `json:"high"`
	P     float64 `json:"p"` // one-sided, of "no gain": share of resamples about zero that reach Gain
	Alpha float64 `json:"alpha"`
}

// PairedBootstrap compares a with b, item by item, by resampling items. weights (nil = equal) make the statistic the
// ratio Σ w·(a−b) / Σ w, as bits per byte needs with the items' bytes.
//
// Bounds are BCa (Efron 1987), its levels widened by Hesterberg's small-sample rule
// α' = Φ(√(n/(n−1)) · t_{n−1}(α)) at the effective n, without which resampling few items is too sure of itself.
// The result is a function of the arguments alone.
func PairedBootstrap(a, b, weights []float64, resamples int, seed uint64, alpha float64) (Interval, error) {
	n := len(a)
	switch {
	case n < 2:
		return Interval{}, fmt.Errorf("a paired comparison needs at least 2 items, not %d", n)
	case len(b) != n || weights != nil && len(weights) != n:
		return Interval{}, fmt.Errorf("a paired comparison needs equal counts, not %d, %d and %d weights", n, len(b), len(weights))
	case resamples < 100:
		return Interval{}, fmt.Errorf("%d bootstrap resamples are too few; use at least 100", resamples)
	case !(alpha > 0 && alpha < 0.5):
		return Interval{}, fmt.Errorf("alpha %g is not between 0 and 0.5", alpha)
	}
	diff := make([]float64, n)
	for i := range diff {
		diff[i] = a[i] - b[i]
		if w := weight(weights, i); math.IsNaN(diff[i]) || math.IsInf(diff[i], 0) || !(w > 0) || math.IsInf(w, 0) {
			return Interval{}, fmt.Errorf("item %d has no finite difference and positive weight (%g, weight %g)", i, diff[i], w)
		}
	}
	gain := weightedMean(diff, weights)
	means := resample(diff, weights, resamples, seed)
	sort.Float64s(means)
	level := bcaLevels(diff, weights, means, gain)
	return Interval{
		N: n, Gain: gain, Alpha: alpha,
		Lower: quantile(means, level(alpha)),
		Low:   quantile(means, level(alpha/2)),
		High:  quantile(means, level(1-alpha/2)),
		P:     shiftP(means, gain),
	}, nil
}

// resample returns the statistic of every bootstrap sample.
func resample(diff, weights []float64, resamples int, seed uint64) []float64 {
	r := rand.New(rand.NewPCG(seed, 0x626f6f7473747261))
	n := len(diff)
	means := make([]float64, resamples)
	for k := range means {
		var sum, total float64
		for range n {
			i := r.IntN(n)
			w := weight(weights, i)
			sum += w * diff[i]
			total += w
		}
		means[k] = sum / total
	}
	return means
}

// bcaLevels returns the map from a nominal level to the level of the bootstrap distribution to read off: corrected
// for median bias z0, for acceleration (the skewness of the jackknife influences) and for n.
func bcaLevels(diff, weights, sorted []float64, gain float64) func(float64) float64 {
	normal := distuv.UnitNormal
	resamples := float64(len(sorted))
	// Ties count half; 0/1 metrics have many of them.
	below := sort.SearchFloat64s(sorted, gain)
	through := sort.Search(len(sorted), func(i int) bool { return sorted[i] > gain })
	share := (float64(below) + float64(through)) / 2 / resamples
	z0 := normal.Quantile(min(max(share, 1/(resamples+1)), resamples/(resamples+1)))
	var square, cube, total, totalSquare float64
	for i, d := range diff {
		w := weight(weights, i)
		total += w
		totalSquare += w * w
		u := w * (d - gain) // influence of item i on the ratio, up to a constant
		square += u * u
		cube += u * u * u
	}
	var acceleration float64
	if square > 0 {
		acceleration = cube / (6 * math.Pow(square, 1.5))
	}
	n := max(total*total/totalSquare, 2) // Kish's effective number: a few long documents count as few items
	student := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: n - 1}
	return func(p float64) float64 {
		z := z0 + math.Sqrt(n/(n-1))*student.Quantile(p)
		return normal.CDF(z0 + z/(1-acceleration*z))
	}
}

// quantile reads level p off sorted values, rounding outwards from the middle.
func quantile(sorted []float64, p float64) float64 {
	at := p * float64(len(sorted)+1)
	k := int(math.Floor(at))
	if p > 0.5 {
		k = int(math.Ceil(at))
	}
	return sorted[min(max(k-1, 0), len(sorted)-1)]
}

// shiftP is the share of resamples, centred on zero, that reach the gain; at least 1/(resamples+1).
func shiftP(sorted []float64, gain float64) float64 {
	at := sort.SearchFloat64s(sorted, 2*gain)
	return float64(1+len(sorted)-at) / float64(1+len(sorted))
}

package stats

import (
	"fmt"
	"math"
	"sort"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// McNemar compares two candidates on 0/1 items by the items on which they differ: wins (a right, b wrong) and losses.
// p is the exact one-sided probability of at least that many wins if both were equally good (binomial, ½).
func McNemar(a, b []float64) (wins, losses int, p float64, err error) {
	if len(a) != len(b) {
		return 0, 0, 0, fmt.Errorf("McNemar's test needs equal counts, not %d and %d", len(a), len(b))
	}
	for i := range a {
		if a[i] != 0 && a[i] != 1 || b[i] != 0 && b[i] != 1 {
			return 0, 0, 0, fmt.Errorf("McNemar's test needs 0/1 items; item %d is %g and %g", i, a[i], b[i])
		}
		switch {
		case a[i] > b[i]:
			wins++
		case a[i] < b[i]:
			losses++
		}
	}
	return wins, losses, signTest(wins, losses), nil
}

// signTest is P(X ≥ wins) for X ~ Binomial(wins+losses, ½).
func signTest(wins, losses int) float64 {
	if wins == 0 {
		return 1
	}
	// The incomplete beta function gives the tail without cancellation: P(X ≥ k) = I_½(k, n−k+1).
	return mathext.RegIncBeta(float64(wins), float64(losses+1), 0.5)
}

// Holm returns p-values adjusted by Holm's step-down rule, in the order given: comparing each with alpha keeps the
// chance of any false rejection in the family at alpha.
func Holm(p []float64) []float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return p[order[i]] < p[order[j]] })
	adjusted := make([]float64, len(p))
	var worst float64
	for rank, i := range order {
		worst = max(worst, min(1, float64(len(p)-rank)*p[i]))
		adjusted[i] = worst
	}
	return adjusted
}

// SpendAlpha is the level of the k-th opening (k = 1, 2, …) of one test split: alpha/(k(k+1)). However many openings
// there will be, the levels add up to alpha, so the chance of any false verdict on that split stays below it.
func SpendAlpha(alpha float64, k int) float64 {
	return alpha / float64(k) / float64(k+1)
}

// MinDetectable is the smallest true gain of a 0/1 metric that a one-sided paired test at alpha finds with the given
// power on n items, when the two candidates differ on a share `discordance` of them (Connor 1987):
// n = (z_α √ψ + z_β √(ψ−δ²))² / δ². It is never below the gain at which the exact test can reject at all, and is
// above `discordance` (no gain that large exists) when n items cannot show anything.
func MinDetectable(n int, discordance, alpha, power float64) float64 {
	za, zb := distuv.UnitNormal.Quantile(1-alpha), distuv.UnitNormal.Quantile(power)
	items, psi := float64(n), discordance
	// (δ√n − z_α√ψ)² = z_β²(ψ−δ²), solved for its larger root.
	a := items + zb*zb
	b := math.Sqrt(items*psi) * za
	c := (za*za - zb*zb) * psi
	delta := (b + math.Sqrt(max(b*b-a*c, 0))) / a
	exact := math.Ceil(-math.Log2(alpha)) / items // k wins and no loss have p = 2^-k
	return max(delta, exact)
}

// MinDetectableMean is the same for a metric whose paired differences have standard deviation sd.
func MinDetectableMean(n int, sd, alpha, power float64) float64 {
	normal := distuv.UnitNormal
	return (normal.Quantile(1-alpha) + normal.Quantile(power)) * sd / math.Sqrt(float64(n))
}

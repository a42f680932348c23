package stats

import "math"

// stakes are the shares of the capital that are bet on every item, each from an equal part of the starting capital:
// small ones win where differences are small or rare, large ones where they are plain. A mixture of fixed stakes
// needs no guess of mean and variance beforehand, and costs at most the logarithm of their number.
var stakes = [...]float64{0.05, 0.2, 0.6}

// capital is what a sequence of bets has grown to, by stake, as a logarithm.
type capital [len(stakes)]float64

// stake bets that an outcome y in [−1, 1] has an expectation above c: each part of the capital becomes
// capital·(1 + λ(y−c)). Where the expectation given the past is c or less, no part grows in expectation; and since
// λ < 1/(1+c), none is ever lost altogether. An expectation below −1 can't be: the hypothesis is refuted for good.
func (k *capital) stake(y, c float64) {
	const rounding = 1e-9
	if c < -1-rounding {
		for i := range k {
			k[i] = math.Inf(1)
		}
		return
	}
	c = max(c, -1+rounding)
	for i, share := range stakes {
		k[i] += math.Log1p(share / (1 + c) * (y - c))
	}
}

// log is the logarithm of the whole capital, 0 at the start.
func (k *capital) log() float64 {
	top := k[0]
	for _, l := range k {
		top = max(top, l)
	}
	if math.IsInf(top, 1) {
		return top
	}
	sum := 0.0
	for _, l := range k {
		sum += math.Exp(l - top)
	}
	return top + math.Log(sum/float64(len(k)))
}

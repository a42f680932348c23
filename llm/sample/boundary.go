package sample

import "math"

// rank maps a score to an integer of the same order; 0 and −0 are one.
func rank(x float32) uint32 {
	b := math.Float32bits(x)
	switch {
	case b == 1<<31:
		return 1 << 31
	case b>>31 == 1:
		return ^b
	}
	return b | 1<<31
}

// digits are the parts of a rank that boundary sorts by, the highest first.
var digits = [3]struct{ shift, bits uint32 }{{21, 11}, {10, 11}, {0, 10}}

// boundary returns the largest rank such that the scores of this rank and above weigh at least target, and what those
// above it weigh; nil weights are 1 each. Where all scores together weigh less, it is the lowest rank. It finds the
// rank digit by digit, in three passes, without sorting.
func boundary(scores []float32, weights []float64, target float64) (last uint32, above float64) {
	for _, d := range digits {
		var sums [1 << 11]float64
		for i, x := range scores {
			r := rank(x)
			if r>>(d.shift+d.bits) != last {
				continue
			}
			if weights == nil {
				sums[r>>d.shift&(1<<d.bits-1)]++
			} else {
				sums[r>>d.shift&(1<<d.bits-1)] += weights[i]
			}
		}
		found := -1
		for digit := 1<<d.bits - 1; digit >= 0; digit-- {
			if sums[digit] == 0 {
				continue
			}
			if found >= 0 {
				above += sums[found]
			}
			found = digit
			if above+sums[digit] >= target {
				break
			}
		}
		last = last<<d.bits | uint32(max(found, 0))
	}
	return last, above
}

package sample

import "math"

// rank maps a score to an integer of the same order; −0, which equals 0, has to be added to 0 before.
func rank(x float32) uint32 {
	b := math.Float32bits(x)
	return b ^ (uint32(int32(b)>>31) | 1<<31)
}

// unrank is the inverse of rank.
func unrank(r uint32) float32 { return math.Float32frombits(r ^ (^uint32(int32(r)>>31) | 1<<31)) }

// digits are the parts of a rank that boundary sorts by, the highest first.
var digits = [3]struct{ shift, bits uint32 }{{21, 11}, {10, 11}, {0, 10}}

// weighed is a score's rank with its weight.
type weighed struct {
	rank   uint32
	weight float64
}

// boundary returns the largest score such that it and those above it weigh at least target, and what those above it
// weigh; nil weights are 1 each. Where all scores together weigh less, it is the lowest score. Digit by digit of the
// ranks, only those are looked at again that share the boundary's digits so far: nothing is sorted.
func (w *work) boundary(scores []float32, weights []float64, target float64) (last float32, above float64) {
	var sums [1 << 11]float64
	for i, x := range scores {
		weight := 1.0
		if weights != nil {
			weight = weights[i]
		}
		sums[rank(x+0)>>digits[0].shift] += weight
	}
	first, above := reach(sums[:], target, 0)
	w.near = w.near[:0]
	for i, x := range scores {
		r := rank(x + 0)
		if r>>digits[0].shift != first {
			continue
		}
		weight := 1.0
		if weights != nil {
			weight = weights[i]
		}
		w.near = append(w.near, weighed{r, weight})
	}
	found := first
	for _, d := range digits[1:] {
		clear(sums[:])
		mask := uint32(1)<<d.bits - 1
		for _, n := range w.near {
			if n.rank>>(d.shift+d.bits) == found {
				sums[n.rank>>d.shift&mask] += n.weight
			}
		}
		var digit uint32
		digit, above = reach(sums[:mask+1], target, above)
		found = found<<d.bits | digit
	}
	return unrank(found), above
}

// reach adds up sums from the last one until they, with what is above them all, reach target. It returns where that
// is, or else the first one that isn't empty, and what is above it.
func reach(sums []float64, target, above float64) (at uint32, before float64) {
	last := -1
	for i := len(sums) - 1; i >= 0; i-- {
		if sums[i] == 0 {
			continue
		}
		if last >= 0 {
			above += sums[last]
		}
		last = i
		if above+sums[i] >= target {
			break
		}
	}
	return uint32(max(last, 0)), above
}

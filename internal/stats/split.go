// Package stats holds what an honest comparison of two sets of weights needs: disjoint splits, paired intervals and
// exact tests, corrections for many looks, and the smallest gain that a number of items can show.
package stats

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// A Split names one of the disjoint parts of a data set.
type Split string

// Train is what training may see. Select ranks candidates, Confirm is a gate and never a claim, Test is opened once.
const (
	Train   Split = "train"
	Select  Split = "select"
	Confirm Split = "confirm"
	Test    Split = "test"
)

// Splits lists every split in the order of use.
var Splits = [...]Split{Train, Select, Confirm, Test}

// Shares are the percentages of a data set that the splits get; they add up to 100.
type Shares struct {
	Train, Select, Confirm, Test int
}

// DefaultShares keeps most of the data for training and the same small part for each later step.
var DefaultShares = Shares{Train: 70, Select: 10, Confirm: 10, Test: 10}

// Check reports shares that are negative or don't add up to 100.
func (s Shares) Check() error {
	if min(s.Train, s.Select, s.Confirm, s.Test) < 0 || s.Train+s.Select+s.Confirm+s.Test != 100 {
		return fmt.Errorf("split shares %d/%d/%d/%d (train/select/confirm/test) must be percentages that add up to 100",
			s.Train, s.Select, s.Confirm, s.Test)
	}
	return nil
}

// Cut assigns a key to a split by its SHA-256 alone: equal inputs never stand on two sides, and adding data moves
// nothing that was there.
func (s Shares) Cut(key string) Split {
	sum := sha256.Sum256([]byte(key))
	at := int(binary.BigEndian.Uint64(sum[:8]) % 100)
	switch {
	case at < s.Train:
		return Train
	case at < s.Train+s.Select:
		return Select
	case at < s.Train+s.Select+s.Confirm:
		return Confirm
	default:
		return Test
	}
}

// Scores are one candidate's results on a split, item by item in the split's order, so that two candidates pair up.
type Scores struct {
	Items   []float64 `json:"items"`             // the metric, larger is better
	Tie     []float64 `json:"tie,omitempty"`     // decides between equal metrics, larger is better
	Weights []float64 `json:"weights,omitempty"` // nil = equal; bytes for bits per byte
	Broken  bool      `json:"broken,omitempty"`  // the candidate can't be scored; the items have the worst score there is
}

// Mean is the weighted mean of the items.
func (s Scores) Mean() float64 { return weightedMean(s.Items, s.Weights) }

// TieMean is the weighted mean of the tie-break values, 0 without them.
func (s Scores) TieMean() float64 { return weightedMean(s.Tie, s.Weights) }

// Binary reports whether every item is 0 or 1, as an exact test needs.
func (s Scores) Binary() bool {
	for _, x := range s.Items {
		if x != 0 && x != 1 {
			return false
		}
	}
	return s.Weights == nil
}

func weightedMean(x, w []float64) float64 {
	var sum, total float64
	for i, v := range x {
		wi := weight(w, i)
		sum += wi * v
		total += wi
	}
	if total == 0 {
		return 0
	}
	return sum / total
}

func weight(w []float64, i int) float64 {
	if w == nil {
		return 1
	}
	return w[i]
}

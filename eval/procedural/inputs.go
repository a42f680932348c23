package procedural

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"

	"d2nwg/internal/stats"
)

// Cut is the split of an input, by a hash of x alone: whatever the task, an x used for evaluation is never drawn for
// training. Of the 100 inputs "digits" knows, 72 train, 8 select, 8 confirm and 12 test.
func Cut(x string) stats.Split { return stats.DefaultShares.Cut("x:" + x) }

// An input is a distribution over x, shared by all tasks that name it.
type input struct {
	what  string
	draw  func(r *rand.Rand) string
	valid func(x string) bool
	pool  func() []string // every x, nil where there are too many to list
	wider string          // the input whose x may look the same
}

var inputs = map[string]input{
	"word": {
		what: "a word of 4 to 7 letters a to j",
		draw: drawWord, valid: func(x string) bool { return isWord(x, Alphabet) },
	},
	"bits": {
		what: "a word of 4 to 7 letters a or b", wider: "word",
		draw: drawBits, valid: func(x string) bool { return isWord(x, "ab") }, pool: allBits,
	},
	"pair": {
		what: "two numbers from 0 to 99 as in 7+42",
		draw: drawNumbers(100), valid: areNumbers(100), pool: allNumbers(100),
	},
	"digits": {
		what: "two digits as in 3+8", wider: "pair",
		draw: drawNumbers(10), valid: areNumbers(10), pool: allNumbers(10),
	},
}

// inputOrder is the order of a mix's tasks and sentences.
var inputOrder = []string{"word", "pair", "digits", "bits"}

// drawWord draws 4–7 letters over a random subset of 3, 5 or 10 letters, so that repeats are common.
func drawWord(r *rand.Rand) string {
	size := []int{3, 5, 10}[r.IntN(3)]
	subset := r.Perm(len(Alphabet))[:size]
	x := make([]byte, 4+r.IntN(4))
	for i := range x {
		x[i] = Alphabet[subset[r.IntN(size)]]
	}
	return string(x)
}

// drawBits draws 4–7 letters a or b and makes 40 % of them palindromes.
func drawBits(r *rand.Rand) string {
	x := make([]byte, 4+r.IntN(4))
	for i := range x {
		x[i] = "ab"[r.IntN(2)]
	}
	if r.Float64() < 0.4 {
		for i := range len(x) / 2 {
			x[len(x)-1-i] = x[i]
		}
	}
	return string(x)
}

func isWord(x, letters string) bool {
	return len(x) >= 4 && len(x) <= 7 && strings.Trim(x, letters) == ""
}

func allBits() []string {
	var all []string
	for n := 4; n <= 7; n++ {
		for v := range 1 << n {
			all = append(all, strings.NewReplacer("0", "a", "1", "b").Replace(fmt.Sprintf("%0*b", n, v)))
		}
	}
	return all
}

func drawNumbers(limit int) func(r *rand.Rand) string {
	return func(r *rand.Rand) string { return fmt.Sprintf("%d+%d", r.IntN(limit), r.IntN(limit)) }
}

func allNumbers(limit int) func() []string {
	return func() []string {
		var all []string
		for a := range limit {
			for b := range limit {
				all = append(all, fmt.Sprintf("%d+%d", a, b))
			}
		}
		return all
	}
}

func areNumbers(limit int) func(x string) bool {
	return func(x string) bool {
		a, b := numbers(x)
		return a < limit && b < limit && x == fmt.Sprintf("%d+%d", a, b)
	}
}

// numbers reads "a+b"; what is no number reads as something that doesn't print back as x.
func numbers(x string) (a, b int) {
	left, right, _ := strings.Cut(x, "+")
	a, errA := strconv.Atoi(left)
	b, errB := strconv.Atoi(right)
	if errA != nil || errB != nil || a < 0 || b < 0 {
		return -1, -1
	}
	return a, b
}

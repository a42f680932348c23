package stats

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// A RaceConfig describes a race.
type RaceConfig struct {
	Candidates int
	Items      int     // of the full comparison
	Alpha      float64 // of each of the two errors; 0 = nobody is dropped or accepted
	// Range is the largest difference of two candidates on one item; larger ones count as it. It must be fixed before
	// any candidate is scored. 0 = 1, which 0/1 scores never exceed.
	Range float64
	Looks []int // items after which candidates may be dropped, rising to Items; nil = Looks(Items)
}

// A Race compares candidates on a growing set of the same items, in the random order that RaceOrder gives, and drops
// those that can hardly be the best. However often it looks, and for all candidates together,
//
//	drop:   a candidate that no other beats on all Items is dropped with probability at most Alpha
//	accept: a candidate that is not better than the base is accepted as better, any at all, with probability at most Alpha
//
// Both are bets (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSS B 2024):
// capital that starts at 1, is staked item by item on "this candidate is worse than its rivals" (or "better than the
// base"), and can't grow in expectation where that is false; so it ever reaches 1/Alpha with probability at most Alpha
// (Ville's inequality). Little is assumed:
//
//	drop:   that the order is random, nothing else. Items are drawn without replacement, so what a candidate has lost
//	        to its rivals it must win back on the items left if it is to be the best (section 5 of the paper). The
//	        error is about one candidate, the best, whose bets are fair whoever its rivals are; so neither the number
//	        of candidates nor the choice of rivals by the items before calls for a correction.
//	accept: that items are independent draws of a population, which "better" is about. 1/Alpha is raised by the
//	        number of candidates (Bonferroni). In what way candidates depend on each other doesn't matter.
//
// Differences beyond Range are clipped: both statements are then about means of clipped differences.
type Race struct {
	config   RaceConfig
	look     int         // looks done
	scores   [][]float64 // (candidate, item so far)
	base     []float64
	sums     []float64
	ahead    [][]float64 // (a, b): sum of a's differences from b
	spread   [][]float64 // (a, b): sum of their squares
	out      []bool
	accepted []bool
	worse    []capital // staked on each candidate being worse than its rivals
	better   []capital // staked on each candidate being better than the base
}

// NewRace starts a race.
func NewRace(c RaceConfig) (*Race, error) {
	if c.Range == 0 {
		c.Range = 1
	}
	if c.Looks == nil {
		c.Looks = Looks(c.Items)
	}
	switch {
	case c.Candidates < 1 || c.Items < 1:
		return nil, errors.New("a race needs a candidate and an item")
	case !(c.Alpha >= 0 && c.Alpha < 1):
		return nil, fmt.Errorf("a race's alpha %g is not between 0 and 1", c.Alpha)
	case !(c.Range > 0) || math.IsInf(c.Range, 0):
		return nil, fmt.Errorf("a race's range %g is not positive and finite", c.Range)
	case !rising(c.Looks, c.Items):
		return nil, fmt.Errorf("a race's looks %v don't rise to its %d items", c.Looks, c.Items)
	}
	n := c.Candidates
	return &Race{
		config: c, scores: make([][]float64, n), sums: make([]float64, n), ahead: square(n), spread: square(n),
		out: make([]bool, n), accepted: make([]bool, n), worse: make([]capital, n), better: make([]capital, n),
	}, nil
}

func rising(looks []int, items int) bool {
	last := 0
	for _, at := range looks {
		if at <= last {
			return false
		}
		last = at
	}
	return last == items
}

func square(n int) [][]float64 {
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = make([]float64, n)
	}
	return rows
}

// Looks is the default schedule: after 2, 4, 8, 12, 16, 24, 32 and 48 of 64 parts of the items, but not before the 16th
// item, when hardly anything can have been shown. More looks would drop a little earlier; but each of them makes the
// candidates' weights again.
func Looks(items int) []int {
	var looks []int
	for _, parts := range []int{2, 4, 8, 12, 16, 24, 32, 48} {
		at := (items*parts + 63) / 64
		if at >= 16 && at < items && (len(looks) == 0 || at > looks[len(looks)-1]) {
			looks = append(looks, at)
		}
	}
	return append(looks, items)
}

// RaceOrder is the random order in which the items of a race are scored, the same for all candidates.
func RaceOrder(items int, seed uint64) []int {
	return rand.New(rand.NewPCG(seed, 0x726163696e67)).Perm(items)
}

// Next names the stretch of the order that is to be scored now, for the candidates that are In. It is empty once
// everything was scored.
func (r *Race) Next() (from, to int) {
	if r.look > 0 {
		from = r.config.Looks[r.look-1]
	}
	if r.look < len(r.config.Looks) {
		return from, r.config.Looks[r.look]
	}
	return from, from
}

// In tells whether a candidate is still in the race.
func (r *Race) In(i int) bool { return !r.out[i] }

// Accepted tells whether a candidate was shown to be better than the base.
func (r *Race) Accepted(i int) bool { return r.accepted[i] }

// Withdraw takes a candidate out that can't be scored.
func (r *Race) Withdraw(i int) { r.out[i] = true }

// Look takes the scores of the stretch that Next named, item by item: of each candidate that is In (the others' are
// ignored) and of the base (nil in a race without one). Larger is better, and the plain mean is what counts: items of
// unequal weight come multiplied by their weight over the mean weight. The leader is never dropped.
func (r *Race) Look(scores [][]float64, base []float64) error {
	from, to := r.Next()
	if err := r.check(scores, base, to-from); err != nil {
		return err
	}
	var in []int
	for i, x := range scores {
		if r.In(i) {
			in = append(in, i)
			r.scores[i] = append(r.scores[i], x...)
		}
	}
	r.base = append(r.base, base...)
	r.look++
	if len(in) == 0 || r.config.Alpha == 0 {
		return nil
	}
	rivals := make([]float64, len(scores))
	for t := from; t < to; t++ {
		r.weigh(in, rivals)
		r.bet(in, rivals, t)
		r.take(in, t)
	}
	r.decide(in, to)
	return nil
}

func (r *Race) check(scores [][]float64, base []float64, n int) error {
	switch {
	case n == 0:
		return errors.New("the race is over")
	case len(scores) != len(r.scores):
		return fmt.Errorf("a race of %d candidates got the scores of %d", len(r.scores), len(scores))
	case len(base) != 0 && len(base) != n || r.look > 0 && (len(base) > 0) != (len(r.base) > 0):
		return fmt.Errorf("a look at %d items got %d scores of the base, after %d", n, len(base), len(r.base))
	}
	if !finite(base) {
		return errors.New("a race needs finite scores; the base has others")
	}
	for i, x := range scores {
		switch {
		case !r.In(i):
		case len(x) != n:
			return fmt.Errorf("a look at %d items got %d scores of candidate %d", n, len(x), i)
		case !finite(x):
			return fmt.Errorf("a race needs finite scores; candidate %d has others", i)
		}
	}
	return nil
}

func finite(x []float64) bool {
	for _, v := range x {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return false
		}
	}
	return true
}

// difference is a−b as a share of the range, clipped to [−1, 1].
func (r *Race) difference(a, b float64) float64 {
	return min(max((a-b)/r.config.Range, -1), 1)
}

// leader is the candidate with the largest sum.
func (r *Race) leader(in []int) int {
	l := in[0]
	for _, i := range in {
		if r.sums[i] > r.sums[l] {
			l = i
		}
	}
	return l
}

// weigh fills in how much each candidate counts as a rival of the others: by how plausible it is, after the items so
// far, that it is the best. Several good ones make a steadier opponent than one, and none has to be known beforehand.
// The factor 4 was the cheapest of 0.5 … 8 and the leader alone in simulated races; any other would be as valid.
func (r *Race) weigh(in []int, rivals []float64) {
	l := r.leader(in)
	for _, j := range in {
		rivals[j] = 1
		if s := r.spread[l][j]; s > 0 {
			rivals[j] = math.Exp(-4 * r.ahead[l][j] * r.ahead[l][j] / s)
		}
	}
}

// bet stakes every capital on item t, with what is known before it.
func (r *Race) bet(in []int, rivals []float64, t int) {
	left := float64(r.config.Items - t)
	for _, i := range in {
		if len(r.base) > 0 {
			r.better[i].stake(r.difference(r.scores[i][t], r.base[t]), 0)
		}
		var total, lost, behind float64 // behind: on item t; lost: on those before
		for _, j := range in {
			if w := rivals[j]; j != i && w > 0 {
				total += w
				behind += w * r.difference(r.scores[j][t], r.scores[i][t])
				lost += w * r.ahead[j][i]
			}
		}
		if total > 0 {
			// The best would win it all back on the items left, on average this much on each.
			r.worse[i].stake(behind/total, -lost/total/left)
		}
	}
}

// take adds item t to what is known of every pair.
func (r *Race) take(in []int, t int) {
	for _, i := range in {
		r.sums[i] += r.scores[i][t]
		for _, j := range in {
			d := r.difference(r.scores[i][t], r.scores[j][t])
			r.ahead[i][j] += d
			r.spread[i][j] += d * d
		}
	}
}

// decide accepts and drops.
func (r *Race) decide(in []int, scored int) {
	need := -math.Log(r.config.Alpha)
	l := r.leader(in)
	for _, i := range in {
		r.accepted[i] = r.accepted[i] || r.better[i].log() >= need+math.Log(float64(len(r.scores)))
		// After the last item all is known, and nothing is left to be saved.
		r.out[i] = scored < r.config.Items && i != l && r.worse[i].log() >= need
	}
}

package explore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"d2nwg/internal/journal"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// scored is what is known of some weights on select. Steps of any source that lead to the same weights share it, so
// that no item of them is scored twice; it counts as often as it was asked for.
type scored struct {
	scores Scores // of all items; zero where not scored
	have   []bool
	bad    bool // weights or scores not finite
}

// step is the journal's record of a candidate's weights: a resumed run need not make them again. The records of
// versions before races, of kind "select", held a result over all items; they are not read.
type step struct {
	Hash string `json:"hash"`
	Bad  bool   `json:"bad,omitempty"` // not finite
}

// piece is the journal's record of some items' scores.
type piece struct {
	Scores Scores `json:"scores"`
	Bad    bool   `json:"bad,omitempty"` // not finite
}

// measure scores a candidate on the next items of a race, and sums up all of them.
func (s *search) measure(ctx context.Context, e *entrant, all, next []int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := e.variant // made only when the journal lacks something
	if e.known == nil {
		got, err := journal.Do(s.plan.Journal, "step", e.key, func() (got step, err error) {
			v, got, err = s.candidate(ctx, e.blend)
			return got, err
		})
		if err != nil {
			return err
		}
		if e.outcome = (outcome{Hash: got.Hash, Bad: got.Bad}); e.Bad {
			return nil
		}
		if e.known = s.known[e.Hash]; e.known == nil {
			n := s.plan.Scorer.Items(stats.Select)
			e.known = &scored{scores: Scores{Items: make([]float64, n)}, have: make([]bool, n)}
			s.known[e.Hash] = e.known
		}
	}
	s.items += len(next)
	if e.variant == nil && v != nil {
		e.variant = s.hold(v)
	}
	if err := s.fill(ctx, e, v, next); err != nil {
		return err
	}
	if e.Bad = e.known.bad; !e.Bad {
		over := e.known.over(all)
		e.Mean, e.Tie, e.Items = over.Mean(), over.TieMean(), len(all)
	}
	return nil
}

// fill scores those of the items that are not known yet.
func (s *search) fill(ctx context.Context, e *entrant, v *llm.Variant, items []int) error {
	k := e.known
	missing := slices.DeleteFunc(slices.Clone(items), func(i int) bool { return k.have[i] })
	if len(missing) == 0 || k.bad {
		return nil
	}
	key, err := s.itemsKey(e.Hash, missing)
	if err != nil {
		return err
	}
	got, err := journal.Do(s.plan.Journal, "items", key, func() (piece, error) {
		if v == nil {
			var err error
			if v, err = s.again(ctx, e.entry); err != nil {
				return piece{}, err
			}
			e.variant = s.hold(v)
		}
		return s.scoreItems(ctx, v, missing)
	})
	if err != nil {
		return err
	}
	if k.bad = got.Bad; !k.bad {
		k.add(missing, got.Scores)
	}
	return nil
}

// hold returns a variant if the race's memory has room for it, and else nil: then it is made again for each look.
func (s *search) hold(v *llm.Variant) *llm.Variant {
	size := 0
	for _, x := range v.Replace {
		size += len(x)
	}
	for _, x := range v.LowRank {
		size += len(x.A) + len(x.B)
	}
	if size > s.room {
		return nil
	}
	s.room -= size
	return v
}

// itemsKey is the journal's key of some items' scores.
func (r *run) itemsKey(variant string, items []int) (string, error) {
	data, err := json.Marshal(items)
	sum := sha256.Sum256(data)
	return fmt.Sprintf("%s/%d %s", r.scoreKey(variant, stats.Select), len(items), hex.EncodeToString(sum[:8])), err
}

// scoreItems asks the scorer for some items of select and checks the answer's size.
func (r *run) scoreItems(ctx context.Context, v *llm.Variant, items []int) (piece, error) {
	got, err := r.plan.Scorer.ScoreItems(ctx, v, stats.Select, items)
	if err != nil {
		return piece{}, err
	}
	for _, x := range [][]float64{got.Items, got.Tie, got.Weights} {
		if len(x) != len(items) && (x != nil || got.Items == nil) {
			return piece{}, fmt.Errorf("explore: the scorer returned %d scores of %d items of split %s", len(x), len(items), stats.Select)
		}
	}
	for i, x := range got.Items {
		if got.Tie != nil {
			x += got.Tie[i]
		}
		if got.Broken || math.IsNaN(x) || math.IsInf(x, 0) {
			return piece{Bad: true}, nil
		}
	}
	return piece{Scores: got}, nil
}

// add takes the scores of some items in.
func (k *scored) add(items []int, got Scores) {
	put := func(into *[]float64, from []float64) {
		if from == nil {
			return
		}
		if *into == nil {
			*into = make([]float64, len(k.have))
		}
		for at, i := range items {
			(*into)[i] = from[at]
		}
	}
	put(&k.scores.Items, got.Items)
	put(&k.scores.Tie, got.Tie)
	put(&k.scores.Weights, got.Weights)
	for _, i := range items {
		k.have[i] = true
	}
}

// over is the scores of some items, or all in the split's order, so that a mean over all has the bits that scoring
// everything at once gives.
func (k *scored) over(items []int) Scores {
	if len(items) == len(k.have) {
		return k.scores
	}
	pick := func(x []float64) (out []float64) {
		if x == nil {
			return nil
		}
		for _, i := range items {
			out = append(out, x[i])
		}
		return out
	}
	return Scores{Items: pick(k.scores.Items), Tie: pick(k.scores.Tie), Weights: pick(k.scores.Weights)}
}

// candidate makes a blend's weights.
func (s *search) candidate(ctx context.Context, blend Blend) (*llm.Variant, step, error) {
	vec, err := s.vector(ctx, blend)
	if errors.Is(err, errNotFinite) {
		return nil, step{Bad: true}, nil
	}
	if err != nil {
		return nil, step{}, err
	}
	v, err := s.space.Variant(vec)
	if err != nil {
		return nil, step{}, err
	}
	hash, err := v.Hash()
	return v, step{Hash: hash}, err
}

// again makes the weights of a candidate that was made before, perhaps before an interruption.
func (s *search) again(ctx context.Context, e entry) (*llm.Variant, error) {
	v, got, err := s.candidate(ctx, e.blend)
	if err == nil && got.Hash != e.Hash {
		err = fmt.Errorf("source %s made other weights for the same proposals than before; if the run was interrupted, start a new one", s.source.Name())
	}
	return v, err
}

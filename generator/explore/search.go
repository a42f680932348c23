package explore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"d2nwg/internal/journal"
	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// A Term is a share of one of a source's proposals.
type Term struct {
	Proposal int     `json:"proposal"`
	Share    float64 `json:"share"`
}

// A Blend is a candidate as data: for each tensor, the shares of the proposals' differences from the base that are
// added up. A tensor that is missing equals the base's. Everything the search does stays in this form, so it can be
// ranked, recorded and resumed without the weights, and made again from the proposals alone.
type Blend map[string][]Term

// outcome is a candidate's result on the select split.
type outcome struct {
	Hash string  `json:"hash"`
	Mean float64 `json:"mean"`
	Tie  float64 `json:"tie"`
	Bad  bool    `json:"bad,omitempty"` // weights or scores not finite
}

func (a outcome) beats(b outcome) bool {
	if a.Bad || b.Bad {
		return !a.Bad
	}
	return a.Mean > b.Mean || a.Mean == b.Mean && a.Tie > b.Tie
}

// entry is a candidate of the search with its result and how it came about.
type entry struct {
	blend Blend
	outcome
	how string
}

// search looks for one source's best candidate on the select split.
type search struct {
	*run
	source      Source
	vectors     map[int]Vector // proposals made so far, a few
	recent      []int
	evaluations int
}

// find runs the search that every source gets, with the same number of evaluations whatever it finds:
// whole proposals, then single tensors in order, then blends.
func (s *search) find(ctx context.Context) (entry, error) {
	ranked, err := s.whole(ctx)
	if err != nil {
		return entry{}, err
	}
	best := ranked[0]
	if base := (entry{blend: Blend{}, outcome: s.base, how: "base"}); base.beats(best.outcome) {
		best = base
	}
	if best, err = s.tensors(ctx, best, ranked); err != nil {
		return entry{}, err
	}
	return s.soup(ctx, best, ranked)
}

// whole scores every proposal at every scale, best first.
func (s *search) whole(ctx context.Context) ([]entry, error) {
	var ranked []entry
	for i := range s.plan.Budget.Proposals {
		for _, scale := range s.plan.Budget.Scales {
			blend := Blend{}
			for _, name := range s.names {
				blend[name] = []Term{{i, scale}}
			}
			e, err := s.try(ctx, blend, fmt.Sprintf("proposal %d × %g", i, scale))
			if err != nil {
				return nil, err
			}
			ranked = append(ranked, e)
		}
	}
	slices.SortStableFunc(ranked, func(a, b entry) int {
		switch {
		case a.beats(b.outcome):
			return -1
		case b.beats(a.outcome):
			return 1
		}
		return 0
	})
	return ranked, nil
}

// tensors goes through the tensors in order and replaces the incumbent's by those of the best other proposals and of
// the base, keeping what improves select.
func (s *search) tensors(ctx context.Context, best entry, ranked []entry) (entry, error) {
	for _, name := range s.names[:min(s.plan.Budget.Layers, len(s.names))] {
		// The base's own tensor is the second alternative: undoing a harmful part is the commonest gain.
		options := [][]Term{ranked[0].blend[name], nil}
		for _, e := range ranked[1:] {
			options = append(options, e.blend[name])
		}
		options = slices.DeleteFunc(options, func(o []Term) bool { return slices.Equal(o, best.blend[name]) })
		for k, terms := range options[:s.plan.Budget.Tries] {
			blend := best.blend.with(name, terms)
			e, err := s.try(ctx, blend, fmt.Sprintf("tensor %s option %d", name, k))
			if err != nil {
				return entry{}, err
			}
			if e.beats(best.outcome) {
				best = e
			}
		}
	}
	return best, nil
}

// soup moves the incumbent towards the best others and the base, keeping what improves select.
func (s *search) soup(ctx context.Context, best entry, ranked []entry) (entry, error) {
	partners := []Blend{ranked[0].blend, {}}
	for _, e := range ranked[1:] {
		partners = append(partners, e.blend)
	}
	steps := []float64{0.5, 0.25, 0.75}
	for k := range s.plan.Budget.Soup {
		others := slices.DeleteFunc(slices.Clone(partners), best.blend.equal)
		with := others[k/len(steps)%len(others)]
		e, err := s.try(ctx, best.blend.towards(with, steps[k%len(steps)]), fmt.Sprintf("blend %d", k))
		if err != nil {
			return entry{}, err
		}
		if e.beats(best.outcome) {
			best = e
		}
	}
	return best, nil
}

// with is the blend with one tensor's terms replaced.
func (b Blend) with(name string, terms []Term) Blend {
	c := Blend{}
	for n, t := range b {
		c[n] = t
	}
	if c[name] = terms; terms == nil {
		delete(c, name)
	}
	return c
}

func (b Blend) equal(other Blend) bool {
	return maps.EqualFunc(b, other, func(x, y []Term) bool { return slices.Equal(x, y) })
}

// towards is (1−t)·b + t·other.
func (b Blend) towards(other Blend, t float64) Blend {
	c := Blend{}
	mix := func(from Blend, share float64) {
		for name, terms := range from {
			for _, term := range terms {
				at := slices.IndexFunc(c[name], func(x Term) bool { return x.Proposal == term.Proposal })
				if at < 0 {
					c[name] = append(c[name], Term{term.Proposal, share * term.Share})
				} else {
					c[name][at].Share += share * term.Share
				}
			}
		}
	}
	mix(b, 1-t)
	mix(other, t)
	return c
}

// try scores a blend on select. The journal remembers the step, so a resumed run does not even make the weights again.
func (s *search) try(ctx context.Context, blend Blend, how string) (entry, error) {
	if err := ctx.Err(); err != nil {
		return entry{}, err
	}
	key := fmt.Sprintf("%s/%s/%04d %s", s.id, s.source.Name(), s.evaluations, how)
	got, err := journal.Do(s.plan.Journal, "select", key, func() (outcome, error) { return s.evaluate(ctx, blend) })
	s.evaluations++
	s.report(s.source.Name(), got)
	return entry{blend, got, how}, err
}

func (s *search) evaluate(ctx context.Context, blend Blend) (outcome, error) {
	vec, err := s.vector(ctx, blend)
	if errors.Is(err, errNotFinite) {
		return outcome{Bad: true}, nil
	}
	if err != nil {
		return outcome{}, err
	}
	v, err := s.space.Variant(vec)
	if err != nil {
		return outcome{}, err
	}
	hash, err := HashVariant(v)
	if err != nil {
		return outcome{}, err
	}
	// Two steps may lead to the same weights; they are scored once and counted twice.
	return journal.Do(s.plan.Journal, "score", s.scoreKey(hash, stats.Select), func() (outcome, error) {
		scores, err := s.score(ctx, v, stats.Select)
		if err != nil {
			return outcome{}, err
		}
		mean, tie := scores.Mean(), scores.TieMean()
		if bad := math.IsNaN(mean+tie) || math.IsInf(mean+tie, 0); bad {
			return outcome{Hash: hash, Bad: true}, nil
		}
		return outcome{Hash: hash, Mean: mean, Tie: tie}, nil
	})
}

// winner makes the weights of the best candidate, again if they were made before an interruption.
func (s *search) winner(ctx context.Context, best entry) (*llm.Variant, error) {
	vec, err := s.vector(ctx, best.blend)
	if err != nil {
		return nil, err
	}
	v, err := s.space.Variant(vec)
	if err != nil {
		return nil, err
	}
	hash, err := HashVariant(v)
	if err == nil && hash != best.Hash {
		err = fmt.Errorf("source %s made other weights for the same proposals than before the run was interrupted; start a new run", s.source.Name())
	}
	return v, err
}

// vector adds up a blend, proposal by proposal so that each is made once.
func (s *search) vector(ctx context.Context, blend Blend) (Vector, error) {
	shares := map[int]map[string]float64{}
	for name, terms := range blend {
		for _, term := range terms {
			if shares[term.Proposal] == nil {
				shares[term.Proposal] = map[string]float64{}
			}
			shares[term.Proposal][name] = term.Share
		}
	}
	vec := Vector{}
	for _, i := range slices.Sorted(maps.Keys(shares)) {
		proposal, err := s.proposal(ctx, i)
		if err != nil {
			return nil, err
		}
		for name, share := range shares[i] {
			if values, ok := proposal[name]; ok {
				vec.add(share, Vector{name: values})
			}
		}
	}
	return vec, nil
}

// proposal makes a proposal's vector or takes it from the few kept in memory.
func (s *search) proposal(ctx context.Context, i int) (Vector, error) {
	const keep = 8
	if vec, ok := s.vectors[i]; ok {
		return vec, nil
	}
	v, err := s.source.Propose(ctx, i)
	if err != nil {
		return nil, fmt.Errorf("source %s, proposal %d: %w", s.source.Name(), i, err)
	}
	vec, err := s.space.Vector(v)
	if err != nil {
		return nil, fmt.Errorf("source %s, proposal %d: %w", s.source.Name(), i, err)
	}
	if len(s.recent) == keep {
		delete(s.vectors, s.recent[0])
		s.recent = s.recent[1:]
	}
	s.vectors[i] = vec
	s.recent = append(s.recent, i)
	return vec, nil
}

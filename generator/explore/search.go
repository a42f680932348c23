package explore

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
	Hash  string
	Mean  float64
	Tie   float64
	Items int  // scored before it was dropped, or all
	Bad   bool // weights or scores not finite
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
	evaluations int // candidates so far
	items       int // their items that were scored
	races       int
	room        int // values of candidates' weights that the race may still hold
	better      int // whole proposals that a race showed to be better than the base
}

// find runs the search that every source gets, with the same candidates and races whatever it finds:
// whole proposals, then single tensors in order, then blends.
func (s *search) find(ctx context.Context) (entry, error) {
	whole, later := s.levels()
	ranked, err := s.whole(ctx, whole)
	if err != nil {
		return entry{}, err
	}
	best := ranked[0]
	if base := (entry{blend: Blend{}, outcome: s.base, how: "base"}); base.beats(best.outcome) {
		best = base
	}
	if best, err = s.tensors(ctx, later, best, ranked); err != nil {
		return entry{}, err
	}
	return s.soup(ctx, later, best, ranked)
}

// whole races every proposal at every scale, and returns them best first. The base is not in this race: the best of
// the proposals is wanted even where all are worse, since parts of it may be better.
func (s *search) whole(ctx context.Context, alpha float64) ([]entry, error) {
	var field []*entrant
	for i := range s.plan.Budget.Proposals {
		for _, scale := range s.plan.Budget.Scales {
			blend := Blend{}
			for _, name := range s.names {
				blend[name] = []Term{{i, scale}}
			}
			field = append(field, s.enter(blend, fmt.Sprintf("proposal %d × %g", i, scale)))
		}
	}
	return s.compete(ctx, alpha, nil, field)
}

// tensors goes through the tensors in order and replaces the incumbent's by those of the best other proposals and of
// the base, keeping what improves select.
func (s *search) tensors(ctx context.Context, alpha float64, best entry, ranked []entry) (entry, error) {
	for _, name := range s.names[:min(s.plan.Budget.Layers, len(s.names))] {
		// The base's own tensor is the second alternative: undoing a harmful part is the commonest gain.
		options := [][]Term{ranked[0].blend[name], nil}
		for _, e := range ranked[1:] {
			options = append(options, e.blend[name])
		}
		options = slices.DeleteFunc(options, func(o []Term) bool { return slices.Equal(o, best.blend[name]) })
		var field []*entrant
		for k, terms := range options[:s.plan.Budget.Tries] {
			field = append(field, s.enter(best.blend.with(name, terms), fmt.Sprintf("tensor %s option %d", name, k)))
		}
		after, err := s.compete(ctx, alpha, &best, field)
		if err != nil {
			return entry{}, err
		}
		best = after[0]
	}
	return best, nil
}

// soup moves the incumbent towards the best others and the base, keeping what improves select.
func (s *search) soup(ctx context.Context, alpha float64, best entry, ranked []entry) (entry, error) {
	partners := []Blend{ranked[0].blend, {}}
	for _, e := range ranked[1:] {
		partners = append(partners, e.blend)
	}
	steps := []float64{0.5, 0.25, 0.75}
	for k := range s.plan.Budget.Soup {
		others := slices.DeleteFunc(slices.Clone(partners), best.blend.equal)
		with := others[k/len(steps)%len(others)]
		blend := best.blend.towards(with, steps[k%len(steps)])
		after, err := s.compete(ctx, alpha, &best, []*entrant{s.enter(blend, fmt.Sprintf("blend %d", k))})
		if err != nil {
			return entry{}, err
		}
		best = after[0]
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

// roomy is how many values of its candidates' weights a race holds from look to look: 256 MiB.
const roomy = 64 << 20

// Kept is how many proposals of so many values a search keeps in memory: as 256 MiB hold, or 8. Races come back to each of
// them.
func Kept(values int) int { return max(8, 64<<20/max(values, 1)) }

// proposal makes a proposal's vector or takes it from those kept in memory.
func (s *search) proposal(ctx context.Context, i int) (Vector, error) {
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
	if len(s.recent) >= Kept(vec.size()) {
		delete(s.vectors, s.recent[0])
		s.recent = s.recent[1:]
	}
	s.vectors[i] = vec
	s.recent = append(s.recent, i)
	return vec, nil
}

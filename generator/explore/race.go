package explore

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"d2nwg/internal/stats"
	"d2nwg/llm"
)

// Candidates that stand against each other on select are scored on a growing random part of it, and those that can
// hardly be the best are dropped (stats.Race). That saves scoring and decides nothing else: what a source's search
// chooses was scored on all of select, and claims are made on confirm and test alone.
//
// All sources hold the same races: as many candidates in each, in the same order of items, with the same looks and
// levels. RaceAlpha is spent over one source's races, half on its whole proposals: in all of them together, a best
// candidate is dropped with probability at most RaceAlpha. To that end every race has an order of its own, since who
// takes part in it hangs on the orders before.

// levels are those of a source's races: of its whole proposals, and of each later race.
func (r *run) levels() (whole, later float64) {
	b := r.plan.Budget
	races := b.Soup
	if b.Tries > 0 {
		races += min(b.Layers, len(r.names))
	}
	if races == 0 {
		return r.plan.RaceAlpha, 0
	}
	return r.plan.RaceAlpha / 2, r.plan.RaceAlpha / 2 / float64(races)
}

// entrant is a candidate in a race.
type entrant struct {
	entry
	key     string       // of its step in the journal
	known   *scored      // nil until its weights were made
	variant *llm.Variant // its weights, while the race has room for them
	seeded  bool         // the incumbent: scored in full before, it runs along for nothing
}

// enter makes a blend the search's next candidate.
func (s *search) enter(blend Blend, how string) *entrant {
	e := &entrant{entry: entry{blend: blend, how: how}}
	e.key = fmt.Sprintf("%s/%s/%04d %s", s.id, s.source.Name(), s.evaluations, how)
	s.evaluations++
	return e
}

// compete holds a race, with the incumbent unless that is nil, who wins draws. The entries come back ranked: those
// scored in full, then the dropped, the last one first. Against an incumbent the search only asks who is best; without
// one it also notes who is better than the base.
func (s *search) compete(ctx context.Context, alpha float64, incumbent *entry, field []*entrant) ([]entry, error) {
	n := s.plan.Scorer.Items(stats.Select)
	order := stats.RaceOrder(n, s.plan.Seed^nameSeed(fmt.Sprint("race ", s.races)))
	s.races++
	s.room = roomy
	if incumbent != nil {
		field = slices.Insert(field, 0, &entrant{entry: *incumbent, known: s.known[incumbent.Hash], seeded: true})
	}
	config := stats.RaceConfig{Candidates: len(field), Items: n, Alpha: alpha, Range: s.span}
	switch {
	case alpha == 0:
		config.Looks = []int{n}
	case incumbent != nil:
		// These candidates differ from the incumbent in a part: hardly one is dropped before a quarter of the items.
		config.Looks = slices.DeleteFunc(stats.Looks(n), func(at int) bool { return 4*at < n })
	}
	race, err := stats.NewRace(config)
	if err != nil {
		return nil, err
	}
	for from, to := race.Next(); from < to && running(race, field); from, to = race.Next() {
		if err := s.look(ctx, race, field, order[:to], order[from:to]); err != nil {
			return nil, err
		}
	}
	if incumbent == nil {
		for i := range field {
			if race.Accepted(i) {
				s.better++
			}
		}
	}
	return ranked(field), nil
}

// running tells whether there is anybody left to be scored.
func running(race *stats.Race, field []*entrant) bool {
	for i, e := range field {
		if race.In(i) && !e.seeded {
			return true
		}
	}
	return false
}

// look scores whoever is in on the next items, and lets the race decide.
func (s *search) look(ctx context.Context, race *stats.Race, field []*entrant, all, next []int) error {
	scores := make([][]float64, len(field))
	var base []float64
	if !field[0].seeded {
		base = s.weighted(s.known[s.base.Hash], next)
	}
	for i, e := range field {
		if !race.In(i) {
			continue
		}
		if !e.seeded {
			if err := s.measure(ctx, e, all, next); err != nil {
				return err
			}
		}
		if e.Bad {
			race.Withdraw(i)
			s.report(s.source.Name(), e.outcome)
			continue
		}
		scores[i] = s.weighted(e.known, next)
	}
	if err := race.Look(scores, base); err != nil {
		return err
	}
	for i, e := range field {
		if done := !race.In(i) || len(all) == s.plan.Scorer.Items(stats.Select); done && scores[i] != nil && !e.seeded {
			s.report(s.source.Name(), e.outcome)
		}
	}
	return nil
}

// weighted are the numbers whose plain mean a race compares.
func (s *search) weighted(k *scored, items []int) []float64 {
	x := make([]float64, len(items))
	for at, i := range items {
		x[at] = k.scores.Items[i]
		if s.weights != nil {
			x[at] *= s.weights[i]
		}
	}
	return x
}

// ranked sorts the best to the front. Between candidates that were dropped at the same look the items up to there
// decide; equal ones stay as they were.
func ranked(field []*entrant) []entry {
	entries := make([]entry, len(field))
	for i, e := range field {
		entries[i] = e.entry
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		switch {
		case a.Bad == b.Bad && a.Items != b.Items:
			return cmp.Compare(b.Items, a.Items)
		case a.beats(b.outcome):
			return -1
		case b.beats(a.outcome):
			return 1
		}
		return 0
	})
	return entries
}

// ruler sets what the races measure by, from the base's scores alone: weights with mean 1, and the largest difference
// that counts in full. That is 1 for 0/1 scores. Others have no bounds, so the range is what the base's own items lie
// apart by, from the first quartile to the third: on an item, two candidates near one base rarely differ by more.
func (r *run) ruler(base Scores) {
	if base.Weights != nil {
		var total float64
		for _, w := range base.Weights {
			total += w
		}
		r.weights = make([]float64, len(base.Weights))
		for i, w := range base.Weights {
			r.weights[i] = w / total * float64(len(base.Weights))
		}
	}
	if r.span = 1; base.Binary() {
		return
	}
	mean := base.Mean()
	apart := make([]float64, len(base.Items))
	for i, x := range base.Items {
		apart[i] = x - mean
		if r.weights != nil {
			apart[i] *= r.weights[i]
		}
	}
	slices.Sort(apart)
	n := len(apart)
	if iqr := apart[n*3/4] - apart[n/4]; iqr > 0 {
		r.span = iqr
	}
}

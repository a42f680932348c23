package zoo

import (
	"fmt"
	"slices"

	"d2nwg/eval/procedural"
	"d2nwg/internal/stats"
)

// Splits of tasks that are reported apart, whatever split they are in: an accuracy there says little.
const (
	cheapSuffix      = " (cheap answer)"
	impossibleSuffix = " (not told by words)"
)

// group is where a row is counted.
func (r Row) group() string {
	switch {
	case r.Impossible != "":
		return r.Split + impossibleSuffix
	case r.Cheap >= procedural.CheapShare:
		return r.Split + cheapSuffix
	}
	return r.Split
}

const (
	tableResamples = 10000
	tableAlpha     = 0.05
)

// sum groups the rows.
func (t *Table) sum(seed uint64) error {
	groups := map[string][]Row{}
	var names []string
	for _, r := range t.Rows {
		g := r.group()
		if groups[g] == nil {
			names = append(names, g)
		}
		groups[g] = append(groups[g], r)
	}
	slices.Sort(names)
	for _, name := range names {
		s, err := sumSplit(name, groups[name], seed)
		if err != nil {
			return fmt.Errorf("split %s: %w", name, err)
		}
		t.Splits = append(t.Splits, s)
	}
	return nil
}

func sumSplit(name string, rows []Row, seed uint64) (SplitResult, error) {
	s := SplitResult{Split: name, Tasks: len(rows), Means: meanScores(rows, func(r Row) map[string]float64 { return r.Scores })}
	var share, weights, zero []float64
	for _, r := range rows {
		oracle, ok := r.Scores[SourceOracle]
		if gain := oracle - r.Scores[SourceBase]; ok && gain > 0 {
			share, weights, zero = append(share, (r.Scores[SourceGenerated]-r.Scores[SourceBase])/gain), append(weights, gain), append(zero, 0)
		}
	}
	if len(share) >= 2 {
		iv, err := stats.PairedBootstrap(share, zero, weights, tableResamples, seed, tableAlpha)
		if err != nil {
			return s, err
		}
		s.Recovered = &iv
	}
	return s, s.compare(rows, seed)
}

// compare tests generated against the baselines, over the tasks that have both.
func (s *SplitResult) compare(rows []Row, seed uint64) error {
	var p []float64
	var names []string
	for _, baseline := range []string{SourceBase, SourceMean, SourceNoise, SourceMultitask, SourceNearest, SourceShuffled} {
		var a, b []float64
		for _, r := range rows {
			if x, ok := r.Scores[baseline]; ok {
				a, b = append(a, r.Scores[SourceGenerated]), append(b, x)
			}
		}
		if len(a) < 2 {
			continue
		}
		iv, err := stats.PairedBootstrap(a, b, nil, tableResamples, seed, tableAlpha)
		if err != nil {
			return err
		}
		p, names = append(p, iv.P), append(names, baseline)
	}
	if len(p) == 0 {
		return nil
	}
	s.Versus = map[string]float64{}
	for i, corrected := range stats.Holm(p) {
		s.Versus[names[i]] = corrected
	}
	return nil
}

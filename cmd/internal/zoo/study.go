package zoo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"d2nwg/generator/adapters"
	"d2nwg/generator/zoo"
	"d2nwg/internal/files"
	"d2nwg/internal/journal"
)

// StudyOptions say what a study trains and measures.
type StudyOptions struct {
	Config    adapters.Config // its seed is the first one's
	Start     string          // of the seeds' generators; those of fewer tasks start from nothing, since it knows more of them
	Seeds     int
	Breadths  []int        // numbers of training tasks that further generators learn from
	TuneSeeds int          // of the seeds, how many run the tunes
	Table     TableOptions // Out is the study's folder; Generator, Seed and Multitask are set for each generator
}

// Study is what it measured, every number a mean over the seeds; intervals and p-values resample tasks.
type Study struct {
	Tasks     int             `json:"training_tasks"`
	Adapters  int             `json:"adapters"`
	Seeds     []uint64        `json:"seeds"`
	Splits    []SplitResult   `json:"splits"`
	BySeed    [][]SplitResult `json:"by_seed"`
	TuneSeeds int             `json:"tune_seeds"`
	Tunes     []TuneResult    `json:"tuned,omitempty"`
	Breadths  []BreadthResult `json:"breadths,omitempty"`
	Seconds   StudySeconds    `json:"seconds"`
}

// BreadthResult is a generator that learned, from nothing, from a part of the training tasks, all with the same steps.
type BreadthResult struct {
	Tasks  int           `json:"tasks"`
	Splits []SplitResult `json:"splits"`
}

// StudySeconds is what the parts took, of the calls that finished them.
type StudySeconds struct {
	Learn   []float64 `json:"learn"`
	Measure []float64 `json:"measure"`
}

const studyJournal = "study.journal.jsonl"

// RunStudy trains a generator for every seed and fills the table of all baselines over them; then generators of fewer tasks. Killed at any
// moment, the same call continues.
func RunStudy(ctx context.Context, opt StudyOptions) (s *Study, err error) {
	if err := os.MkdirAll(opt.Table.Out, 0o755); err != nil {
		return nil, err
	}
	j, err := journal.Open(filepath.Join(opt.Table.Out, studyJournal))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	manifest, err := files.Hash(filepath.Join(opt.Table.Dir, zoo.ManifestName))
	if err != nil {
		return nil, err
	}
	if err := bind(j, opt.Table.Out, manifest, opt.Config, opt.Start); err != nil {
		return nil, err
	}
	s = &Study{TuneSeeds: min(opt.Seeds, opt.TuneSeeds)}
	var rows []Row
	var tuned []TuneRow
	for i := range opt.Seeds {
		seed := opt.Config.Seed + uint64(i)
		name := fmt.Sprintf("seed%d", seed)
		table, sum, err := opt.one(ctx, j, name, seed, 0, s)
		if err != nil {
			return nil, err
		}
		s.Tasks, s.Adapters = sum.Tasks, sum.Adapters
		s.Seeds, s.BySeed = append(s.Seeds, seed), append(s.BySeed, table.Splits)
		rows, tuned = append(rows, table.Rows...), append(tuned, table.Tuned...)
	}
	all := Table{Rows: meanRows(rows)}
	if err := all.sum(opt.Config.Seed); err != nil {
		return nil, err
	}
	s.Splits = all.Splits
	if s.Tunes, err = sumTunes(meanTuned(tuned), opt.Config.Seed); err != nil {
		return nil, err
	}
	for _, n := range opt.Breadths {
		if n > s.Tasks {
			continue
		}
		table, _, err := opt.one(ctx, j, fmt.Sprintf("tasks%d", n), opt.Config.Seed, n, s)
		if err != nil {
			return nil, err
		}
		s.Breadths = append(s.Breadths, BreadthResult{n, table.Splits})
	}
	return s, nil
}

// breadthSources is what is measured of a generator that learned from fewer tasks.
var breadthSources = []string{SourceBase, SourceGenerated, SourceUnseen, SourceOracle}

// one trains a generator and fills its table, in a folder of its own. tasks 0 means all.
func (opt StudyOptions) one(ctx context.Context, j *journal.Journal, name string, seed uint64, tasks int, s *Study) (*Table, *adapters.Summary, error) {
	cfg := opt.Config
	cfg.Seed = seed
	t := opt.Table
	t.Out, t.Generator, t.Seed = filepath.Join(opt.Table.Out, name), filepath.Join(opt.Table.Out, name, "generator"), seed
	t.Multitask = filepath.Join(opt.Table.Out, "multitask")
	start := opt.Start
	if tasks > 0 {
		start, t.Sources = NoStart, breadthSources
	}
	if tasks > 0 || len(s.Seeds) >= opt.TuneSeeds {
		t.Tune.Tunes = nil
	}
	type learned struct {
		Summary adapters.Summary
		Seconds float64
	}
	l, err := journal.Do(j, "learn", name, func() (learned, error) {
		began := time.Now()
		sum, err := Learn(ctx, LearnOptions{
			Dir: t.Dir, Base: t.Base, Out: t.Generator, Config: cfg, Start: start, Tasks: tasks, Force: true, Backend: t.Trainer, Progress: t.Progress,
		})
		if err != nil {
			return learned{}, err
		}
		return learned{*sum, time.Since(began).Seconds()}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	began := time.Now()
	table, err := Measure(ctx, t)
	if err != nil {
		return nil, nil, err
	}
	seconds, err := journal.Do(j, "measure", name, func() (float64, error) { return time.Since(began).Seconds(), nil })
	if tasks == 0 {
		s.Seconds.Learn, s.Seconds.Measure = append(s.Seconds.Learn, l.Seconds), append(s.Seconds.Measure, seconds)
	}
	return table, &l.Summary, err
}

// meanRows averages the rows of each task, in the order in which tasks come first.
func meanRows(rows []Row) []Row {
	return meanBy(rows, func(r Row) string { return r.Task }, func(same []Row) Row {
		mean := same[0]
		mean.Scores = meanScores(same, func(r Row) map[string]float64 { return r.Scores })
		return mean
	})
}

// meanTuned averages the rows of each tune of each task.
func meanTuned(rows []TuneRow) []TuneRow {
	return meanBy(rows, func(r TuneRow) string { return fmt.Sprint(r.Task, r.Tune) }, func(same []TuneRow) TuneRow {
		mean := same[0]
		mean.Scores = meanScores(same, func(r TuneRow) map[string]float64 { return r.Scores })
		return mean
	})
}

// meanBy makes one row of those with the same key, in the order in which keys come first.
func meanBy[R any](rows []R, key func(R) string, mean func(same []R) R) []R {
	groups := map[string][]R{}
	var keys []string
	for _, r := range rows {
		k := key(r)
		if groups[k] == nil {
			keys = append(keys, k)
		}
		groups[k] = append(groups[k], r)
	}
	var out []R
	for _, k := range keys {
		out = append(out, mean(groups[k]))
	}
	return out
}

// meanScores averages scores source by source, over the rows that have the source.
func meanScores[R any](rows []R, scores func(R) map[string]float64) map[string]float64 {
	means, counts := map[string]float64{}, map[string]float64{}
	for _, r := range rows {
		for source, x := range scores(r) {
			means[source] += x
			counts[source]++
		}
	}
	for source, n := range counts {
		means[source] /= n
	}
	return means
}

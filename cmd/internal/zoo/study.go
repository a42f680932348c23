package zoo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"d2nwg/generator/adapters"
	"d2nwg/internal/compute"
	"d2nwg/internal/journal"
	"d2nwg/internal/progress"
)

// StudyOptions say what a study trains and measures.
type StudyOptions struct {
	Dir, Base, Out string
	Config         adapters.Config
	Start          string // of the seeds' generators; those of fewer tasks start from nothing, since it knows more of them
	Seeds          int
	Breadths       []int        // numbers of training tasks that further generators learn from
	TuneSeeds      int          // of the seeds, how many run the tunes
	Table          TableOptions // without the places and the generator
	Trainer        *compute.Backend
	Progress       progress.Func
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

// BreadthResult is a generator that learned from a part of the training tasks, all with the same steps.
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
	if err := os.MkdirAll(opt.Out, 0o755); err != nil {
		return nil, err
	}
	j, err := journal.Open(filepath.Join(opt.Out, studyJournal))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
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

// one trains a generator, on the first seed's place or another, and fills its table. tasks 0 means all.
func (opt StudyOptions) one(ctx context.Context, j *journal.Journal, name string, seed uint64, tasks int, s *Study) (*Table, *adapters.Summary, error) {
	cfg := opt.Config
	cfg.Seed = seed
	dir := filepath.Join(opt.Out, name)
	type learned struct {
		Summary adapters.Summary
		Seconds float64
	}
	l, err := journal.Do(j, "learn", name, func() (learned, error) {
		began := time.Now()
		o := LearnOptions{
			Dir: opt.Dir, Base: opt.Base, Out: filepath.Join(dir, "generator"), Config: cfg, Tasks: tasks, Force: true, Backend: opt.Trainer, Progress: opt.Progress,
		}
		if o.Start = opt.Start; tasks > 0 {
			o.Start = NoStart
		}
		sum, err := Learn(ctx, o)
		if err != nil {
			return learned{}, err
		}
		return learned{*sum, time.Since(began).Seconds()}, nil
	})
	if err != nil {
		return nil, nil, err
	}
	t := opt.Table
	t.Dir, t.Base, t.Generator, t.Out, t.Seed = opt.Dir, opt.Base, filepath.Join(dir, "generator"), dir, seed
	t.Multitask, t.Trainer, t.Progress = filepath.Join(opt.Out, "multitask"), opt.Trainer, opt.Progress
	if tasks > 0 {
		t.Sources = breadthSources
	}
	if tasks > 0 || len(s.Seeds) >= opt.TuneSeeds {
		t.Tune.Tunes = nil
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
	return meanBy(rows, func(r Row) string { return r.Task }, func(r *Row) *map[string]float64 { return &r.Scores })
}

func meanTuned(rows []TuneRow) []TuneRow {
	return meanBy(rows, func(r TuneRow) string { return fmt.Sprint(r.Task, r.Tune) }, func(r *TuneRow) *map[string]float64 { return &r.Scores })
}

// meanBy averages the scores of rows with the same key.
func meanBy[R any](rows []R, key func(R) string, scores func(*R) *map[string]float64) []R {
	var out []R
	at, count := map[string]int{}, map[string]float64{}
	for _, r := range rows {
		k := key(r)
		if _, ok := at[k]; !ok {
			at[k] = len(out)
			out = append(out, r)
			*scores(&out[at[k]]) = map[string]float64{}
		}
		for source, x := range *scores(&r) {
			(*scores(&out[at[k]]))[source] += x
			count[k+"/"+source]++
		}
	}
	for k, i := range at {
		for source := range *scores(&out[i]) {
			(*scores(&out[i]))[source] /= count[k+"/"+source]
		}
	}
	return out
}
